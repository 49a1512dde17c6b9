"""The data plane's edge: calls become exchanges; health, readiness and the list of models are answered here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import count
from time import monotonic
from typing import Any
from urllib.parse import unquote

import httptools
import orjson

from gateway.errors import GatewayError, NoSuchMethod, NoSuchPath, UnknownModel
from gateway.exchange import JSON, Client, Exchange, Journal, Request
from gateway.runtime import Runtime

ENDPOINTS = {b"/v1/chat/completions": "chat", b"/v1/completions": "completions", b"/v1/embeddings": "embeddings"}
MODELS = "/v1/models"


class DataPlane:
    """What stands behind the listener: every request comes here."""

    def __init__(self, runtime: Runtime, journal: Journal) -> None:
        self._runtime = runtime
        self._journal = journal
        prefix = f"req_{os.urandom(6).hex()}"
        self._ids = (f"{prefix}{number:08x}" for number in count(1))
        self.is_draining = False

    @property
    def body_limit(self) -> int:
        """Most bytes of a request's body."""
        return self._runtime.pipeline.body_limit

    async def handle(self, request: Request, client: Client) -> None:
        """Serve one request; always ends with an answer, unless the client is gone."""
        request_id = next(self._ids)
        endpoint = ENDPOINTS.get(request.target)
        if endpoint is None or request.method != b"POST":
            path = _path(request.target)
            endpoint = ENDPOINTS.get(path.encode()) if request.method == b"POST" else None
            if endpoint is None:
                self._page(path, request, client, request_id)
                return
        await Exchange(self._runtime, self._journal, request_id, endpoint, request, client).run()

    def _page(self, path: str, request: Request, client: Client, request_id: str) -> None:
        """Serve what is not a call: health, readiness, the list of models, and every wrong path."""
        try:
            status, body = self._read_page(path, request)
        except GatewayError as error:
            status, body = error.status, error.envelope()
        head = JSON + b"x-request-id: %b\r\n" % request_id.encode()
        client.respond(status, head, body, without_body=request.method == b"HEAD")

    def _read_page(self, path: str, request: Request) -> tuple[int, bytes]:
        if request.fault is not None:
            raise request.fault
        if path.encode() in ENDPOINTS:
            raise NoSuchMethod(f"Only POST is served at {path}.")
        is_model = path == MODELS or path.startswith(MODELS + "/")
        if path not in ("/healthz", "/readyz") and not is_model:
            raise NoSuchPath(f"Nothing is served at {path[:200]}.")
        if request.method not in (b"GET", b"HEAD"):
            raise NoSuchMethod(f"Only GET is served at {path[:200]}.")
        if path == "/healthz":
            return 200, b'{"status":"alive"}'
        if path == "/readyz":
            return self._readiness()
        return 200, self._models(request.headers, path.removeprefix(MODELS).removeprefix("/"))

    def _readiness(self) -> tuple[int, bytes]:
        """Ready or not, and the truth about every part. A part that calls can do without only degrades."""
        runtime = self._runtime
        pipeline = runtime.pipeline
        waiting = runtime.engines_waiting()
        upstreams = {name: str(station.breaker.state(monotonic())) for name, station in pipeline.stations.items()}
        upstreams.update(dict.fromkeys(waiting, "starting"))
        ledger = self._journal.health()
        keeps = bool(pipeline.loaded.policy.cache.disk) or pipeline.caches.leases is not None
        cache, cache_is_whole = _cache(pipeline.caches.status(), keeps=keeps)
        whole = not waiting and ledger == "ok" and cache_is_whole and runtime.last_refusal is None
        whole = whole and all(state == "closed" for state in upstreams.values())
        starting = bool(waiting) and len(waiting) == len(pipeline.stations)
        status = "draining" if self.is_draining else "starting" if starting else "ready" if whole else "degraded"
        told = {
            "status": status,
            "policy": pipeline.loaded.version,
            "policy_edit_refused": runtime.last_refusal is not None,
            "ledger": ledger,
            "cache": cache,
            "upstreams": upstreams,
        }
        return 503 if status in ("draining", "starting") else 200, orjson.dumps(told)

    def _models(self, headers: Mapping[bytes, bytes], name: str) -> bytes:
        pipeline = self._runtime.pipeline
        names = pipeline.visible_models(pipeline.gate.admit(headers))
        if not name:
            return orjson.dumps({"object": "list", "data": [_model_card(each) for each in names]})
        if name not in names:
            raise UnknownModel(f"The model '{name[:200]}' does not exist.", param="model")
        return orjson.dumps(_model_card(name))


def _cache(status: Mapping[str, Any], *, keeps: bool) -> tuple[str, bool]:
    """How the caches are, in words, and whether they are as the policy wants them: `keeps` more than memory or not."""
    if status["store"] in {"open", "refusing"}:
        return f"store: {status['reason']}", False
    return ("ok" if keeps else "memory only"), True


def _path(target: bytes) -> str:
    """The path of a request's target, without its query and escapes; "" if it is none."""
    try:
        path = httptools.parse_url(target).path or b""
    except httptools.HttpParserInvalidURLError:
        path = b""
    return unquote(path.decode("latin-1"))


def _model_card(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "sluice"}
