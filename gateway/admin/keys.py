"""The admin plane's routes for keys: those of the policy and those issued, without what opens anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.keys.changes import add, by_age, revoke
from gateway.keys.record import IssuedKey, issue, new_secret
from gateway.keys.store import KeyExists, KeyStore
from policies.model import Key
from policies.scalars import Glob, Lifetime, Name

KEYS_PATH = "/api/keys"
REVOKE_PATH = "/api/keys/revoke"
Opened = Callable[[], AbstractAsyncContextManager[KeyStore]]


class KeyOrder(BaseModel):
    """What a new key is to be."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name
    tenant: Name
    team: Name | None = None
    tags: Annotated[list[Name], Field(max_length=20)] = Field(default_factory=list)
    models: Annotated[list[Glob], Field(max_length=1000)] = Field(default_factory=list)
    expires_in: Lifetime | None = None  # "30d", or seconds


class RevokeOrder(BaseModel):
    """Which key is to be revoked."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name


def routes(
    opened: Opened,
    policy_keys: Callable[[], Sequence[Key]] = tuple,
    clock: Callable[[], float] = time.time,
) -> APIRouter:
    """The routes over a store that `opened` opens for one request.

    `policy_keys` tells the keys of the policy; it is asked in a thread, so it may read files.
    """
    desk = _Desk(opened, policy_keys, clock)
    router = APIRouter()
    router.add_api_route(KEYS_PATH, desk.list, methods=["GET"], response_model=None)
    router.add_api_route(KEYS_PATH, desk.create, methods=["POST"], response_model=None)
    router.add_api_route(REVOKE_PATH, desk.revoke, methods=["POST"], response_model=None)
    return router


class _Desk:
    """Where keys are asked for."""

    def __init__(self, opened: Opened, policy_keys: Callable[[], Sequence[Key]], clock: Callable[[], float]) -> None:
        self._opened = opened
        self._policy_keys = policy_keys
        self._clock = clock

    async def list(self) -> Response:
        now = self._clock()
        async with self._opened() as store:
            found = await store.load()
        policy = [_of_policy(key) for key in await asyncio.to_thread(self._policy_keys)]
        names = {key["name"] for key in policy}
        issued = [_of_issued(key, now, is_shadowed=key.name in names) for key in by_age(found.records.values())]
        return _json({"keys": policy + issued, "trouble": found.trouble})

    async def create(self, order: KeyOrder) -> Response:
        if any(key.name == order.name for key in await asyncio.to_thread(self._policy_keys)):
            raise KeyExists(f"The policy file has a key named '{order.name}' already.", param="name")
        secret, now = new_secret(), self._clock()
        key = issue(
            secret,
            now,
            name=order.name,
            tenant=order.tenant,
            team=order.team,
            tags=tuple(order.tags),
            models=tuple(order.models),
            lifetime=order.expires_in,
        )
        async with self._opened() as store:
            await store.change(add(key, now))
        return _json({"key": secret, **_of_issued(key, now)}, status=201)

    async def revoke(self, order: RevokeOrder) -> Response:
        async with self._opened() as store:
            await store.change(revoke(order.name, self._clock()))
        return _json({"name": order.name, "state": "revoked"})


def _of_issued(key: IssuedKey, now: float, *, is_shadowed: bool = False) -> dict[str, Any]:
    state = key.state(now)
    return {
        "name": key.name,
        "prefix": key.prefix,
        "tenant": key.tenant,
        "team": key.team,
        "tags": key.tags,
        "models": key.models,
        "created": key.created,
        "expires": key.expires,
        "revoked": key.revoked,
        "source": "issued",
        "state": "shadowed" if is_shadowed and state == "living" else state,  # the policy's key of this name wins
    }


def _of_policy(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "prefix": "",
        "tenant": key.tenant,
        "team": key.team,
        "tags": key.tags,
        "models": key.models,
        "created": None,
        "expires": None,
        "revoked": None,
        "source": "policy",
        "state": "living",
    }


def _json(value: Any, status: int = 200) -> Response:
    """An answer that nobody keeps: one of them holds a key."""
    return Response(orjson.dumps(value), status, {"cache-control": "no-store"}, media_type="application/json")
