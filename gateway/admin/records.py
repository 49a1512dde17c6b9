"""The ledger's routes of the admin plane: an overview, calls by search, flows in profile, and an export."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from gateway.errors import BadRequest
from gateway.ledger.export import TYPES
from gateway.ledger.filters import Filters
from gateway.ledger.reader import LedgerReader

DAY = 86_400.0

Moment = Annotated[float | None, Query(ge=0, le=1e11, allow_inf_nan=False)]  # Unix time
Name = Annotated[str | None, Query(max_length=200)]
Word = Annotated[str | None, Query(min_length=1, max_length=200)]
Usd = Annotated[float | None, Query(ge=0, le=1e9, allow_inf_nan=False)]
Limit = Annotated[int, Query(ge=1, le=500)]
Before = Annotated[int | None, Query(ge=1, le=2**63 - 1)]
Kind = Annotated[Literal["exact", "stale", "coalesced", "miss", "bypass", "refresh"] | None, Query()]
Order = Annotated[Literal["newest", "dearest", "slowest"], Query()]
By = Annotated[Literal["model", "tenant", "team", "key", "tag", "upstream"], Query()]
Format = Annotated[Literal["csv", "jsonl"], Query()]


def filters(
    model: Name = None,
    tenant: Name = None,
    upstream: Name = None,
    outcome: Name = None,
    cache: Kind = None,
    team: Name = None,
    key: Name = None,
    tag: Word = None,
    endpoint: Name = None,
    q: Word = None,
    since: Moment = None,
    until: Moment = None,
    min_cost_usd: Usd = None,
) -> Filters:
    """Which calls a query asks for. Raises BadRequest if no time lies within it."""
    if since is not None and until is not None and until <= since:
        raise BadRequest("until: no time lies between since and until.", param="until")
    return Filters(model, tenant, upstream, outcome, cache, team, key, tag, endpoint, q, since, until, min_cost_usd)


Asked = Annotated[Filters, Depends(filters)]


def routes(ledger: LedgerReader) -> APIRouter:
    """The routes that answer from this ledger. They are plain functions: FastAPI runs them beside the event loop."""
    asked = _Routes(ledger)
    router = APIRouter()
    for path, answer in (
        ("/api/overview", asked.overview),
        ("/api/search", asked.search),
        ("/api/profile", asked.profile),
        ("/api/export", asked.export),
    ):
        router.add_api_route(path, answer, methods=["GET"], response_model=None)
    return router


class _Routes:
    def __init__(self, ledger: LedgerReader) -> None:
        self._ledger = ledger

    def overview(self, filters: Asked) -> Response:
        since, until = _range(filters)
        return _json(self._ledger.overview(since, until, filters))

    def search(self, filters: Asked, limit: Limit = 50, before: Before = None, order: Order = "newest") -> Response:
        found = self._ledger.search(limit, before, filters, order)
        more = found[-1]["seq"] if len(found) == limit else None
        return _json({"requests": found, "before": more})  # `before` asks for the next page; null on the last

    def profile(self, since: Moment = None, until: Moment = None, by: By = "model") -> Response:
        since, until = _range(filters(since=since, until=until))
        return _json({"since": since, "until": until, "by": by, "flows": self._ledger.profile(since, until, by)})

    def export(
        self,
        filters: Asked,
        format: Format = "csv",  # noqa: A002 - the name in the query
        story: bool = False,  # noqa: FBT001 - FastAPI's shape of a query
    ) -> Response:
        pieces = self._ledger.export(format, filters, with_story=story)
        return StreamingResponse(
            _begun(pieces),
            media_type=TYPES[format],
            headers={"content-disposition": f'attachment; filename="sluice-calls.{format}"'},
        )


def _range(filters: Filters) -> tuple[float, float]:
    """The last day, as far as nothing else is said."""
    until = time.time() if filters.until is None else filters.until
    since = max(0.0, until - DAY) if filters.since is None else filters.since
    if until <= since:
        raise BadRequest("since: it lies in the future.", param="since")
    return since, until


def _begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces, the first of them made already: a ledger that cannot be read is told by the status."""
    return chain([next(pieces, b"")], pieces)


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
