"""What every slow store keeps to, whatever it stands on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import orjson
import pytest

from caching.entry import VERSION
from caching.errors import StoreUnavailable
from caching.forms import Answer
from caching.stores import Purged, Selection, Store
from tests.contracts.conftest import Held
from tests.fakes.stores import START, entry, key, same

ENTRIES = (
    entry("plain"),
    entry("other tenant", tenant="umbrella"),
    entry("other namespace", namespace="batch"),
    entry("tagged", tags=("a", "b")),
    entry("both", tenant="umbrella", namespace="batch", tags=("b", "ü,\"'")),
    entry("old", created=START - 500),
)


async def held_names(store: Store) -> set[str]:
    """Which of ENTRIES a store still gives."""
    names = ("plain", "other tenant", "other namespace", "tagged", "both", "old")
    return {name for name in names if await store.get(key(name)) is not None}


async def test_put_then_get(held: Held) -> None:
    """What was put comes back the same, to the last field."""
    made = entry(tags=("x", "ü"), parts=(("messages.0", "00"), ("tools", "ff")), seconds=0.0)
    await held.store.put([made])
    assert held.store.may_hold(made.key)
    assert same(await held.store.get(made.key), made)


async def test_absent(held: Held) -> None:
    """A key that was never put gives nothing."""
    await held.store.put([entry()])
    assert await held.store.get(key("never")) is None


async def test_many_at_once(held: Held) -> None:
    """A batch is kept whole; of two entries under one key the later stays."""
    batch = [entry(number) for number in range(200)]
    await held.store.put([*batch, entry(7, "later")])
    assert same(await held.store.get(key(199)), batch[199])
    assert same(await held.store.get(key(7)), entry(7, "later"))
    assert (await held.store.usage())[0] == 200


async def test_overwritten(held: Held) -> None:
    """The later of two entries under one key stays, and counts once."""
    await held.store.put([entry(text="first")])
    await held.store.put([entry(text="second", tenant="umbrella")])
    assert same(await held.store.get(key("a")), entry(text="second", tenant="umbrella"))
    assert (await held.store.usage())[0] == 1


async def test_dropped(held: Held) -> None:
    """A dropped key is gone; dropping what is not there is no fault."""
    await held.store.put([entry("a"), entry("b")])
    await held.store.drop([key("a"), key("never")])
    await held.store.drop([])
    assert await held.store.get(key("a")) is None
    assert await held.store.get(key("b")) is not None


async def test_stale_but_alive(held: Held) -> None:
    """An entry past its freshness still comes back: the caller decides what stale answers are good for."""
    await held.store.put([entry()])
    held.clock.now = START + 3599
    assert await held.store.get(key("a")) is not None


async def test_dies(held: Held) -> None:
    """An entry past its end is not given."""
    await held.store.put([entry()])
    held.clock.now = START + 3601
    assert await held.store.get(key("a")) is None


async def test_dead_on_arrival(held: Held) -> None:
    """An entry that is already past its end is not kept."""
    held.clock.now = START + 7200
    await held.store.put([entry()])
    held.clock.now = START
    assert await held.store.get(key("a")) is None


async def test_clock_set_back(held: Held) -> None:
    """An entry from a time that has not come yet is not used: how old it is cannot be known."""
    await held.store.put([entry()])
    held.clock.now = START - 86400
    assert await held.store.get(key("a")) is None


@pytest.mark.parametrize(
    ("selection", "gone"),
    [
        (Selection(tenant="umbrella"), {"other tenant", "both"}),
        (Selection(namespace="batch"), {"other namespace", "both"}),
        (Selection(tag="b"), {"tagged", "both"}),
        (Selection(tag="ü,\"'"), {"both"}),
        (Selection(tag=","), set()),
        (Selection(older_than=400), {"old"}),
        (Selection(tenant="acme", namespace="default"), {"plain", "tagged", "old"}),
        (Selection(tenant="acme", namespace="default", tag="a"), {"tagged"}),
        (Selection(tenant="umbrella", older_than=400), set()),
        (Selection(tenant="nobody"), set()),
        (Selection(), {"plain", "other tenant", "other namespace", "tagged", "both", "old"}),
    ],
)
async def test_purge(held: Held, selection: Selection, gone: set[str]) -> None:
    """A purge removes what has all that its selection names and nothing else; a dry run only counts the same."""
    await held.store.put(ENTRIES)
    everything = await held_names(held.store)
    rehearsed = await held.store.purge(selection, dry_run=True)
    assert await held_names(held.store) == everything
    done = await held.store.purge(selection, dry_run=False)
    assert everything - await held_names(held.store) == gone
    assert done == Purged(len(gone), rehearsed.bytes, dry_run=False)
    assert rehearsed == Purged(len(gone), done.bytes, dry_run=True)


async def test_written_behind_a_purge(held: Held) -> None:
    """An entry made before a purge that selects it is not kept when it comes after; one made later is."""
    held.clock.now = START + 10
    await held.store.purge(Selection(tenant="acme"), dry_run=False)
    await held.store.put([entry("late"), entry("other", tenant="umbrella"), entry("new", created=START + 11)])
    assert await held.store.get(key("late")) is None
    assert await held.store.get(key("other")) is not None
    assert await held.store.get(key("new")) is not None


@pytest.mark.parametrize("data", [b"", b"nothing of ours", entry().dumps()[:-1], entry().dumps()[:30]])
async def test_corrupt(held: Held, data: bytes) -> None:
    """Bytes that are no whole entry are a miss, and are dropped."""
    await held.store.put([entry()])
    await held.overwrite(key("a"), data)
    assert await held.store.get(key("a")) is None
    assert (await held.store.usage())[0] == 0


async def test_other_key(held: Held) -> None:
    """A whole entry that lies under another key is a miss."""
    await held.store.put([entry("a")])
    await held.overwrite(key("a"), entry("b").dumps())
    assert await held.store.get(key("a")) is None


async def test_other_version(held: Held) -> None:
    """What another release wrote is a miss."""
    await held.store.put([entry()])
    data = bytearray(entry().dumps())
    data[4] = VERSION + 1
    await held.overwrite(key("a"), bytes(data))
    assert await held.store.get(key("a")) is None


async def test_collision(held: Held) -> None:
    """Of two calls that share a key, the entry comes back with its own check, so that the caller can tell."""
    await held.store.put([entry(check=b"1" * 16)])
    await held.store.put([entry(check=b"2" * 16)])
    found = await held.store.get(key("a"))
    assert found is not None
    assert found.check == b"2" * 16


async def test_big(held: Held) -> None:
    """An answer of a megabyte, with bytes of every value, comes back as it is."""
    big = replace(entry(), answer=Answer.of_plain(bytes(range(256)) * 4096))
    await held.store.put([big])
    assert same(await held.store.get(big.key), big)


async def test_unfaithful_is_left_out(held: Held) -> None:
    """An answer that cannot be kept does not cost the others of its batch."""
    cut = Answer.of_stream([b'data: {"choices": []}\n\n', b"data: what is this\n\n"])
    await held.store.put([entry("a"), replace(entry("b"), answer=cut), entry("c")])
    assert await held.store.get(key("a")) is not None
    assert await held.store.get(key("b")) is None
    assert await held.store.get(key("c")) is not None


async def test_newest(held: Held) -> None:
    """It gives as many whole entries as are asked for, each once; of fewer, all."""
    made = {key(number): entry(number) for number in range(150)}
    await held.store.put(list(made.values()))
    for most, many in ((0, 0), (7, 7), (100, 100), (1000, 150)):
        found = await held.store.newest(most)
        assert len({one.key for one in found}) == len(found) == many
        assert all(same(one, made[one.key]) for one in found)


async def test_newest_that_may_be_used(held: Held) -> None:
    """What is dead, purged, corrupt or another's is not among them."""
    await held.store.put([entry("good"), entry("corrupt"), entry("other"), entry("dies", dies=START + 100)])
    await held.store.put([entry("purged", tenant="umbrella")])
    await held.overwrite(key("corrupt"), b"nothing of ours")
    await held.overwrite(key("other"), entry("good").dumps())
    held.clock.now = START + 101
    await held.store.purge(Selection(tenant="umbrella"), dry_run=False)
    assert [one.key for one in await held.store.newest(10)] == [key("good")]


async def test_concurrent(held: Held) -> None:
    """Callers that read, write, drop and count at once all get answers of their own."""

    async def one(number: int) -> None:
        made = entry(number, text=f"answer {number}")
        await held.store.put([made])
        assert same(await held.store.get(made.key), made)
        if number % 2:
            await held.store.drop([made.key])
        await held.store.usage()

    await asyncio.gather(*(one(number) for number in range(40)))
    assert (await held.store.usage())[0] == 20


async def test_purges_are_numbered(held: Held) -> None:
    """The list of purges is in order and holds none at or below the number asked for."""
    await held.store.purge(Selection(tag="x"), dry_run=False)
    found = await held.store.purges(0)
    assert [number for number, _ in found] == sorted(number for number, _ in found)
    assert await held.store.purges(max([0, *(number for number, _ in found)])) == []


async def test_closed_twice(held: Held) -> None:
    """Closing again does nothing, and what comes after is told that the store is gone."""
    await held.store.ping()
    await held.store.close()
    await held.store.close()
    with pytest.raises(StoreUnavailable):
        await held.store.get(key("a"))


CALLS: list[Callable[[Store], Awaitable[object]]] = [
    lambda store: store.get(key("a")),
    lambda store: store.put([entry()]),
    lambda store: store.drop([key("a")]),
    lambda store: store.newest(5),
    lambda store: store.purge(Selection(), dry_run=True),
    lambda store: store.purge(Selection(), dry_run=False),
]


async def test_tidied(held: Held) -> None:
    """Tidying takes hits of whatever key, and takes nothing that lives away."""
    await held.store.put(ENTRIES)
    await held.store.tidy({key("plain"): 3, key("never"): 1})
    await held.store.tidy({})
    assert len(await held_names(held.store)) == len(ENTRIES)


@pytest.mark.parametrize("call", CALLS)
async def test_unavailable(held: Held, call: Callable[[Store], Awaitable[object]]) -> None:
    """A store that cannot do its work says StoreUnavailable, with a reason, and nothing else."""
    await held.store.put([entry()])
    await held.cut()
    assert held.store.may_hold(key("a"))
    with pytest.raises(StoreUnavailable) as caught:
        await call(held.store)
    assert str(caught.value)


async def test_nothing_is_pickled(held: Held) -> None:
    """The bytes of an entry are JSON between fixed words: reading them runs nothing."""
    data = entry().dumps()
    header = data[9 : 9 + int.from_bytes(data[5:9], "big")]
    assert orjson.loads(header)["tenant"] == "acme"
