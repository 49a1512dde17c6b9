"""The store of answers seen from beside the workers: opened for one question or one purge, and closed again.

A purge takes effect in the store at once. Workers read from it what was purged, and their memory follows within about a
second.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

from caching.entry import Entry
from caching.errors import StoreUnavailable
from caching.stores import Store
from caching.stores.sqlite import SqliteStore

FILE = "cache.sqlite"  # in the state directory
# Bounds are the workers' affair: nothing is put from here, and what they keep must not look too old or too much.
ROOM = 2**40  # bytes
AGE = 10 * 366 * 86400.0  # seconds
BUSY_SECONDS = 1.0  # to wait for a worker's transaction
PREFIX = "sluice"  # of the names in Redis
PAGE = 256  # names and values asked for at once


@asynccontextmanager
async def opened(state: Path, redis_url: str = "") -> AsyncIterator[Store]:
    """The store that workers on this state directory use, or the Redis they share. Raises StoreUnavailable."""
    store = _redis(redis_url) if redis_url else _sqlite(state / FILE)
    try:
        yield store
    finally:
        await store.close()


async def newest(state: Path, redis_url: str, most: int) -> list[Entry]:
    """At most so many entries, whoever's: of a file the newest, of Redis any. Raises StoreUnavailable."""
    if redis_url:
        return await _any_of_redis(redis_url, most)
    try:
        return _newest_of_file(state / FILE, most)
    except sqlite3.Error as error:
        raise StoreUnavailable("the file cannot be read now") from error


def where(state: Path, redis_url: str = "") -> str:
    """Where that store is, as a log or a terminal may show it: without user and password."""
    if not redis_url:
        return str(state / FILE)
    from caching.connection import shown  # noqa: PLC0415 - as in _redis

    return shown(redis_url)


def _sqlite(path: Path) -> Store:
    """Never begin a file that is not there: an answer of "empty" would hide a mistyped directory."""
    if not path.is_file():
        raise StoreUnavailable(f"there is no {path.name} in the state directory: no worker has kept an answer there")
    return SqliteStore(path, ROOM, retention=AGE)


def _newest_of_file(path: Path, most: int) -> list[Entry]:
    """Read beside the store, which looks up keys and lists none."""
    sql = "SELECT key, value FROM entries JOIN bodies USING (id) ORDER BY id DESC LIMIT ?"
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as db:
        return [entry for key, value in db.execute(sql, (most,)) if (entry := Entry.loads(key, value))]


async def _any_of_redis(url: str, most: int) -> list[Entry]:
    from caching.connection import answering, connect  # noqa: PLC0415 - as in _redis
    from caching.stores.redis import entry_name  # noqa: PLC0415

    pattern = entry_name(PREFIX, b"").replace("{}", "{*}")
    client: Any = connect(url)  # redis-py's types differ between its client and its cluster client
    try:
        with answering():
            names = []
            async for name in client.scan_iter(match=pattern, count=PAGE):
                names.append(name)
                if len(names) >= most:
                    break
            values = [
                value for at in range(0, len(names), PAGE) for value in await _values(client, names[at : at + PAGE])
            ]
    finally:
        with suppress(StoreUnavailable), answering():
            await client.aclose()
    keys = (bytes.fromhex(name.decode().rpartition("{")[2].partition("}")[0]) for name in names)
    return [entry for key, value in zip(keys, values, strict=True) if value and (entry := Entry.loads(key, value))]


async def _values(client: Any, names: list[bytes]) -> list[bytes | None]:
    """Their values in one round trip (in a Cluster one to each node)."""
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.get(name)
    found: list[bytes | None] = await pipeline.execute()
    return found


def _redis(url: str) -> Store:
    # Imported here: the one client library that a gateway without Redis need not have.
    try:
        from caching.connection import connect  # noqa: PLC0415
        from caching.stores.redis import RedisStore  # noqa: PLC0415
    except ImportError as error:
        raise StoreUnavailable("Redis needs its client: pip install 'sluice-gateway[redis]'") from error
    try:
        return RedisStore(connect(url))
    except ValueError as error:
        raise StoreUnavailable(str(error)) from error
