"""The stores that the contract suite runs over; another one joins by one entry in STORES."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from caching.connection import connect
from caching.stores import Store
from caching.stores.redis import RedisStore, entry_name
from caching.stores.sqlite import SqliteStore
from tests.fakes.stores import Clock, FakeStore
from tests.redis_servers import redis_server

BOUND = 64 << 20


@dataclass
class Held:
    """A store under test, and what happens behind its back."""

    store: Store
    clock: Clock
    overwrite: Callable[[bytes, bytes], Awaitable[None]]  # puts these raw bytes under an existing key
    cut: Callable[[], Awaitable[None]]  # makes the store unavailable


@asynccontextmanager
async def fake(folder: Path, clock: Clock) -> AsyncIterator[Held]:
    """The fake that other tests rely on."""
    store = FakeStore(clock)

    async def overwrite(key: bytes, data: bytes) -> None:
        store.values[key] = data

    async def cut() -> None:
        store.down = "cut"

    yield Held(store, clock, overwrite, cut)


@asynccontextmanager
async def sqlite(folder: Path, clock: Clock) -> AsyncIterator[Held]:
    """The file on disk."""
    path = folder / "cache.db"
    store = SqliteStore(path, BOUND, clock=clock)
    others: list[sqlite3.Connection] = []

    async def overwrite(key: bytes, data: bytes) -> None:
        with sqlite3.connect(path) as db:
            db.execute("UPDATE entries SET value = ? WHERE key = ?", (data, key))
        db.close()

    async def cut() -> None:
        await store.ping()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("DROP TABLE entries")
        others.append(other)

    yield Held(store, clock, overwrite, cut)
    await store.close()
    for other in others:
        other.close()


@asynccontextmanager
async def redis(folder: Path, clock: Clock) -> AsyncIterator[Held]:
    """A server of its own; Sentinels and a Cluster join in tests/live."""
    with redis_server(folder, socket=True) as server:
        client = connect(server.url)
        store = RedisStore(connect(server.url), clock=clock)

        async def overwrite(key: bytes, data: bytes) -> None:
            await client.set(entry_name("sluice", key), data)

        async def cut() -> None:
            server.kill()

        yield Held(store, clock, overwrite, cut)
        await store.close()
        await client.aclose()


STORES: dict[str, Callable[[Path, Clock], AbstractAsyncContextManager[Held]]] = {
    "fake": fake,
    "sqlite": sqlite,
    "redis": redis,
}


@pytest.fixture(params=STORES)
async def held(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Held]:
    """Each store in turn, empty."""
    async with STORES[request.param](tmp_path, Clock()) as held:
        yield held
