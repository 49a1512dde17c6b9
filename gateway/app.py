"""The data plane's edge (raw ASGI): calls become exchanges; health, readiness and the models are answered here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import count
from time import monotonic
from typing import Any

import orjson

from gateway.errors import (
    GatewayError,
    NoSuchMethod,
    NoSuchPath,
    UnknownModel,
)
from gateway.exchange import CONNECTION, JSON, Connection, Exchange, Journal, Receive, Scope, Send
from gateway.runtime import Runtime

ENDPOINTS = {"/v1/chat/completions": "chat", "/v1/completions": "completions", "/v1/embeddings": "embeddings"}
MODELS = "/v1/models"


class DataPlane:
    """The ASGI application that clients talk to."""

    def __init__(self, runtime: Runtime, journal: Journal) -> None:
        self._runtime = runtime
        self._journal = journal
        prefix = f"req_{os.urandom(6).hex()}"
        self._ids = (f"{prefix}{number:08x}" for number in count(1))
        self.is_draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        endpoint = ENDPOINTS.get(scope["path"])
        if endpoint is not None and scope["method"] == "POST":
            connection = scope.get(CONNECTION) or Connection()
            exchange = Exchange(self._runtime, self._journal, next(self._ids), endpoint, connection, receive, send)
            await exchange.run(scope)
        else:
            await self._page(scope, send, next(self._ids))

    async def _page(self, scope: Scope, send: Send, request_id: str) -> None:
        """Serve what is not a call: health, readiness, the list of models, and every wrong path."""
        try:
            status, body = self._read_page(scope)
        except GatewayError as error:
            status, body = error.status, error.envelope()
        headers = [JSON, (b"x-request-id", request_id.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _read_page(self, scope: Scope) -> tuple[int, bytes]:
        path: str = scope["path"]
        if path in ENDPOINTS:
            raise NoSuchMethod(f"Only POST is served at {path}.")
        is_model = path == MODELS or path.startswith(MODELS + "/")
        if path not in ("/healthz", "/readyz") and not is_model:
            raise NoSuchPath(f"Nothing is served at {path[:200]}.")
        if scope["method"] not in ("GET", "HEAD"):
            raise NoSuchMethod(f"Only GET is served at {path[:200]}.")
        if path == "/healthz":
            return 200, b'{"status":"alive"}'
        if path == "/readyz":
            return self._readiness()
        return 200, self._models(dict(scope["headers"]), path.removeprefix(MODELS).removeprefix("/"))

    def _readiness(self) -> tuple[int, bytes]:
        """Ready or not, and the truth about every part. A part that calls can do without only degrades."""
        runtime = self._runtime
        pipeline = runtime.pipeline
        waiting = runtime.engines_waiting()
        upstreams = {name: str(station.breaker.state(monotonic())) for name, station in pipeline.stations.items()}
        upstreams.update(dict.fromkeys(waiting, "starting"))
        ledger = self._journal.health()
        whole = not waiting and ledger == "ok" and runtime.last_refusal is None
        whole = whole and all(state == "closed" for state in upstreams.values())
        starting = bool(waiting) and len(waiting) == len(pipeline.stations)
        status = "draining" if self.is_draining else "starting" if starting else "ready" if whole else "degraded"
        told = {
            "status": status,
            "policy": pipeline.loaded.version,
            "policy_edit_refused": runtime.last_refusal is not None,
            "ledger": ledger,
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


def _model_card(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "sluice"}
