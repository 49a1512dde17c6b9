"""What every KeyStore does. A test module joins it with `import *` and a fixture `opening`, one place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gateway.keys.changes import add, merge, revoke
from gateway.keys.store import KeyExists, KeyStore, NoSuchKey
from tests.gateway.keys.fakes import NOW, key, told

Opening = Callable[[], KeyStore]


async def test_a_key_comes_back_as_it_was(opening: Opening) -> None:
    """Another who opens the place reads every field, those of a later release too."""
    made = key(team="shop", tags=("a", "b"), models=("gpt-*",), lifetime=60.5)
    made = type(made).model_validate({**made.model_dump(), "budget": {"usd": 12.5, "per": "month"}})
    await opening().change(add(made, NOW))
    [found] = (await opening().load()).records.values()
    assert found == made
    assert found.model_extra == {"budget": {"usd": 12.5, "per": "month"}}


async def test_an_empty_place(opening: Opening) -> None:
    """Where nothing was put there are no keys and no trouble."""
    found = await opening().load()
    assert (found.records, found.trouble) == ({}, "")


async def test_a_name_is_taken(opening: Opening) -> None:
    """A living key's name is refused, and the place stays as it was; a revoked one's may be used again."""
    store = opening()
    await store.change(add(key(), NOW))
    other = key(now=NOW + 1).model_copy(update={"hash": "sha256:" + "0" * 64})
    with pytest.raises(KeyExists):
        await store.change(add(other, NOW))
    assert len((await opening().load()).records) == 1
    await store.change(revoke("app", NOW))
    await store.change(add(other, NOW))
    assert len((await opening().load()).records) == 2


async def test_a_revoked_key_stays_as_a_note(opening: Opening) -> None:
    """It is told with the time, and to revoke it again, or one that never was, is refused."""
    store = opening()
    await store.change(add(key(), NOW))
    await store.change(revoke("app", NOW + 5))
    [found] = (await opening().load()).records.values()
    assert found.revoked == NOW + 5
    for name in ("app", "nobody"):
        with pytest.raises(NoSuchKey):
            await store.change(revoke(name, NOW))


async def test_what_is_left_out_stays(opening: Opening) -> None:
    """A decision that forgets a record removes nothing."""
    store = opening()
    await store.change(add(key(), NOW))
    await store.change(lambda _: told(key("other")))
    assert {one.name for one in (await opening().load()).records.values()} == {"app", "other"}


async def test_a_change_is_noticed(opening: Opening) -> None:
    """`changed` is true until the place was read, and again after another wrote; reading alone is no change."""
    reader, writer = opening(), opening()
    assert await reader.changed()
    await writer.change(add(key(), NOW))
    await reader.load()
    assert not await reader.changed()
    await writer.change(revoke("app", NOW))
    assert await reader.changed()
    assert [one.revoked for one in (await reader.load()).records.values()] == [NOW]
    assert not await reader.changed()


async def test_nothing_new_changes_nothing(opening: Opening) -> None:
    """Merging what is there already is no change for whoever looks."""
    reader, writer = opening(), opening()
    await writer.change(add(key(), NOW))
    await reader.load()
    await writer.change(merge(told(key())))
    assert not await reader.changed()


async def test_writers_at_the_same_time(opening: Opening) -> None:
    """No key of ten writers is lost."""
    await asyncio.gather(*(opening().change(add(key(f"app-{n}"), NOW)) for n in range(10)))
    assert len((await opening().load()).records) == 10


async def test_one_name_at_the_same_time(opening: Opening) -> None:
    """Of several who make a key of one name, one does."""
    keys = [key(f"app-{n}").model_copy(update={"name": "app"}) for n in range(5)]
    done = await asyncio.gather(*(opening().change(add(one, NOW)) for one in keys), return_exceptions=True)
    assert [isinstance(one, KeyExists) for one in done].count(False) == 1
