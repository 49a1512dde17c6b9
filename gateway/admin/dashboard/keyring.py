"""Virtual keys for the dashboard: those that were issued, beside those of the policy."""

from __future__ import annotations

import asyncio
import fnmatch
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from gateway.admin.dashboard.data import Json, KeyOrder
from gateway.errors import BadRequest
from gateway.keys.changes import add, by_age, revoke
from gateway.keys.record import IssuedKey, issue, new_secret
from gateway.keys.store import KeyExists, KeyStore, Snapshot
from policies.model import Key
from policies.scalars import Lifetime

_T = TypeVar("_T")
Opened = Callable[[], AbstractAsyncContextManager[KeyStore]]

_LIFETIME: TypeAdapter[float] = TypeAdapter(Lifetime)
_NOTHING = "(?!)"  # what fnmatch makes of brackets that no character fits


@dataclass(frozen=True, slots=True)
class IssuedKeys:
    """Keys in their store. Its work is awaited in a loop of its own: pages are made in threads."""

    opened: Opened
    policy_keys: Callable[[], Sequence[Key]] = tuple  # those of the policy in force
    clock: Callable[[], float] = time.time

    def list(self) -> Json:
        """Every key, and what is wrong with the store although it could be read."""
        found, now = asyncio.run(self._load()), self.clock()
        policy = [_of_policy(key) for key in self.policy_keys()]
        names = {key["name"] for key in policy}
        issued = [_of_issued(key, now, is_shadowed=key.name in names) for key in by_age(found.records.values())]
        return {"keys": [*policy, *issued], "trouble": found.trouble}

    def create(self, order: KeyOrder) -> str:
        """A new key's secret. Raises BadRequest for what no key can be, KeyExists for a name that is taken."""
        if any(key.name == order.name for key in self.policy_keys()):
            raise KeyExists(f"The policy file has a key named '{order.name}' already.", param="name")
        secret, now = new_secret(), self.clock()
        key = _issued(order, secret, now)
        asyncio.run(self._change(add(key, now)))
        return secret

    def revoke(self, name: str) -> None:
        """End it."""
        asyncio.run(self._change(revoke(name, self.clock())))

    async def _load(self) -> Snapshot:
        async with self.opened() as store:
            return await store.load()

    async def _change(self, decide: Any) -> None:
        async with self.opened() as store:
            await store.change(decide)


def _issued(order: KeyOrder, secret: str, now: float) -> IssuedKey:
    for glob in order.models:
        if not could_match(glob):
            raise BadRequest(f"models: no name fits '{glob}'.", param="models")
    lifetime = _checked("expires", lambda: _LIFETIME.validate_python(order.expires_in)) if order.expires_in else None
    return _checked(
        "",
        lambda: issue(
            secret,
            now,
            name=order.name,
            tenant=order.tenant,
            team=order.team or None,
            tags=order.tags,
            models=order.models,
            lifetime=lifetime,
        ),
    )


def _checked(name: str, made: Callable[[], _T]) -> _T:
    try:
        return made()
    except ValidationError as failure:
        first = failure.errors()[0]
        where = name or str(first["loc"][0])
        raise BadRequest(f"{where}: {first['msg'].removeprefix('Value error, ')}.", param=where) from failure


def could_match(glob: str) -> bool:
    """Whether a name could fit. Brackets that nothing fits, or that are never closed, are a slip of the pen."""
    rest = glob
    while "[" in rest:
        inside = rest.partition("[")[2].removeprefix("!")
        if "]" not in inside[1:]:
            return False
        rest = inside[1:].partition("]")[2]
    return _NOTHING not in fnmatch.translate(glob)


def _of_issued(key: IssuedKey, now: float, *, is_shadowed: bool) -> Json:
    names = {"name", "prefix", "tenant", "team", "tags", "models", "created", "expires"}
    state = key.state(now)
    shadowed = "shadowed" if is_shadowed and state == "living" else state  # the policy's key of this name wins
    return {**key.model_dump(include=names), "source": "issued", "state": shadowed}


def _of_policy(key: Key) -> Json:
    names = {"name", "tenant", "team", "tags", "models"}
    told = {name: getattr(key, name) for name in names}
    return {**told, "prefix": "", "created": None, "expires": None, "source": "policy", "state": "living"}
