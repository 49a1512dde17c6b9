"""The store of answers seen from beside the workers: opened for a few questions or one purge, and closed again.

A purge takes effect in the store at once. Workers read from it what was purged, and their memory follows within about a
second.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from caching.errors import StoreUnavailable
from caching.stores import Store
from caching.stores.sqlite import SqliteStore

FILE = "cache.sqlite"  # in the state directory
SIGNS = ("serve.lock", "ledger.sqlite", "admin.token")  # of a gateway that used the directory
# Bounds are the workers' affair: nothing is put from here, and what they keep must not look too old or too much.
ROOM = 2**40  # bytes
AGE = 10 * 366 * 86400.0  # seconds


@asynccontextmanager
async def opened(state: Path, redis_url: str = "", *, purging: bool = False) -> AsyncIterator[Store]:
    """The store that workers on this state directory use, or the Redis they share. Raises StoreUnavailable.

    Who is `purging` begins a file that was deleted or is corrupt anew: by it workers hear of the purge. Who only asks
    leaves all as it is.
    """
    store = _redis(redis_url) if redis_url else _sqlite(state / FILE, purging=purging)
    try:
        yield store
    finally:
        await store.close()


def where(state: Path, redis_url: str = "") -> str:
    """Where that store is, as a log or a terminal may show it: without user and password."""
    if not redis_url:
        return str(state / FILE)
    from caching.connection import shown  # noqa: PLC0415 - as in _redis

    return shown(redis_url)


def _sqlite(path: Path, *, purging: bool) -> Store:
    """Begin no file where no gateway was: an answer of "empty" would hide a mistyped directory."""
    was_here = purging and any((path.parent / sign).exists() for sign in SIGNS)
    if not (path.is_file() or was_here):
        raise StoreUnavailable(f"there is no {path.name} in the state directory: no worker has kept an answer there")
    return SqliteStore(path, ROOM, retention=AGE, repairs=purging)


def _redis(url: str) -> Store:
    # Imported here: only a gateway with Redis should pay for loading its client.
    from caching.connection import connect  # noqa: PLC0415
    from caching.stores.redis import RedisStore  # noqa: PLC0415

    try:
        return RedisStore(connect(url))
    except ValueError as error:
        raise StoreUnavailable(str(error)) from error
