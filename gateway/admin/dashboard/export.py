"""Tables as CSV: the calls of a search, and spend by whatever the overview tells apart."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from gateway.admin.dashboard.address import FLOWS, View, view
from gateway.admin.dashboard.data import Json, Source
from gateway.errors import BadRequest, GatewayError, NoSuchPath

MOST = 100_000  # calls in one file
PAGE = 500
SERIES = "series"

_CALLS = (
    "id", "at", "tenant", "team", "key", "tags", "endpoint", "model", "answered_model", "upstream", "rule", "policy",
    "status", "outcome", "streamed", "attempts", "prompt_tokens", "completion_tokens", "cached_tokens",
    "reasoning_tokens", "cache_write_tokens", "removed_tokens", "saved_tokens", "estimated", "tier", "total_ms",
    "first_byte_ms", "upstream_ms", "overhead_ms", "cache", "age_s", "cost_usd", "baseline_usd", "own_usd",
    "saved_usd", "basis", "held_out",
)  # fmt: skip
_TOPS = ("name", "calls", "errors", "tokens", "cost_usd", "saved_usd", "unknown")
_SERIES = ("at", "calls", "errors", "hits", "cost_usd", "saved_usd")

_PROFILE = (
    "flow", "calls", "output_tokens_per_s", "ttft_ms_p50", "ttft_ms_p95", "ttft_ms_p99", "total_ms_p50", "total_ms_p95",
    "total_ms_p99", "usd_per_million_tokens", "unknown", "context_tokens_p50", "context_tokens_p95",
    "context_tokens_max", "concurrency_mean", "concurrency_peak",
)  # fmt: skip


async def export(source: Source, clock: Callable[[], float], request: Request) -> Response:
    """One table as a file; what is not known is an empty cell, never 0."""
    asked = view("/" + request.path_params["name"], request.url.query, clock())
    try:
        if asked.wrong:  # a file of other calls than were asked for would look like the right one
            raise BadRequest(" ".join(asked.wrong))
        columns, rows = await run_in_threadpool(_table, asked, source)
    except GatewayError as failure:
        return Response(failure.envelope(), failure.status, media_type="application/json")
    headers = {"content-disposition": f'attachment; filename="{request.path_params["name"]}.csv"'}
    return StreamingResponse(_lines(columns, rows), headers=headers, media_type="text/csv; charset=utf-8")


def _table(asked: View, source: Source) -> tuple[tuple[str, ...], Iterator[Json]]:
    """Columns and rows. The first row is fetched here, so that a ledger that fails does so before the answer began."""
    name = asked.path.removeprefix("/")
    if name == "requests":
        return _CALLS, _begun(_found(asked, source))
    if name in FLOWS:
        return _TOPS, iter(source.calls.overview(asked.query)["by"].get(name, []))
    if name == "profile":
        return _PROFILE, map(_flat, source.calls.profile(asked.since, asked.until, asked.by))
    if name == SERIES:
        return _SERIES, iter(source.calls.overview(asked.query)["series"])
    raise NoSuchPath("There is no such table.")


def _flat(flow: Json) -> Json:
    """One flow in one row."""
    row = {}
    for name, value in flow.items():
        row.update({f"{name}_{part}": v for part, v in value.items()} if isinstance(value, dict) else {name: value})
    return row


def _begun(rows: Iterator[Json]) -> Iterator[Json]:
    first = next(rows, None)
    return iter(()) if first is None else chain([first], rows)


def _found(asked: View, source: Source) -> Iterator[Json]:
    """The calls of a search, page by page; of the dearest and the slowest, the first page."""
    before, seen = asked.before, 0
    while seen < MOST:
        found = source.calls.search(asked.query, asked.order, PAGE, before)
        yield from found
        seen += len(found)
        if len(found) < PAGE or asked.order != "newest":
            return
        before = found[-1]["seq"]


def _lines(columns: tuple[str, ...], rows: Iterable[Json]) -> Iterator[str]:
    """The file in parts."""
    yield _line(columns)
    for row in rows:
        yield _line([_cell(row.get(column)) for column in columns])


def _line(cells: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """A cell that no table program takes for a formula: a client chooses model names and ids."""
    if isinstance(value, list):
        value = ",".join(value)
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return "'" + value
    return value
