"""Issued keys in Redis as it is run: the contract of all places, and what becomes of keys when Redis is lost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from caching.connection import Client, connect
from gateway.keys.changes import add, revoke
from gateway.keys.files import FileKeys
from gateway.keys.redis import RedisKeys
from gateway.keys.registry import Keyring, keyring, opened
from gateway.keys.store import KeysUnavailable
from tests.gateway.keys.contract import *  # noqa: F403  # its tests run here with the store below
from tests.gateway.keys.contract import Opening
from tests.gateway.keys.fakes import NOW, key, told
from tests.redis_servers import redis_server

PATIENCE = 4.0  # seconds; a few deadlines of one command to Redis


@pytest.fixture
def opening(url: str, prefix: str) -> Opening:
    """One hash on each way to run Redis."""
    return lambda: RedisKeys(connect(url), prefix=prefix)


def names(ring: Keyring) -> list[str]:
    """The names of the keys in force."""
    return sorted(one.name for one in ring.issued)


async def test_what_cannot_be_read_opens_nothing(client: Client, opening: Opening, prefix: str) -> None:
    """Records of others' making, and one under another's digest, are left out and told of; the rest is read."""
    store = opening()
    await store.change(add(key(), NOW))
    stray: dict[str, str | bytes] = {"x": b"\xff", "y": "{}", "sha256:" + "0" * 64: key("other").model_dump_json()}
    for field, value in stray.items():
        await client.hset(f"{prefix}:keys", field, value)
    found = await opening().load()
    assert found.records == told(key())
    assert found.trouble == "3 keys in Redis cannot be read"


async def test_another_kind_of_value(client: Client, opening: Opening, prefix: str) -> None:
    """A name that holds something else is an outage, not an empty registry."""
    await client.set(f"{prefix}:keys", "mine")
    for attempt in (opening().load(), opening().changed(), opening().change(add(key(), NOW))):
        with pytest.raises(KeysUnavailable, match="Redis refused"):
            await attempt


async def test_redis_is_lost_and_comes_back_empty(tmp_path: Path) -> None:
    """Keys stay in force meanwhile, and both they and the notes of revoked ones are put back."""
    with redis_server(tmp_path / "redis") as server:
        first, second = keyring(tmp_path / "a", server.url), keyring(tmp_path / "b", server.url)
        async with opened(tmp_path / "nowhere", server.url) as store:
            await store.change(add(key(), NOW))
            await store.change(add(key("old"), NOW))
        await first.poll()  # and never again while `old` lives on in its mirror
        async with opened(tmp_path / "nowhere", server.url) as store:
            await store.change(revoke("old", NOW))
        await second.poll()
        server.kill()
        for ring in (first, second):
            await ring.poll()
            assert "app" in names(ring)
            assert ring.trouble
        server.start()
        for ring in (first, second, first):
            await ring.poll()
        assert names(first) == names(second) == ["app"]
        assert {one.name: one.revoked for one in (await FileKeys(tmp_path / "a").load()).records.values()} == {
            "app": None,
            "old": NOW,
        }
        for ring in (first, second):
            await ring.aclose()


async def test_a_start_while_redis_is_away(tmp_path: Path) -> None:
    """The mirror that another process left is in force; without a mirror nobody is let in."""
    with redis_server(tmp_path / "redis") as server:
        async with opened(tmp_path / "nowhere", server.url) as store:
            await store.change(add(key(), NOW))
        before = keyring(tmp_path / "a", server.url)
        await before.poll()
        await before.aclose()
        server.kill()
        after, bare = keyring(tmp_path / "a", server.url), keyring(tmp_path / "b", server.url)
        for ring in (after, bare):
            await ring.poll()
        assert (names(after), after.is_certain) == (["app"], True)
        assert (names(bare), bare.had_keys, bare.is_certain) == ([], True, False)
        for ring in (after, bare):
            await ring.aclose()


async def test_a_silent_redis_does_not_hold_a_poll(tmp_path: Path) -> None:
    """A look ends within seconds, and what the folder says is followed all the same."""
    with redis_server(tmp_path / "redis") as server:
        ring = keyring(tmp_path / "a", server.url)
        await ring.poll()
        server.pause()
        await FileKeys(tmp_path / "a").change(add(key(), NOW))
        began = time.monotonic()
        await ring.poll()
        assert time.monotonic() - began < PATIENCE
        assert names(ring) == ["app"]
        await ring.aclose()
