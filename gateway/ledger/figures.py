"""What an overview is made of, by flow: read from the sums, or from the calls themselves where sums cannot tell."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from gateway.ledger import blocks, spread
from gateway.ledger.filters import Filters
from gateway.ledger.ranges import Piece, Range
from gateway.ledger.story import lines_read
from gateway.ledger.sums import DAY, FLOW, HOUR, MINUTE, NUMBERS, OTHER, TOTALS
from gateway.trace import HITS

SAMPLE = 20_000  # calls that latencies are read from, where sums cannot tell them

Flow = tuple[Any, ...]
Numbers = Sequence[float]
Times = dict[str, dict[int, int]]  # calls by bucket of latency, by measure

_HIT = f"cache IN ({', '.join(repr(kind) for kind in sorted(HITS))})"
# A stream that broke off had begun with 200.
_IS_ERROR = "(status >= 400 AND status <> 499) OR outcome GLOB 'upstream_*'"
_MODEL = "CASE WHEN rule = '' THEN '' ELSE model END"
_FLOW_OF_ROWS = ", ".join(f"{_MODEL} AS model" if name == "model" else name for name in FLOW)
_NUMBERS_OF_ROWS = ", ".join(
    {
        "calls": "count(*)",
        "errors": f"total({_IS_ERROR})",
        "unknown": "total(cost_usd IS NULL)",
        "estimated": "total(basis = 'estimated')",
        "square_usd": "total(cost_usd * cost_usd)",
    }.get(name, f"total({name})")
    for name in NUMBERS
)
_TIMES = ", ".join(f"{name}_ms" for name in spread.MEASURES)


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over one range. `series` is in the order of `TOTALS`, by the start of each bucket of `width` seconds."""

    flows: dict[Flow, Numbers]
    techniques: dict[str, tuple[float, float]]  # USD measured, USD estimated
    times: Times
    width: int
    series: dict[int, Numbers] = field(default_factory=dict)


def of_sums(db: sqlite3.Connection, range_: Range, filters: Filters) -> Figures | None:
    """Read what the sums say; None if they cannot tell these calls from others."""
    if not filters.is_of_flows:
        return None
    pieces = range_.pieces()
    ids = _ids(db, pieces)
    wanted = filters.flow
    if wanted:
        if any(OTHER in flow for flow in ids.values()):
            return None
        ids = {id_: flow for id_, flow in ids.items() if _fits(flow, wanted)}
    only = ids if wanted else None
    width = range_.width(HOUR if wanted and range_.until - range_.since > DAY else MINUTE)
    return Figures(
        flows=_flows(db, pieces, ids),
        techniques=_techniques(db, pieces, only),
        times=_sampled_times(db, range_, filters) if wanted else _times(db, pieces),
        width=width,
        series=_series(db, range_, width, only),
    )


def _fits(flow: Flow, wanted: Mapping[str, str]) -> bool:
    return all(flow[FLOW.index(name)] == value for name, value in wanted.items())


def _each(pieces: Iterable[Piece], columns: str, table: str) -> tuple[str, list[int]]:
    """SQL for the rows of all pieces, and its values."""
    parts, values = [], []
    for piece in pieces:
        parts.append(f"SELECT {columns} FROM {table} WHERE span = ? AND at >= ? AND at < ?")  # noqa: S608 - our own names
        values += [piece.span, piece.since, piece.until]
    return " UNION ALL ".join(parts), values


def _ids(db: sqlite3.Connection, pieces: Sequence[Piece]) -> dict[int, Flow]:
    """The flows that had calls; one whose words are lost is another's."""
    rows, values = _each(pieces, "flow", "sums")
    names = ", ".join(FLOW)
    sql = f"SELECT flow, {names} FROM (SELECT DISTINCT flow FROM ({rows})) LEFT JOIN flows ON id = flow"  # noqa: S608 - our own names
    lost = (*[OTHER] * (len(FLOW) - 1), 0)
    return {row[0]: lost if row[1] is None else tuple(row)[1:] for row in db.execute(sql, values)}


def _flows(db: sqlite3.Connection, pieces: Sequence[Piece], ids: Mapping[int, Flow]) -> dict[Flow, Numbers]:
    names = ", ".join(NUMBERS)
    rows, values = _each(pieces, f"flow, {names}", "sums")
    totals = ", ".join(f"total({name})" for name in NUMBERS)
    found: dict[Flow, Numbers] = {}
    for flow, *numbers in db.execute(f"SELECT flow, {totals} FROM ({rows}) GROUP BY flow", values):  # noqa: S608 - our own names
        if flow in ids:
            there = found.get(ids[flow])
            found[ids[flow]] = numbers if there is None else _plus(there, numbers)
    return found


def _plus(one: Numbers, other: Numbers) -> Numbers:
    return [a + b for a, b in zip(one, other, strict=True)]


def _only(ids: Mapping[int, Flow] | None) -> tuple[str, list[str]]:
    return ("", []) if ids is None else (
        "AND flow IN (SELECT value FROM json_each(?))",
        [orjson.dumps(list(ids)).decode()],
    )  # fmt: skip


def _techniques(
    db: sqlite3.Connection, pieces: Sequence[Piece], ids: Mapping[int, Flow] | None
) -> dict[str, tuple[float, float]]:
    rows, values = _each(pieces, "flow, technique, measured, estimated", "techniques")
    only, given = _only(ids)
    sql = f"SELECT technique, total(measured), total(estimated) FROM ({rows}) WHERE 1 {only} GROUP BY technique"  # noqa: S608 - our own names
    return {name: (measured, estimated) for name, measured, estimated in db.execute(sql, [*values, *given])}


def _times(db: sqlite3.Connection, pieces: Sequence[Piece]) -> Times:
    rows, values = _each(pieces, "measure, bucket, calls", "spreads")
    found: Times = {name: {} for name in spread.MEASURES}
    for measure, bucket, calls in db.execute(
        f"SELECT measure, bucket, sum(calls) FROM ({rows}) GROUP BY measure, bucket",  # noqa: S608 - our own names
        values,
    ):
        found[spread.MEASURES[measure]][bucket] = calls
    return found


def _series(db: sqlite3.Connection, range_: Range, width: int, ids: Mapping[int, Flow] | None) -> dict[int, Numbers]:
    pieces = range_.pieces(width)
    if ids is None:
        return _folded(db.execute(*_each(pieces, f"at, {', '.join(TOTALS)}", "totals")), width)
    rows, values = _each(pieces, "at, flow, calls, errors, cost_usd, saved_usd", "sums")
    hits = [id_ for id_, flow in ids.items() if flow[FLOW.index("cache")] in HITS]
    only, given = _only(ids)
    sql = (
        "SELECT at, total(calls), total(errors), total(calls * (flow IN (SELECT value FROM json_each(?)))), "  # noqa: S608 - our own names
        f"total(cost_usd), total(saved_usd) FROM ({rows}) WHERE 1 {only} GROUP BY at"
    )
    return _folded(db.execute(sql, [orjson.dumps(hits).decode(), *values, *given]), width)


def _folded(rows: Iterable[Sequence[Any]], width: int) -> dict[int, Numbers]:
    """Buckets as wide as the series wants them."""
    found: dict[int, Numbers] = {}
    for at, *numbers in rows:
        start = int(at // width) * width
        there = found.get(start)
        found[start] = numbers if there is None else _plus(there, numbers)
    return found


def of_rows(db: sqlite3.Connection, range_: Range, filters: Filters) -> Figures:
    """Read the same from the calls: slow where there are many, and gone where they are gone."""
    width = range_.width()
    where, values = conditions(db, range_, filters)
    return Figures(
        flows=_flows_of_rows(db, where, values),
        techniques=_techniques_of_rows(db, where, values),
        times=_sampled_times(db, range_, filters),
        width=width,
        series=_series_of_rows(db, where, values, width),
    )


def conditions(db: sqlite3.Connection, range_: Range, filters: Filters) -> tuple[str, list[Any]]:
    """SQL for the calls that are meant and began within the range; a model that no rule knew has no name."""
    stretches = blocks.within(db, range_.since, range_.until)
    first, last = (stretches[0].first, max(s.last for s in stretches)) if stretches else (0, -1)
    given, values = replace(filters, model=None).where()
    parts = ["seq BETWEEN ? AND ?", "at >= ?", "at < ?", *given]
    if filters.model is not None:
        parts.append(f"{_MODEL} = ?")
        values.append(filters.model)
    return " AND ".join(parts), [first, last, range_.since, range_.until, *values]


def _flows_of_rows(db: sqlite3.Connection, where: str, values: Sequence[Any]) -> dict[Flow, Numbers]:
    keys = ", ".join(str(number) for number in range(1, len(FLOW) + 1))
    sql = f"SELECT {_FLOW_OF_ROWS}, {_NUMBERS_OF_ROWS} FROM calls WHERE {where} GROUP BY {keys}"  # noqa: S608 - our own names
    return {tuple(row)[: len(FLOW)]: tuple(row)[len(FLOW) :] for row in db.execute(sql, values)}


def _techniques_of_rows(db: sqlite3.Connection, where: str, values: Sequence[Any]) -> dict[str, tuple[float, float]]:
    sql = f"SELECT lines, own_usd FROM calls WHERE {where} AND lines <> ''"  # noqa: S608 - our own names
    found: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for lines, own in db.execute(sql, values):
        for technique, usd, how in lines_read(lines, own):
            found[technique][how != "measured"] += usd
    return {name: (measured, estimated) for name, (measured, estimated) in found.items()}


def _series_of_rows(db: sqlite3.Connection, where: str, values: Sequence[Any], width: int) -> dict[int, Numbers]:
    sql = (
        f"SELECT CAST(at AS INTEGER) / {MINUTE} * {MINUTE}, count(*), total({_IS_ERROR}), "  # noqa: S608 - our own names
        f"total({_HIT}), total(cost_usd), total(saved_usd) FROM calls WHERE {where} GROUP BY 1"
    )
    return _folded(db.execute(sql, values), width)


def _sampled_times(db: sqlite3.Connection, range_: Range, filters: Filters) -> Times:
    """Latencies of those among some calls of the range, evenly spread, that are meant."""
    where, (_, _, *values) = conditions(db, range_, filters)
    found: list[tuple[Any, ...]] = []
    for stretch in blocks.spread_out(blocks.within(db, range_.since, range_.until), SAMPLE):
        asked = [stretch.first, stretch.last, *values]
        found += [tuple(row) for row in db.execute(f"SELECT {_TIMES} FROM calls WHERE {where}", asked)]  # noqa: S608 - our own names
    columns = zip(*found, strict=True) if found else ([] for _ in spread.MEASURES)
    return {name: spread.counted(values) for name, values in zip(spread.MEASURES, columns, strict=True)}
