"""Rows as they travel between gateways: packed many to an entry, unpacked as input that nobody vouches for.

An entry names its columns, so that gateways of different releases understand each other: a column we do not know is
left out, one that is missing has its default. What the table could hold and a page could not show is mended or skipped.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from operator import itemgetter
from typing import Any

import orjson

from gateway.ledger import story
from gateway.ledger.rows import COLUMNS, NAME_LENGTH, Row, Value, cleaned
from gateway.ledger.schema import migrate

VERSION = b"1"  # of an entry's fields; one of another version is skipped
ENTRY_ROWS = 128  # packed at once: orjson keeps the interpreter's lock for so long
ENTRY_BYTES = 256 * 1024
TEXT_LENGTH = 2000  # of any text but a story
FUTURE_SECONDS = 86_400.0  # a call that began later than this from now is no call
MOST_TOKENS = 2**40  # of any whole number: an absurd one must not spoil a sum for ever
MOST_USD = 1e6  # of one call
MOST = 1e11  # of any other number: a time, or how long something took in ms
MOST_LINES = 32  # of one call's bill
NO_STORY = "[[],[]]"

_NAME = re.compile(r"[0-9a-z]{1,64}", re.ASCII)
_LAST_DAY = 253_000_000_000.0  # in the year 9987
_TECHNIQUE = re.compile(r"[a-z_-]{1,32}", re.ASCII)
_MISSHAPEN = (ValueError, TypeError, KeyError, IndexError, AttributeError)
_NO_RECORD = dict.fromkeys(COLUMNS, "")  # for a story that tells of its record's columns
_HEADER = orjson.dumps(COLUMNS)
_ID, _AT, _GATEWAY = (COLUMNS.index(name) for name in ("id", "at", "gateway"))
_COUNTED = ("at", "tenant", "model", "rule", "upstream", "prompt_tokens", "completion_tokens", "cost_usd", "saved_usd")
_counted: Callable[[Row], tuple[Any, ...]] = itemgetter(*map(COLUMNS.index, _COUNTED))

Sums = Mapping[str, Mapping[str, float]]  # by hour (UTC, YYYYMMDDHH), then by field
Fields = Mapping[bytes, bytes]


class Unreadable(ValueError):
    """The entry is none of ours, or of a release whose entries we cannot read."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows ready to travel, and what they add to the sums."""

    data: bytes
    count: int
    sums: Sums


@dataclass(frozen=True, slots=True)
class Entry:
    """Packed rows as one run of one worker numbered them; numbers only grow."""

    gateway: str
    run: str
    number: int
    data: bytes

    def fields(self) -> dict[str, bytes]:
        """The entry as it lies in the stream."""
        return {
            "v": VERSION,
            "gateway": self.gateway.encode(),
            "run": self.run.encode(),
            "n": b"%d" % self.number,
            "columns": _HEADER,
            "rows": self.data,
        }


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table: what stands there when nothing is known, and what else may."""

    name: str
    default: Value
    fits: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Unpacked:
    """An entry's rows, in the order of `COLUMNS`, as far as they can be used."""

    gateway: str
    run: str
    number: int
    rows: list[Row]
    skipped: int
    mended: int


def pack(rows: Sequence[Row]) -> Iterator[Packed]:
    """The rows in entries of bounded size; a row that no entry can hold is left out."""
    for start in range(0, len(rows), ENTRY_ROWS):
        yield from _packed(rows[start : start + ENTRY_ROWS])


def _packed(rows: Sequence[Row]) -> Iterator[Packed]:
    try:
        data = orjson.dumps(rows)
    except TypeError:  # a lone surrogate, or a number over 64 bits
        rows = [cleaned(row) for row in rows]
        data = orjson.dumps(rows)
    if len(data) <= ENTRY_BYTES:
        yield Packed(data, len(rows), sums(rows))
    elif len(rows) > 1:
        half = len(rows) // 2
        yield from _packed(rows[:half])
        yield from _packed(rows[half:])


def sums(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """What the rows add up to, by hour; each field is a JSON list of what, tenant and model.

    A model that no rule and no upstream knows is counted under "": clients may invent names without end.
    """
    groups: dict[tuple[int, str, str], list[float]] = {}
    for row in rows:
        at, tenant, model, rule, upstream, prompt, completion, cost, saved = _counted(row)
        group = groups.setdefault((_hour(at), tenant, model if rule or upstream else ""), [0, 0, 0, 0.0, 0.0])
        group[0] += 1
        group[1] += cost is None
        group[2] += min((prompt or 0) + (completion or 0), MOST_TOKENS)
        group[3] += cost or 0.0
        group[4] += saved or 0.0
    found: dict[str, dict[str, float]] = {}
    for (hour, tenant, model), values in groups.items():
        fields = found.setdefault(datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y%m%d%H"), {})
        for name, value in zip(("calls", "unknown", "tokens", "cost_usd", "saved_usd"), values, strict=True):
            if value and math.isfinite(value):
                fields[orjson.dumps([name, tenant, model]).decode()] = value
    return found


def _hour(at: float) -> int:
    """Hours since 1970, as far as a date can have them: a clock may jump."""
    return int(min(max(0.0, at), _LAST_DAY) // 3600)


def columns() -> tuple[Column, ...]:
    """The table's columns in the order of `COLUMNS`, as the schema has them."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(db)
        found = {row[1]: row for row in db.execute("PRAGMA table_info(calls)")}
        return tuple(_column(db, *found[name][1:5]) for name in COLUMNS)
    finally:
        db.close()


def _column(db: sqlite3.Connection, name: str, kind: str, required: int, default: str | None) -> Column:
    """`default` is SQL, as SQLite tells it."""
    if default is not None:
        value = db.execute(f"SELECT {default}").fetchone()[0]
    elif name == "story":
        value = NO_STORY
    else:
        value = ("" if kind == "TEXT" else 0) if required else None
    return Column(name, value, _RULES.get(name) or _RULES[kind])


class Unpacker:
    """Reads entries for one table."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._rules = [(column.default, column.fits) for column in columns]

    def unpack(self, fields: Fields, since: float, until: float) -> Unpacked:
        """The rows of calls that began between these times (Unix). Raises Unreadable."""
        gateway, run, number = origin(fields)
        names, values = _listed(fields, b"columns"), _listed(fields, b"rows")
        places = {name: place for place, name in enumerate(names) if isinstance(name, str)}
        plan = [(places.get(column.name), column.default) for column in self._columns]
        rows: list[Row] = []
        skipped = mended = 0
        for value in values:
            if not isinstance(value, list) or len(value) != len(names):
                skipped += 1
                continue
            told = [default if place is None else value[place] for place, default in plan]
            told[_GATEWAY] = gateway
            if _is_a_call(told, since, until):
                row = tuple([v if v == default or fits(v) else default for v, (default, fits) in self._pairs(told)])
                mended += row != tuple(told)
                rows.append(row)
            else:
                skipped += 1
        return Unpacked(gateway, run, number, rows, skipped, mended)

    def _pairs(self, told: Sequence[Any]) -> Iterable[tuple[Any, tuple[Value, Callable[[Any], bool]]]]:
        return zip(told, self._rules, strict=True)


def origin(fields: Fields) -> tuple[str, str, int]:
    """Which gateway, which run of one of its workers, and the entry's number there. Raises Unreadable."""
    if fields.get(b"v") != VERSION:
        raise Unreadable("another version")
    gateway, run = (fields.get(name, b"")[:65].decode("ascii", "replace") for name in (b"gateway", b"run"))
    number = fields.get(b"n", b"")
    if not (_NAME.fullmatch(gateway) and _NAME.fullmatch(run) and number.isdigit() and len(number) < 16):
        raise Unreadable("no origin")
    return gateway, run, int(number)


def _listed(fields: Fields, name: bytes) -> list[Any]:
    data = fields.get(name, b"")
    if len(data) > 2 * ENTRY_BYTES:
        raise Unreadable("too big")
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Unreadable("no JSON") from error
    if not isinstance(found, list) or len(found) > 8 * ENTRY_ROWS:
        raise Unreadable("no list")
    return found


def _is_a_call(told: Sequence[Any], since: float, until: float) -> bool:
    at, name = told[_AT], told[_ID]
    is_time = isinstance(at, (int, float)) and not isinstance(at, bool) and since <= at <= until
    return is_time and isinstance(name, str) and 0 < len(name) <= NAME_LENGTH


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_LENGTH


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value <= MOST_TOKENS


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= MOST


def _is_usd(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= MOST_USD


def _is_story(text: Any) -> bool:
    """Say whether a page can show it; only what releases write that publish, not what they read besides."""
    try:
        told = story.read(text, _NO_RECORD) if text[0] == "[" else {}
        said = [*told.get("source", {}).values(), *chain.from_iterable(told["notes"])]
        for attempt in told["attempts"]:
            said += (attempt.pop("usage") or {}).values()
            said += attempt.values()
        is_shaped = isinstance(told["notes"], list) and all(len(note) == 2 for note in told["notes"])
    except _MISSHAPEN:
        return False
    return is_shaped and all(map(_is_plain, said))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float))


def _are_lines(text: Any) -> bool:
    """Say whether these are a bill's lines, as `sums` adds them up."""
    try:
        lines = orjson.loads(text)
        return isinstance(lines, list) and len(lines) <= MOST_LINES and all(_is_line(*line) for line in lines)
    except _MISSHAPEN:
        return False


def _is_line(technique: Any, usd: Any, how: Any) -> bool:
    is_name = isinstance(technique, str) and _TECHNIQUE.fullmatch(technique) is not None
    return is_name and isinstance(usd, (int, float)) and abs(usd) <= MOST_USD and how in ("measured", "estimated")


# By a column's name, else by what it holds.
_RULES: Mapping[str, Callable[[Any], bool]] = {
    "story": _is_story,
    "lines": _are_lines,
    **{name: _is_usd for name in COLUMNS if name.endswith("_usd")},
    "TEXT": _is_text,
    "INTEGER": _is_count,
    "REAL": _is_number,
}
