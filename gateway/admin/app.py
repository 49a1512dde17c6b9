"""The admin plane's routes. All but the purge only read: the ledger, the workers' files and the policy file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import orjson
from fastapi import FastAPI, Query, Request, Response
from fastapi import Path as PathParam
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException

from caching.errors import StoreUnavailable
from caching.stores import Selection
from gateway.admin.caches import opened
from gateway.admin.dashboard.site import HELLO, Site, install
from gateway.admin.dashboard.source import source_of
from gateway.admin.exposition import render
from gateway.admin.guard import Guard
from gateway.admin.keys import routes as key_routes
from gateway.admin.page import page
from gateway.admin.policies import HISTORY, Checker
from gateway.admin.policies import routes as version_routes
from gateway.admin.records import routes as record_routes
from gateway.admin.workers import caches_of, engines, living, policy_of, read_workers, upstreams_of
from gateway.errors import BadRequest, GatewayError, NoSuchMethod, NoSuchPath
from gateway.keys.registry import opened as opened_keys
from gateway.ledger import Filters, LedgerReader, LedgerUnavailable
from gateway.state import State
from policies.history import History
from policies.model import Key
from policies.shown import shown

DAY = 86400.0
POLICY_BYTES = 1_000_000  # of the policy file shown

Since = Annotated[float | None, Query(ge=0, le=1e11, allow_inf_nan=False)]
Limit = Annotated[int, Query(ge=1, le=500)]
Before = Annotated[int | None, Query(ge=1, le=2**63 - 1)]
Name = Annotated[str | None, Query(max_length=200)]
Kind = Annotated[Literal["exact", "stale", "coalesced", "miss", "bypass", "refresh"] | None, Query()]
Id = Annotated[str, PathParam(max_length=200)]


class NoSuchRecord(GatewayError):
    """The ledger has no call of this id."""

    status, code, type = 404, "request_not_found", "invalid_request_error"


class CacheUnavailable(GatewayError):
    """The store of answers cannot be had now; calls are served all the same."""

    status, code = 503, "cache_unavailable"


class PurgeOrder(BaseModel):
    """What to forget, and whether only to count it. Nothing selected is refused: it would select everything."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tenant: str | None = Field(None, min_length=1, max_length=200)
    namespace: str | None = Field(None, max_length=200)  # "" is where calls are that named none
    tag: str | None = Field(None, min_length=1, max_length=200)
    older_than: float | None = Field(None, gt=0, le=1e10, allow_inf_nan=False)  # seconds
    all: bool = False
    dry_run: bool = True

    @property
    def selection(self) -> Selection:
        """What is named."""
        return Selection(self.tenant, self.namespace, self.tag, self.older_than)

    @model_validator(mode="after")
    def _means_one_thing(self) -> Self:
        if self.all == (self.selection != Selection()):
            raise ValueError("name a tenant, namespace, tag or older_than, or else say all: true")
        return self


def no_check(text: str) -> object:
    """Let any text pass; whoever reads the file will say what is wrong with it."""
    return text


def create_app(
    state: State,
    policy_path: Path,
    token: str,
    redis_url: str = "",
    *,
    check: Checker = no_check,
    policy_keys: Callable[[], Sequence[Key]] = tuple,
    hello: str = HELLO,
) -> FastAPI:
    """The admin plane over one state directory, one policy file and, if the workers share one, a Redis.

    `check` says whether a policy's text could come into force, `policy_keys` which keys the policy has; `hello` is a
    line to paste that makes a first call.
    Raises ValueError if the token is empty.
    """
    plane = _Plane(state, policy_path, redis_url)
    keys = partial(opened_keys, state.dir, redis_url)
    app = FastAPI(title="Sluice admin", docs_url=None, redoc_url=None, openapi_url=None)
    for path, answer in (
        ("/api", plane.home),
        ("/api/stats", plane.stats),
        ("/api/requests", plane.requests),
        ("/api/requests/{id}", plane.request),
        ("/api/policy", plane.policy),
        ("/api/upstreams", plane.upstreams),
        ("/api/cache", plane.cache),
        ("/metrics", plane.metrics),
        ("/healthz", plane.healthz),
    ):
        app.add_api_route(path, answer, methods=["GET"], response_model=None)
    app.add_api_route("/api/cache/purge", plane.purge, methods=["POST"], response_model=None)
    for more in (
        key_routes(keys, policy_keys),
        version_routes(state.dir, policy_path, check),
        record_routes(plane.ledger),
    ):
        app.router.routes.extend(more.routes)  # one table of routes, which a test walks
    for kind in (GatewayError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _failed)
    source = source_of(state, policy_path, History(state.dir / HISTORY), check, keys, policy_keys)
    install(app, Site(source, hello))
    app.add_middleware(Guard, token=token, state=state)
    return app


class _Plane:
    """What the routes read from. Methods that are plain functions are run by FastAPI beside the event loop."""

    def __init__(self, state: State, policy_path: Path, redis_url: str) -> None:
        self._state = state
        self._policy = policy_path
        self._redis_url = redis_url
        self.ledger = LedgerReader(state.ledger)

    def home(self) -> Response:
        return Response(page(), media_type="text/html; charset=utf-8")

    def healthz(self) -> Response:
        return _json({"status": "ok"})

    def stats(self, since: Since = None) -> Response:
        return _json(self.ledger.stats(time.time() - DAY if since is None else since))

    def requests(
        self,
        limit: Limit = 50,
        before: Before = None,
        model: Name = None,
        tenant: Name = None,
        upstream: Name = None,
        outcome: Name = None,
        cache: Kind = None,
    ) -> Response:
        found = self.ledger.recent(limit, before, Filters(model, tenant, upstream, outcome, cache))
        more = found[-1]["seq"] if len(found) == limit else None
        return _json({"requests": found, "before": more})  # `before` asks for the next page; null on the last

    def request(self, id: Id) -> Response:  # noqa: A002 - the name in the path
        found = self.ledger.one(id)
        if found is None:
            raise NoSuchRecord("The ledger has no call of this id: it is too old, was lost, or never was.", param="id")
        return _json(found)

    def policy(self) -> Response:
        now = time.time()
        workers = [policy_of(snapshot, now) for snapshot in read_workers(self._state)]
        return _json({"file": self._policy.name, "workers": workers, **_text(self._policy)})

    def upstreams(self) -> Response:
        workers = living(read_workers(self._state), time.time())
        return _json({"upstreams": upstreams_of(workers), "engines": engines(self._state)})

    def cache(self, since: Since = None) -> Response:
        now = time.time()
        since = now - DAY if since is None else since
        try:
            kinds = self.ledger.caches(since)
        except LedgerUnavailable:
            kinds = None  # what the workers say of their caches is worth telling all the same
        workers = caches_of(living(read_workers(self._state), now))
        return _json({"since": since, "kinds": kinds, "workers": workers})

    async def purge(self, order: PurgeOrder) -> Response:
        try:
            async with opened(self._state.dir, self._redis_url, purging=not order.dry_run) as store:
                purged = await store.purge(order.selection, dry_run=order.dry_run)
        except StoreUnavailable as error:
            raise CacheUnavailable(f"The store of answers cannot be had: {error}.") from error
        return _json({"entries": purged.entries, "bytes": purged.bytes, "dry_run": purged.dry_run})

    def metrics(self, request: Request) -> Response:
        body, content_type = render(read_workers(self._state), time.time(), request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


def _text(path: Path) -> dict[str, str | None]:
    """The policy file as it stands, `${NAME}` unresolved; it may differ from what is in force."""
    try:
        with path.open("rb") as file:
            text = file.read(POLICY_BYTES).decode("utf-8", "replace")
    except OSError as error:
        return {"text": None, "error": f"The policy file cannot be read: {error.strerror}."}
    return {"text": shown(text), "error": None}


async def _failed(request: Request, error: Exception) -> Response:  # noqa: ARG001 - FastAPI's shape of a handler
    """Any failure in OpenAI's envelope."""
    told = _told(error)
    return Response(told.envelope(), told.status, told.headers, media_type="application/json")


def _told(error: Exception) -> GatewayError:
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        name = next(str(part) for part in reversed(first["loc"]) if isinstance(part, str))
        return BadRequest(f"{name}: {first['msg'].removeprefix('Value error, ')}.", param=name)
    if isinstance(error, HTTPException) and error.status_code == 405:
        return NoSuchMethod("This path does not answer this method; /api says what each takes.")
    if isinstance(error, HTTPException) and error.status_code == 400:
        return BadRequest("The body cannot be read as JSON.")
    if isinstance(error, HTTPException):
        return NoSuchPath("There is no such path; /api says what is where.")
    return GatewayError("The admin plane failed at this; its log says why.")
