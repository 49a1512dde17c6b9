"""Which places a gateway keeps issued keys in, and the ring by which each worker follows them.

Without Redis the state folder is the place. With Redis that is, and the folder mirrors it: when Redis is gone the keys
stay in force, and when it comes back without them they are put back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.keys.changes import merge, merged
from gateway.keys.files import FileKeys
from gateway.keys.record import IssuedKey
from gateway.keys.store import Decision, KeyStore, KeysUnavailable, Records, Snapshot

log = logging.getLogger("sluice")


@dataclass
class _Place:
    """A store, and what it last told."""

    name: str
    store: KeyStore
    snapshot: Snapshot | None = None  # None: it has not been heard yet
    is_behind: bool = False  # it lacks something that is known
    trouble: str = ""


class Keyring:
    """The issued keys as one process knows them. Nothing is read before the first `poll`."""

    def __init__(self, folder: KeyStore, redis: KeyStore | None = None) -> None:
        self._folder = _Place("the state folder", folder)
        self._redis = _Place("Redis", redis) if redis else None
        self._places = [self._folder, self._redis] if self._redis else [self._folder]
        self._records: Records = {}
        self.issued: tuple[IssuedKey, ...] = ()  # those not revoked; whoever asks looks whether they expired

    @property
    def had_keys(self) -> bool:
        """Say whether there are or were keys, or nobody can tell: then no call is served without one."""
        return bool(self._records) or not self.is_certain

    @property
    def is_certain(self) -> bool:
        """Say whether the keys were read since the start: all of them, or the mirror of a Redis that is away."""
        if self._folder.snapshot is None:
            return False
        return self._redis is None or self._redis.snapshot is not None or self._folder.snapshot.exists

    @property
    def trouble(self) -> str:
        """What is wrong with the places, for a log or a page; empty if nothing is."""
        return "; ".join(place.trouble for place in self._places if place.trouble)

    async def poll(self) -> bool:
        """Ask the places what is new and give each what it lacks; say whether `issued` or `had_keys` are others now.

        It never raises for a place that fails: what is known stays in force, and the log says so once.
        """
        before = self.issued, self.had_keys
        failed = [await self._hear(place) for place in self._places]
        for place, reason in zip(self._places, failed, strict=True):
            self._note(place, reason or await self._tell(place))
        return (self.issued, self.had_keys) != before

    async def aclose(self) -> None:
        """Close the places."""
        for place in self._places:
            await place.store.aclose()

    async def _hear(self, place: _Place) -> str:
        """Take in what a place tells; the reason if it tells nothing."""
        try:
            if not await place.store.changed():
                return ""
            place.snapshot = await place.store.load()
        except KeysUnavailable as error:
            return error.message
        self._learn(place.snapshot.records)
        return ""

    async def _tell(self, place: _Place) -> str:
        """Give a place what it lacks; what is wrong with it."""
        if place.snapshot is None or not place.is_behind:
            return place.snapshot.trouble if place.snapshot else ""
        missing = len(self._records) - len(place.snapshot.records)
        try:
            place.snapshot = await place.store.change(merge(self._records))
        except KeysUnavailable as error:
            return error.message
        if missing > 0 and place is self._redis:
            log.warning("keys: Redis lacked %d of them; they were put back", missing)
        self._learn(place.snapshot.records)
        return place.snapshot.trouble

    def _learn(self, told: Records) -> None:
        records = merged(self._records, told)
        if records is not self._records:
            self._records = records
            self.issued = tuple(key for key in records.values() if key.revoked is None)
            log.info("keys: %d issued, %d revoked", len(self.issued), len(records) - len(self.issued))
        for place in self._places:
            place.is_behind = place.snapshot is not None and self._lacks(place, place.snapshot)

    def _lacks(self, place: _Place, snapshot: Snapshot) -> bool:
        """Say whether a place must be written to. That Redis has no keys is noted in the folder, too."""
        heard = self._redis is not None and self._redis.snapshot is not None
        is_unbegun = place is self._folder and heard and not snapshot.exists
        return is_unbegun or snapshot.records != self._records

    def _note(self, place: _Place, trouble: str) -> None:
        """Say once that something begins, and once that it ends."""
        if trouble == place.trouble:
            return
        place.trouble = trouble
        if trouble:
            log.error("keys: %s; the %d known stay in force", trouble, len(self.issued))
        else:
            log.info("keys: %s works again", place.name)


class Mirrored:
    """A KeyStore for commands: Redis, and at once the mirror in this machine's state folder, if there is one.

    So that a key is not lost with a Redis that dies before a gateway has looked.
    """

    def __init__(self, redis: KeyStore, folder: KeyStore) -> None:
        self._redis = redis
        self._folder = folder

    async def changed(self) -> bool:
        """Say whether Redis tells something new."""
        return await self._redis.changed()

    async def load(self) -> Snapshot:
        """What Redis tells; while it is away, what the mirror does, if there is one."""
        try:
            return await self._redis.load()
        except KeysUnavailable as error:
            mirror = await self._folder.load()
            if not mirror.exists:
                raise
            return Snapshot(mirror.records, trouble=f"{error.message}; the mirror in the state folder is shown")

    async def change(self, decide: Decision) -> Snapshot:
        """Change Redis; then the mirror, whose failure is left to the gateway that uses it."""
        done = await self._redis.change(decide)
        try:
            if (await self._folder.load()).exists:
                await self._folder.change(merge(done.records))
        except KeysUnavailable as error:
            log.warning("keys: the mirror was not written: %s", error.message)
        return done

    async def aclose(self) -> None:
        """Close both."""
        await self._redis.aclose()
        await self._folder.aclose()


def keyring(state: Path, redis_url: str = "") -> Keyring:
    """The ring of a gateway with this state folder and, if it shares one, this Redis. Raises ValueError for its URL."""
    return Keyring(FileKeys(state), _redis(redis_url) if redis_url else None)


def look(state: Path, redis_url: str = "") -> Keyring:
    """A ring that has looked once and is closed, for whoever has no event loop. Raises ValueError for the URL."""

    async def once() -> Keyring:
        ring = keyring(state, redis_url)
        await ring.poll()
        await ring.aclose()
        return ring

    return asyncio.run(once())


@asynccontextmanager
async def opened(state: Path, redis_url: str = "") -> AsyncIterator[KeyStore]:
    """Where keys are changed, for a command or a page. Raises KeysUnavailable for a URL that is none."""
    store: KeyStore = FileKeys(state)
    if redis_url:
        try:
            store = Mirrored(_redis(redis_url), store)
        except ValueError as error:
            raise KeysUnavailable(str(error)) from error
    try:
        yield store
    finally:
        await store.aclose()


def _redis(url: str) -> KeyStore:
    # Imported here: the one client library that a gateway without Redis need not load.
    from caching.connection import connect  # noqa: PLC0415
    from gateway.keys.redis import RedisKeys  # noqa: PLC0415

    return RedisKeys(connect(url))
