"""Issued keys in the state folder: the contract of all places, and what becomes of damaged files."""

# ruff: noqa: ASYNC240 - a test may wait for its own small files

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import orjson
import pytest

from gateway.keys.changes import add, merge, revoke
from gateway.keys.files import FileKeys
from gateway.keys.store import KeysUnavailable
from tests.gateway.keys.contract import *  # noqa: F403  # its tests run here with the store below
from tests.gateway.keys.contract import Opening
from tests.gateway.keys.fakes import NOW, key, secret, told

DAMAGES = [b"", b"{", b"[]", b'{"format": 1, "keys": [{}]}', b'{"format": 1, "keys": 7}', b'{"format": 2, "keys": []}']


@pytest.fixture
def opening(tmp_path: Path) -> Opening:
    """One folder, not yet made."""
    return lambda: FileKeys(tmp_path / "state")


async def test_files_are_private(tmp_path: Path) -> None:
    """Folder 0700, files 0600, and the key itself in none of them; nothing half-written is left."""
    folder = tmp_path / "state"
    await FileKeys(folder).change(add(key(), NOW))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert found == dict.fromkeys(("keys.json", "keys.json.bak", "keys.lock"), 0o600)
    assert secret("app") not in (folder / "keys.json").read_text()


async def test_looking_makes_nothing(tmp_path: Path) -> None:
    """Who only reads leaves no folder behind; that nothing was begun is told."""
    assert not (await FileKeys(tmp_path / "state").load()).exists
    assert list(tmp_path.iterdir()) == []


async def test_that_there_are_none_can_be_noted(tmp_path: Path) -> None:
    """Merging nothing into nothing begins the file: a Redis without keys is mirrored as such."""
    await FileKeys(tmp_path).change(merge({}))
    found = await FileKeys(tmp_path).load()
    assert (found.exists, found.records) == (True, {})


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_file(tmp_path: Path, damage: bytes) -> None:
    """The copy is read, which knows the last revocation too, and that is said; the next change moves the file aside."""
    store = FileKeys(tmp_path)
    await store.change(add(key(), NOW))
    await store.change(revoke("app", NOW))
    (tmp_path / "keys.json").write_bytes(damage)
    found = await store.load()
    assert [one.revoked for one in found.records.values()] == [NOW]
    assert "keys.json.bak is used" in found.trouble
    await store.change(add(key("other"), NOW))
    after = await FileKeys(tmp_path).load()
    assert (len(after.records), after.trouble) == (2, "")
    assert (tmp_path / "keys.json.corrupt").read_bytes() == damage


async def test_a_lost_file(tmp_path: Path) -> None:
    """Without keys.json its copy is read, and that is said."""
    await FileKeys(tmp_path).change(add(key(), NOW))
    (tmp_path / "keys.json").unlink()
    found = await FileKeys(tmp_path).load()
    assert (len(found.records), found.exists) == (1, True)
    assert "is missing" in found.trouble


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("with_copy", [True, False])
async def test_both_damaged(tmp_path: Path, damage: bytes, with_copy: bool) -> None:  # noqa: FBT001
    """They are never taken for "no keys": reading and changing are refused, and both files stay for a repair."""
    store = FileKeys(tmp_path)
    for path in ("keys.json", "keys.json.bak")[: 1 + with_copy]:
        (tmp_path / path).write_bytes(damage)
    for attempt in (store.load(), store.change(add(key(), NOW))):
        with pytest.raises(KeysUnavailable, match="damaged"):
            await attempt
    assert (tmp_path / "keys.json").read_bytes() == damage
    assert await store.changed()


async def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    """What is no file at all, or belongs to somebody else, is no empty registry either."""
    (tmp_path / "keys.json").mkdir()
    with pytest.raises(KeysUnavailable, match="cannot be read"):
        await FileKeys(tmp_path).load()


async def test_a_full_disk(tmp_path: Path) -> None:
    """A change that cannot be written is refused, and what was there stays."""
    store = FileKeys(tmp_path)
    await store.change(add(key(), NOW))
    (tmp_path / ".keys.json.draft").mkdir()  # where the new file would be written
    with pytest.raises(KeysUnavailable, match="cannot be written"):
        await store.change(revoke("app", NOW))
    assert [one.revoked for one in (await store.load()).records.values()] == [None]


async def test_a_draft_that_was_cut_off(tmp_path: Path) -> None:
    """What a crash left half-written is never read, and the next change writes over it."""
    store = FileKeys(tmp_path)
    (tmp_path / ".keys.json.draft").write_bytes(b'{"format": 1, "keys": [' * 1000)
    assert not (await store.load()).exists
    await store.change(add(key(), NOW))
    assert orjson.loads((tmp_path / "keys.json").read_bytes())["keys"][0]["name"] == "app"


async def test_a_lock_is_not_waited_for_without_end(tmp_path: Path) -> None:
    """A writer that was stopped while it held the lock costs others an error, not their life."""
    store = FileKeys(tmp_path, lock_seconds=0.05)
    holder = os.open(tmp_path / "keys.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(KeysUnavailable, match="held by another process"):
        await store.change(merge(told(key())))
    os.close(holder)
    await store.change(merge(told(key())))
