"""The ring by which a worker follows the keys: what stays in force when places fail, and who is given what."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gateway.keys.changes import add, revoke
from gateway.keys.files import FileKeys
from gateway.keys.registry import Keyring, Mirrored, keyring, look, opened
from gateway.keys.store import Decision, KeyStore, KeysUnavailable, Snapshot
from tests.gateway.keys.fakes import NOW, FakeKeys, Shelf, key, told

REVOKED = key().model_copy(update={"revoked": NOW + 1, "changed": NOW + 1})


def names(ring: Keyring) -> list[str]:
    """The names of the keys in force."""
    return sorted(one.name for one in ring.issued)


async def polled(folder: KeyStore, redis: KeyStore | None = None) -> Keyring:
    """A ring that has looked once."""
    ring = Keyring(folder, redis)
    await ring.poll()
    return ring


async def test_a_change_is_followed() -> None:
    """A poll tells whether anything changed, and a place without news is not read again."""
    folder = FakeKeys()
    ring = Keyring(folder)
    assert await ring.poll()  # from now on it is known that there are none
    assert (names(ring), ring.had_keys) == ([], False)
    await folder.change(add(key(), NOW))
    assert await ring.poll()
    assert (names(ring), ring.had_keys) == (["app"], True)
    loads = folder.loads
    assert not await ring.poll()
    assert folder.loads == loads
    await folder.change(revoke("app", NOW))
    assert await ring.poll()
    assert names(ring) == []


async def test_nothing_is_open_before_the_first_look() -> None:
    """A ring that has read nothing does not say that there are no keys."""
    assert Keyring(FakeKeys()).had_keys


async def test_the_last_key_revoked_opens_nothing() -> None:
    """A gateway that had keys does not fall back to serving without them."""
    ring = await polled(FakeKeys(REVOKED))
    assert (names(ring), ring.had_keys) == ([], True)


async def test_at_start_with_a_place_that_cannot_be_read() -> None:
    """Nobody knows whether there are keys, so the gateway is closed until somebody does."""
    folder = FakeKeys()
    folder.down = "keys.json is damaged"
    ring = await polled(folder)
    assert (ring.had_keys, ring.is_certain, ring.trouble) == (True, False, "keys.json is damaged")
    folder.down = ""
    assert await ring.poll()
    assert (ring.had_keys, ring.trouble) == (False, "")


async def test_what_is_known_stays_in_force(caplog: pytest.LogCaptureFixture) -> None:
    """A place that fails costs no key, and the log has one line when it begins and one when it ends."""
    caplog.set_level(logging.INFO, "sluice")
    folder = FakeKeys(key())
    ring = await polled(folder)
    folder.down = "gone"
    caplog.clear()
    for _ in range(3):
        assert not await ring.poll()
    assert (names(ring), ring.had_keys) == (["app"], True)
    folder.down = ""
    assert not await ring.poll()
    assert [record.message for record in caplog.records] == [
        "keys: gone; the 1 known stay in force",
        "keys: the state folder works again",
    ]


async def test_a_write_that_fails_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    """A mirror on a full disk is told of once, however often it is tried."""

    class Full(FakeKeys):
        async def change(self, decide: Decision) -> Snapshot:
            raise KeysUnavailable("the disk is full")

    ring = await polled(Full(), FakeKeys(key()))
    await ring.poll()
    assert names(ring) == ["app"]
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        "keys: the disk is full; the 1 known stay in force"
    ]


async def test_records_that_vanish_from_the_folder_are_put_back() -> None:
    """A file deleted under a running gateway is written again."""
    folder = FakeKeys(key())
    ring = await polled(folder)
    folder.shelf.records, folder.shelf.exists = {}, False
    assert not await ring.poll()
    assert folder.shelf.records == told(key())


async def test_the_folder_mirrors_redis() -> None:
    """What Redis tells is in the folder after one look; that it has no keys is noted too."""
    folder, redis = FakeKeys(), FakeKeys()
    ring = await polled(folder, redis)
    assert (folder.shelf.exists, ring.had_keys) == (True, False)
    await redis.change(add(key(), NOW))
    await ring.poll()
    assert folder.shelf.records == told(key())


async def test_an_empty_folder_is_not_begun() -> None:
    """Without Redis a gateway without keys leaves no file."""
    folder = FakeKeys()
    await polled(folder)
    assert not folder.shelf.exists


async def test_redis_comes_back_empty() -> None:
    """It is given what the mirror has: living keys and the notes of revoked ones."""
    folder = FakeKeys(REVOKED, key("other"))
    redis = FakeKeys()
    redis.down = "Redis cannot be reached"
    ring = await polled(folder, redis)
    assert (names(ring), ring.had_keys, ring.trouble) == (["other"], True, "Redis cannot be reached")
    redis.down = ""
    assert not await ring.poll()
    assert redis.shelf.records == told(REVOKED, key("other"))
    assert ring.trouble == ""


async def test_an_old_place_brings_no_revoked_key_back() -> None:
    """Neither an old file nor an old Redis undoes a revocation; both learn of it."""
    for folder, redis in ((FakeKeys(key()), FakeKeys(REVOKED)), (FakeKeys(REVOKED), FakeKeys(key()))):
        ring = await polled(folder, redis)
        assert names(ring) == []
        assert folder.shelf.records == redis.shelf.records == told(REVOKED)


async def test_a_revocation_in_the_folder_acts_while_redis_is_away() -> None:
    """An operator who cannot reach Redis revokes in the state folder; Redis hears of it when it is back."""
    folder, redis = FakeKeys(), FakeKeys(key())
    ring = await polled(folder, redis)
    redis.down = "gone"
    await folder.change(revoke("app", NOW))
    await ring.poll()
    assert names(ring) == []
    redis.down = ""
    await ring.poll()
    assert [one.revoked for one in redis.shelf.records.values()] == [NOW]


async def test_a_redis_never_heard() -> None:
    """Without a mirror nobody knows whether there are keys; a mirror without keys says that there were none."""
    redis = FakeKeys()
    redis.down = "gone"
    assert (await polled(FakeKeys(), redis)).had_keys
    assert not (await polled(FakeKeys(shelf=Shelf(exists=True)), redis)).had_keys


async def test_two_gateways_over_a_redis_that_was_lost() -> None:
    """What either mirror knows is in both, and in Redis, after each has looked twice."""
    redis = Shelf()
    first = Keyring(FakeKeys(key("a"), REVOKED), FakeKeys(shelf=redis))
    second = Keyring(FakeKeys(key("b"), key()), FakeKeys(shelf=redis))
    for _ in range(2):
        await first.poll()
        await second.poll()
    assert names(first) == names(second) == ["a", "b"]
    assert redis.records == told(key("a"), REVOKED, key("b"))


async def test_closing() -> None:
    """Both places are closed."""
    folder, redis = FakeKeys(), FakeKeys()
    await Keyring(folder, redis).aclose()
    assert (folder.is_closed, redis.is_closed) == (True, True)


async def test_a_command_writes_the_mirror_at_once() -> None:
    """A key made or revoked by Redis is on this machine's disk before the command ends, where there is a mirror."""
    folder, redis = FakeKeys(key("other")), FakeKeys()
    await Mirrored(redis, folder).change(add(key(), NOW))
    assert redis.shelf.records == told(key())
    assert folder.shelf.records == told(key("other"), key())
    bare = FakeKeys()
    await Mirrored(redis, bare).change(revoke("app", NOW))
    assert not bare.shelf.exists


async def test_a_command_over_a_redis_that_is_away() -> None:
    """Lists come from the mirror and say so; changes are refused, and so is a list where there is no mirror."""
    redis, folder = FakeKeys(), FakeKeys(key())
    redis.down = "Redis cannot be reached"
    found = await Mirrored(redis, folder).load()
    assert found.records == told(key())
    assert found.trouble == "Redis cannot be reached; the mirror in the state folder is shown"
    with pytest.raises(KeysUnavailable):
        await Mirrored(redis, folder).change(add(key("b"), NOW))
    with pytest.raises(KeysUnavailable):
        await Mirrored(redis, FakeKeys()).load()


async def test_a_mirror_that_cannot_be_written() -> None:
    """What Redis took holds, whatever becomes of the mirror."""
    redis, folder = FakeKeys(), FakeKeys()
    folder.down = "full"
    await Mirrored(redis, folder).change(add(key(), NOW))
    assert redis.shelf.records == told(key())


def test_looking_once(tmp_path: Path) -> None:
    """Who has no event loop learns the same, and nothing is made by it."""
    ring = look(tmp_path / "state")
    assert (ring.had_keys, ring.is_certain, list(tmp_path.iterdir())) == (False, True, [])


async def test_real_files(tmp_path: Path) -> None:
    """A key that a command makes in the folder is in force at the next look of a ring over it."""
    ring = keyring(tmp_path)
    await ring.poll()
    async with opened(tmp_path) as store:
        await store.change(add(key(), NOW))
    assert await ring.poll()
    assert names(ring) == ["app"]
    (tmp_path / "keys.json").write_text("edited by a cat")
    await ring.poll()
    assert names(ring) == ["app"]
    assert "keys.json.bak is used" in ring.trouble
    assert (await FileKeys(tmp_path).load()).records == told(key())


async def test_a_redis_url_that_is_none(tmp_path: Path) -> None:
    """It is told without its password."""
    with pytest.raises(KeysUnavailable, match="begins with one of") as error:
        async with opened(tmp_path, "nonsense://me:secret@host"):
            pass
    assert "secret" not in error.value.message
