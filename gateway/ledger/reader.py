"""Questions asked of the ledger, read-only: an overview, calls by search, one call, flows in profile, an export.

Each question opens its own connection, so a reader outlives a file that was moved aside, and is ended when it takes
too long: an operator's curiosity must not load the disk that the workers write to.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gateway.errors import GatewayError
from gateway.ledger import blocks, story
from gateway.ledger.export import Format, export
from gateway.ledger.filters import Filters
from gateway.ledger.health import is_corrupt
from gateway.ledger.overview import overview
from gateway.ledger.profile import By, profile
from gateway.ledger.search import Order, newest, one, search
from gateway.trace import HELD_OUT

Record = dict[str, Any]

SAMPLE = 20_000  # calls that percentiles are computed from
TOP = 100  # names counted by; the rest are summed under "other"
_SUMS = ("attempts", "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "saved_tokens")
_TIMES = ("total_ms", "first_byte_ms", "overhead_ms")
_BY = ("outcome", "model", "upstream", "tenant")
_GROUPED = (*_BY, "cache")
_FLAGS = ("streamed", "estimated")


class LedgerUnavailable(GatewayError):
    """The ledger cannot be read now; calls are served all the same."""

    status, code = 503, "ledger_unavailable"


@dataclass(frozen=True, slots=True)
class LedgerReader:
    """Reads one ledger file. Every method raises LedgerUnavailable; any thread may call them."""

    path: Path
    seconds: float = 10.0  # a question may take
    sample: int = SAMPLE

    def recent(self, limit: int = 50, before: int | None = None, filters: Filters | None = None) -> list[Record]:
        """The newest calls, without their stories; `before` is the `seq` of the last one already seen."""
        with self.connection() as db:
            return [_record(row) for row in newest(db, limit, before, filters or Filters())]

    def search(
        self, limit: int = 50, before: int | None = None, filters: Filters | None = None, order: Order = "newest"
    ) -> list[Record]:
        """The newest, dearest or slowest of the calls that fit, without their stories; `before` as in `recent`.

        Calls whose cost is not known are not among the dearest. Where `q` is the whole id of a call, that call is it.
        """
        with self.connection() as db:
            db.execute("BEGIN")
            return [_record(row) for row in search(db, limit, before, filters or Filters(), order)]

    def one(self, id: str) -> Record | None:  # noqa: A002 - the column's name
        """One call with its story, and its content if a policy recorded it; the newest where several bear this id."""
        with self.connection() as db:
            db.execute("BEGIN")
            row = one(db, id)
            if row is None:
                return None
            content = db.execute("SELECT request, answer FROM contents WHERE seq = ?", (row["seq"],)).fetchone()
        return {**_record(row), "story": story.read(row["story"], dict(row)), "content": _content(content)}

    def overview(self, since: float, until: float, filters: Filters | None = None) -> Record:
        """What was spent, saved and answered in [since, until), and how fast: in all and by name.

        The range is widened to whole minutes or, where it is long or those are gone, to whole hours.
        """
        with self.connection() as db:
            db.execute("BEGIN")  # all figures from one moment
            return overview(db, since, until, filters or Filters())

    def profile(self, since: float, until: float, by: By = "model") -> list[Record]:
        """How each flow of calls behaves; what the figures mean is told in `gateway.ledger.profile`."""
        with self.connection() as db:
            db.execute("BEGIN")
            return profile(db, since, until, by)

    def export(
        self,
        format: Format,  # noqa: A002 - the option's name
        filters: Filters | None = None,
        *,
        with_story: bool = False,
    ) -> Iterator[bytes]:
        """All calls that fit, the oldest first, as CSV or JSON lines in pieces; stories only in the latter."""
        return export(self.connection, format, filters or Filters(), with_story=with_story)

    def stats(self, since: float) -> Record:
        """Sums over the calls that began at or after `since` (Unix time), and percentiles of their times in ms.

        `by` counts calls by each value of a column; by cache it counts the tokens that calls saved, too.

        Percentiles come from about `sample` calls, chosen evenly; `sampled` says how many.
        """
        with self.connection() as db:
            db.execute("BEGIN")  # all figures from one moment
            first = _oldest(db, since)
            groups = _groups(db, first, since)
            sums = {name: int(sum(group[name] for group in groups)) for name in ("calls", *_SUMS)}
            latency = _latency(db, first, since, self.sample / max(sums["calls"], 1))
        by = {**{name: _by(groups, name) for name in _BY}, "cache": _by_cache(groups)}
        return {"since": since, **sums, "by": by, "latency_ms": latency}

    def caches(self, since: float) -> dict[str, dict[str, int]]:
        """What the caches did for the calls since then (Unix time): how many, and the tokens saved, by kind."""
        sql = (
            "SELECT cache, count(*) AS calls, total(saved_tokens) AS saved_tokens FROM calls "
            "WHERE seq >= ? AND at >= ? GROUP BY cache"
        )
        with self.connection() as db:
            db.execute("BEGIN")
            return _by_cache([dict(row) for row in db.execute(sql, (_oldest(db, since), since))])

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection that cannot write; SQLite's errors become ours."""
        if not self.path.exists():
            raise LedgerUnavailable("There is no ledger yet: no worker has written one.")
        try:
            with closing(sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True, timeout=0.5)) as db:
                db.row_factory = sqlite3.Row
                _limit(db, self.seconds)
                yield db
        except (sqlite3.Error, orjson.JSONDecodeError) as error:
            raise LedgerUnavailable(_why(error)) from error


def _limit(db: sqlite3.Connection, seconds: float) -> None:
    """End any statement that runs longer than this."""
    end = time.monotonic() + seconds
    db.set_progress_handler(lambda: time.monotonic() > end, 10_000)


def _why(error: Exception) -> str:
    if is_corrupt(error):
        return "The ledger's file is corrupt; the workers move it aside at their next write."
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
        return "The ledger took too long to answer; ask for a shorter time."
    return "The ledger cannot be read now."


def _oldest(db: sqlite3.Connection, since: float) -> int:
    """The `seq` before which no call began since then."""
    stretches = blocks.within(db, since, None)
    return stretches[0].first if stretches else 0


def _record(row: sqlite3.Row) -> Record:
    record = _rounded({name: row[name] for name in row.keys() if name not in {"story", "lines"}})  # noqa: SIM118 - iterates over values
    tags = [tag for tag in record["tags"].split(",") if tag]
    flags = {name: bool(record[name]) for name in _FLAGS}
    return {**record, "tags": tags, **flags, "held_out": record["held_out"] == HELD_OUT}


def _content(row: sqlite3.Row | None) -> dict[str, str] | None:
    return None if row is None else {name: row[name].decode("utf-8", "replace") for name in ("request", "answer")}


def _rounded(record: Record) -> Record:
    """Milliseconds to the microsecond; they are stored as measured, for rounding is slow and writing is not."""
    return {name: round(v, 3) if name.endswith("_ms") and v is not None else v for name, v in record.items()}


def _groups(db: sqlite3.Connection, first: int, since: float) -> list[Record]:
    """Sums by all of `_GROUPED` at once: one pass over the file, which on a large one is what takes the time.

    `total` is a float: absurd token counts of an upstream must not overflow the sum.
    """
    sums = ", ".join(f"total({name}) AS {name}" for name in _SUMS)
    names = ", ".join(_GROUPED)
    sql = f"SELECT {names}, count(*) AS calls, {sums} FROM calls WHERE seq >= ? AND at >= ? GROUP BY {names}"  # noqa: S608 - our own column names
    return [dict(row) for row in db.execute(sql, (first, since))]


def _by(groups: list[Record], name: str) -> dict[str, int]:
    """Calls by one column's values, the commonest first; a client may have invented many, so not all are named."""
    counts: Counter[str] = Counter()
    for group in groups:
        counts[group[name]] += group["calls"]
    top = dict(counts.most_common(TOP))
    rest = counts.total() - sum(top.values())
    return {**top, "other": top.get("other", 0) + rest} if rest else top


def _by_cache(groups: list[Record]) -> dict[str, dict[str, int]]:
    """Calls and tokens saved by what the caches had to do with them: five kinds at most."""
    kinds: dict[str, dict[str, int]] = {}
    for group in groups:
        told = kinds.setdefault(group["cache"], {"calls": 0, "saved_tokens": 0})
        told["calls"] += group["calls"]
        told["saved_tokens"] += int(group["saved_tokens"])
    return kinds


def _latency(db: sqlite3.Connection, first: int, since: float, share: float) -> Record:
    """Percentiles of a sample spread by a multiplicative hash: every n-th row would follow a rhythm in the traffic."""
    sql = f"SELECT {', '.join(_TIMES)} FROM calls WHERE seq >= ? AND at >= ? AND (seq * 2654435761) & 4294967295 < ?"  # noqa: S608 - our own column names
    sample = [tuple(row) for row in db.execute(sql, (first, since, int(min(share, 1.0) * 2**32)))]
    parts = {name: _percentiles([row[i] for row in sample if row[i] is not None]) for i, name in enumerate(_TIMES)}
    return {"sampled": len(sample), **{name.removesuffix("_ms"): part for name, part in parts.items()}}


def _percentiles(values: list[float]) -> dict[str, float] | None:
    """p50, p95 and p99 by nearest rank."""
    if not values:
        return None
    values.sort()
    return {f"p{p}": round(values[max(0, -(-len(values) * p // 100) - 1)], 3) for p in (50, 95, 99)}
