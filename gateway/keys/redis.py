"""Issued keys in Redis, for all gateways that use it: standalone, behind Sentinels, or a Cluster.

    sluice:keys   a hash: each record as JSON under its key's SHA-256, and `version`, another word after each change

All lies in one hash, so that a Cluster keeps it on one node and nothing of it can be evicted without the rest. The
version is a random word rather than a count: a Redis that came back empty, or a replica that lags, cannot by accident
arrive at a number that a gateway has seen.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from caching.connection import Client, in_time
from caching.errors import StoreUnavailable
from caching.stores.redis import checked_prefix
from gateway.keys.record import IssuedKey
from gateway.keys.store import Decision, KeysUnavailable, Records, Snapshot

VERSION = b"version"
LOOK_SECONDS = 1.0  # for the version; a Redis that is silent must not delay what the file says
TRIES = 20  # of a change, when others write at the same time

# KEYS[1] the hash; ARGV[1] the version that was read, then field and value in turn.
_WRITE = """
if (redis.call('HGET', KEYS[1], 'version') or '') ~= ARGV[1] then return 0 end
for at = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
return 1
"""


class RedisKeys:
    """A KeyStore in one hash. It closes its client."""

    def __init__(self, client: Client, *, prefix: str = "sluice") -> None:
        self._client: Any = client  # redis-py's types differ between its client and its cluster client
        self._name = f"{checked_prefix(prefix)}:keys"
        self._seen: bytes | None = None

    async def changed(self) -> bool:
        """Say whether the version is another than the one last read."""
        try:
            async with in_time(LOOK_SECONDS):
                return (await self._client.hget(self._name, VERSION) or b"") != self._seen
        except StoreUnavailable as error:
            raise KeysUnavailable(str(error)) from error

    async def load(self) -> Snapshot:
        """All records. One that cannot be read opens nothing, and is told of."""
        version, snapshot = await self._read()
        self._seen = version
        return snapshot

    async def change(self, decide: Decision) -> Snapshot:
        """Write what is decided, unless somebody wrote since it was read: then it is decided anew."""
        for _ in range(TRIES):
            version, found = await self._read()
            wanted = decide(found.records)
            news = {digest: key for digest, key in wanted.items() if found.records.get(digest) != key}
            if not news:
                return found
            if await self._write(version, news):
                return Snapshot({**found.records, **wanted})
        raise KeysUnavailable("others change the keys in Redis all the time")

    async def aclose(self) -> None:
        """Close the client; one that cannot be closed properly is left."""
        try:
            async with in_time(LOOK_SECONDS):
                await self._client.aclose()
        except StoreUnavailable:
            pass

    async def _read(self) -> tuple[bytes, Snapshot]:
        try:
            async with in_time():
                fields = dict(await self._client.hgetall(self._name))
        except StoreUnavailable as error:
            raise KeysUnavailable(str(error)) from error
        version = fields.pop(VERSION, b"")
        return version, await asyncio.to_thread(_snapshot, fields)

    async def _write(self, version: bytes, news: Records) -> bool:
        words: list[bytes | str] = [VERSION, secrets.token_hex(16)]
        for digest, key in news.items():
            words += [digest, key.model_dump_json()]
        try:
            async with in_time():
                return bool(await self._client.eval(_WRITE, 1, self._name, version, *words))
        except StoreUnavailable as error:
            raise KeysUnavailable(str(error)) from error


def _snapshot(fields: Mapping[bytes, bytes]) -> Snapshot:
    records: dict[str, IssuedKey] = {}
    for digest, data in fields.items():
        key = _key(data)
        if key is not None and key.hash.encode() == digest:
            records[key.hash] = key
    unread = len(fields) - len(records)
    return Snapshot(records, trouble=f"{unread} keys in Redis cannot be read" if unread else "")


def _key(data: bytes) -> IssuedKey | None:
    try:
        return IssuedKey.model_validate_json(data)
    except ValidationError:
        return None
