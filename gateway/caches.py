"""The caches as a tool of the pipeline: what is kept, and what is under way, for as long as their settings last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caching.cache import Cache
from caching.flight import Flight
from caching.guard import Guarded
from caching.stores.memory import Memory
from caching.stores.sqlite import SqliteStore
from policies.caching import Cache as CachePolicy

if TYPE_CHECKING:
    from caching.lease import Leases


@dataclass(frozen=True, slots=True)
class Caches:
    """Everything that equal calls share."""

    cache: Cache
    leases: Leases | None = None  # flights across gateways; None where there is no Redis
    guard: Guarded | None = None  # before the slow store
    flights: dict[bytes, Flight] = field(default_factory=dict)
    hang_up: Callable[[], Awaitable[None]] | None = None  # closes the connections of the leases
    _closing: set[asyncio.Future[None]] = field(default_factory=set)

    def status(self) -> dict[str, Any]:
        """Plain values for metrics and the admin plane."""
        return {**self.cache.status(), "flights": len(self.flights)}

    async def flush(self) -> None:
        """Write what is still to be written, and close the stores."""
        await self.cache.aclose()
        await self._end_leases()

    def close(self) -> None:
        """Close the stores without waiting."""
        self.cache.close()
        if self.leases is None:
            return
        closing = asyncio.ensure_future(self._end_leases())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _end_leases(self) -> None:
        """Safe to call twice."""
        if self.leases is not None:
            await self.leases.close()
        if self.hang_up is not None:
            await self.hang_up()


def open_caches(policy: CachePolicy, state: Path, redis_url: str) -> Caches:
    """Open the stores that the policy and the settings ask for. Needs a running event loop; does no I/O by itself."""
    memory = Memory(policy.memory)
    if redis_url:
        return _on_redis(policy, memory, redis_url)
    # Without room on disk it keeps no answer, but it still tells of purges.
    store = SqliteStore(state / "cache.sqlite", policy.disk, retention=policy.retention)
    guard = Guarded(store, deadline=policy.deadline)
    return _started(Caches(Cache(memory, guard), None, guard))


def _on_redis(policy: CachePolicy, memory: Memory, url: str) -> Caches:
    # Imported here: the one client library that a gateway without Redis need not load.
    from caching.connection import FAILURES, connect  # noqa: PLC0415
    from caching.lease import Leases  # noqa: PLC0415
    from caching.stores.redis import RedisStore  # noqa: PLC0415

    guard = Guarded(RedisStore(connect(url)), deadline=policy.deadline)
    client, tail = connect(url), connect(url)  # those who follow each hold a connection, and leases must not wait

    async def hang_up() -> None:
        for each in (client, tail):
            with suppress(*FAILURES):
                await each.aclose()

    return _started(Caches(Cache(memory, guard), Leases(client, tail=tail), guard, hang_up=hang_up))


def _started(caches: Caches) -> Caches:
    caches.cache.start()
    return caches
