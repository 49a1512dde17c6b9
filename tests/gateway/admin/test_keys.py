"""Tests of gateway.admin.keys: issuing, listing and revoking over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from pydantic import SecretStr

from gateway.admin.keys import routes
from gateway.auth import Gate
from gateway.errors import GatewayError
from gateway.keys.store import KeyStore
from policies.model import Key
from tests.gateway.keys.fakes import NOW, FakeKeys, key

OF_POLICY = Key(name="fixed", key=SecretStr("fixed-0123456789abcdef"), tenant="bolt", models=["m"])
ORDER = {"name": "app", "tenant": "acme"}


class Desk:
    """The routes over a fake place, and a client of them."""

    def __init__(self, *keys: Any) -> None:
        self.place = FakeKeys(*keys)
        app = FastAPI()
        app.include_router(routes(self._opened, lambda: [OF_POLICY], lambda: NOW + 10))
        app.add_exception_handler(GatewayError, _failed)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")

    async def listed(self) -> dict[str, Any]:
        """What the list says of each key by name."""
        answer = await self.client.get("/api/keys")
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        return {one["name"]: one for one in answer.json()["keys"]}

    async def post(self, path: str, order: Any) -> httpx.Response:
        """Give an order."""
        return await self.client.post(path, json=order)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[KeyStore]:
        yield self.place


async def _failed(request: Request, error: Exception) -> Response:
    """As the admin plane answers."""
    assert isinstance(error, GatewayError)
    return Response(error.envelope(), error.status, media_type="application/json")


async def test_create() -> None:
    """The answer holds the key, once, for no cache to keep; the list never does."""
    desk = Desk()
    wanted = {**ORDER, "team": "shop", "tags": ["a"], "models": ["gpt-*"], "expires_in": "30d"}
    answer = await desk.post("/api/keys", wanted)
    told = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert told["expires"] == NOW + 10 + 30 * 86400
    gate = Gate([], ["gpt-4o", "m"], list(desk.place.shelf.records.values()), clock=lambda: NOW)
    caller = gate.admit({b"authorization": f"Bearer {told['key']}".encode()})
    assert (caller.tenant, caller.key, caller.team, caller.tags) == ("acme", "app", "shop", ("a",))
    found = (await desk.listed())["app"]
    assert found == {name: value for name, value in told.items() if name != "key"}
    assert told["key"] not in str(found)
    assert told["key"].startswith(found["prefix"])


async def test_list() -> None:
    """Keys of the policy and issued ones, each with its state, none with a hash."""
    revoked = key("old").model_copy(update={"revoked": NOW + 1})
    desk = Desk(key(), revoked, key("brief", lifetime=5), key("fixed-too").model_copy(update={"name": "fixed"}))
    answer = await desk.post("/api/keys/revoke", {"name": "nobody"})
    assert answer.status_code == 404
    found = [(one["name"], one["source"], one["state"]) for one in (await desk.client.get("/api/keys")).json()["keys"]]
    assert found == [
        ("fixed", "policy", "living"),
        ("app", "issued", "living"),
        ("brief", "issued", "expired"),
        ("fixed", "issued", "shadowed"),
        ("old", "issued", "revoked"),
    ]
    assert "sha256" not in str(await desk.listed())
    assert "hash" not in str(await desk.listed())


async def test_revoke() -> None:
    """A revoked key stays in the list, with the time."""
    desk = Desk(key())
    answer = await desk.post("/api/keys/revoke", {"name": "app"})
    assert (answer.status_code, answer.json()) == (200, {"name": "app", "state": "revoked"})
    assert (await desk.listed())["app"]["revoked"] == NOW + 10


@pytest.mark.parametrize("name", ["app", "fixed"])
async def test_a_name_is_taken(name: str) -> None:
    """By an issued key or one of the policy: 409, and no key is shown."""
    desk = Desk(key())
    answer = await desk.post("/api/keys", {**ORDER, "name": name})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "key_exists")
    assert "sk-sluice" not in answer.text


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": " app"},
        {"name": "a\nb"},
        {"name": "x" * 201},
        {"name": 7},
        {"name": None},
        {"tenant": ""},
        {"team": ""},
        {"tags": ["t"] * 21},
        {"tags": "t"},
        {"tags": [1]},
        {"models": ["m"] * 1001},
        {"models": [""]},
        {"expires_in": 0},
        {"expires_in": -1},
        {"expires_in": "never"},
        {"expires_in": "400d"},
        {"expires_in": True},
        {"hash": "sha256:" + "0" * 64},
        {"key": "a-key-of-my-own-0123"},
        {"revoked": None},
    ],
)
async def test_orders_that_are_refused(change: dict[str, Any]) -> None:
    """Wrong types, wrong lengths and fields that are none: 422 here, 400 in the admin plane; nothing is made."""
    desk = Desk()
    assert (await desk.post("/api/keys", {**ORDER, **change})).status_code == 422
    assert desk.place.shelf.records == {}


@pytest.mark.parametrize("order", [{}, {"name": ""}, {"name": "app", "all": True}, [], "app", None])
async def test_revocations_that_are_refused(order: Any) -> None:
    """So is a revocation that does not name just one key."""
    desk = Desk(key())
    assert (await desk.post("/api/keys/revoke", order)).status_code == 422
    assert (await desk.listed())["app"]["state"] == "living"


async def test_a_place_that_is_away() -> None:
    """503 with the reason, and no key that nobody knows."""
    desk = Desk()
    desk.place.down = "Redis cannot be reached"
    for answer in (
        await desk.post("/api/keys", ORDER),
        await desk.post("/api/keys/revoke", {"name": "app"}),
        await desk.client.get("/api/keys"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "keys_unavailable")
        assert answer.json()["error"]["message"] == "Redis cannot be reached"
