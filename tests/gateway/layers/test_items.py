"""Items: embeddings from the cache and from the upstream, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from caching.cache import Cache
from caching.directives import Directives
from caching.identity import Scope
from caching.stores.memory import Memory
from gateway.call import Call, Reply, Wishes
from gateway.errors import NotCached
from gateway.layers.items import BREATH, Items
from gateway.shared import coalesced
from gateway.trace import BYPASS, COALESCED, EXACT, MISS, Source
from policies.caching import RuleCache
from tests.fakes.stores import Clock, FakeStore
from tests.gateway.layers.chain import Answering, asking, known, plain, read

SCOPE = Scope("acme", "", "embeddings", "m", "", "r")


def embed(given: object, **more: Any) -> Call:
    """A call for these inputs, with its identity."""
    return known(asking(input=given, endpoint="embeddings", **more), SCOPE)


class Upstream(Answering):
    """Answers each item with its own text."""

    def __init__(self, change: Callable[[dict[str, Any]], object] = lambda _: None, *, is_shared: bool = False) -> None:
        super().__init__()
        self.change = change
        self._is_shared = is_shared

    async def __call__(self, call: Call) -> Reply:
        """Answer all items."""
        given = call.json["input"]
        items = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
        data = [{"object": "embedding", "index": at, "embedding": str(item)} for at, item in enumerate(items)]
        usage = {"prompt_tokens": len(items), "total_tokens": len(items)}
        told = {"object": "list", "data": data, "model": "m", "usage": usage}
        self.change(told)
        self._replies = [plain(orjson.dumps(told))]
        if self._is_shared:
            coalesced(call.trace, Source("m", "up"))
        return await super().__call__(call)

    @property
    def inputs(self) -> list[Any]:
        """What was asked for."""
        return [call.json["input"] for call in self.calls]


class Layer:
    """The layer over an upstream and a cache whose clock stands still."""

    def __init__(self, inner: Upstream | None = None, rule: RuleCache | None = None, longest: int = 10_000) -> None:
        self.inner = inner or Upstream()
        self.clock = Clock()
        self.store = FakeStore(self.clock)
        self.cache = Cache(Memory(1_000_000, self.clock), self.store, clock=self.clock)
        self._items = Items(self.inner, self.cache, rule or RuleCache(), longest, lambda _: 0.008, self.clock)

    async def ask(self, given: object, **more: Any) -> tuple[list[str], Call]:
        """The embeddings of one answer, and the call."""
        asked = embed(given, **more)
        body = orjson.loads(await read(await self._items(asked)))
        assert [each["index"] for each in body["data"]] == list(range(len(body["data"])))
        assert body["usage"]["prompt_tokens"] >= len(body["data"]) - 1
        return [each["embedding"] for each in body["data"]], asked

    async def __call__(self, asked: Call) -> Reply:
        return await self._items(asked)


async def test_only_the_misses() -> None:
    """Only new items are asked for; the call that asks for them has an identity of its own."""
    layer = Layer()
    await layer.ask(["a", "b"])
    got, asked = await layer.ask(["c", "b", "d", "a"])
    assert got == ["c", "b", "d", "a"]
    assert layer.inner.inputs == [["a", "b"], ["c", "d"]]
    first, second = (call.identity for call in layer.inner.calls)
    assert first is not None
    assert second is not None
    assert asked.identity is not None
    assert len({first.key, second.key, asked.identity.key}) == 3
    assert orjson.loads(layer.inner.calls[1].body) == layer.inner.calls[1].json
    assert asked.trace.cache == MISS


async def test_all_hits() -> None:
    """An answer of kept items alone says so: the oldest one's age, the tokens of all."""
    layer = Layer()
    await layer.ask("a")
    layer.clock.now += 5
    await layer.ask("b")
    layer.clock.now += 2
    got, asked = await layer.ask(["b", "a", "b"])
    assert (got, asked.trace.cache, asked.trace.age) == (["b", "a", "b"], EXACT, 7)
    assert asked.trace.source is not None
    assert (asked.trace.source.tokens, len(layer.inner.calls)) == (3, 2)


async def test_from_the_slow_store() -> None:
    """Items that memory lost are found in the store behind it."""
    layer = Layer()
    await layer.ask(["a", "b"])
    while await layer.cache._write():
        pass
    layer.cache._memory.clear()
    assert (await layer.ask(["b", "c", "a"]))[0] == ["b", "c", "a"]
    assert layer.inner.inputs == [["a", "b"], "c"]


async def test_without_an_identity() -> None:
    """A call that has no equal goes through, and so does one whose input is of no known kind."""
    layer = Layer()
    alone = asking(input="a", endpoint="embeddings")
    await read(await layer(alone))
    assert layer.inner.calls.pop() is alone
    asked = embed([{"text": "a"}])
    await read(await layer(asked))
    assert (asked.trace.cache, asked.trace.notes[0][1][:7]) == (BYPASS, "bypass:")
    assert layer.inner.calls[0].identity is None
    with pytest.raises(NotCached):
        await layer(embed([{"text": "a"}], wishes=Wishes(Directives(only_if_cached=True))))


async def test_only_if_cached() -> None:
    """One unknown item is enough for a refusal."""
    layer, only = Layer(), Wishes(Directives(only_if_cached=True))
    await layer.ask("a")
    assert (await layer.ask(["a"], wishes=only))[1].trace.cache == EXACT
    with pytest.raises(NotCached):
        await layer(embed(["a", "b"], wishes=only))


@pytest.mark.parametrize("directives", [Directives(no_store=True), Directives(ttl=0)])
async def test_not_to_be_kept(directives: Directives) -> None:
    """A caller can forbid that items are kept."""
    layer = Layer()
    await layer.ask("a", wishes=Wishes(directives))
    assert (await layer.ask("a"))[1].trace.cache == MISS


async def test_expiry() -> None:
    """An item older than its ttl, or than the caller allows, is asked for again."""
    layer = Layer(rule=RuleCache(ttl=10))
    await layer.ask("a")
    layer.clock.now += 5
    assert (await layer.ask("a", wishes=Wishes(Directives(max_age=3))))[1].trace.cache == MISS
    layer.clock.now += 9
    assert (await layer.ask("a"))[1].trace.cache == EXACT
    layer.clock.now += 2
    assert (await layer.ask("a"))[1].trace.cache == MISS


async def test_what_was_shared_is_kept_once() -> None:
    """Items that came from another call's flight are that call's to keep."""
    layer = Layer(Upstream(is_shared=True))
    await layer.ask("a")
    assert (await layer.ask("a"))[1].trace.cache == COALESCED
    assert len(layer.inner.calls) == 2


async def test_items_too_long() -> None:
    """An embedding longer than what may be kept is not."""
    layer = Layer(longest=60)
    await layer.ask(["a", "b" * 60])
    await layer.ask(["a", "b" * 60])
    assert layer.inner.inputs[1] == "b" * 60


async def test_an_answer_that_cannot_be_taken_apart() -> None:
    """It goes to its caller as it is; where it was asked for a part only, the whole is asked for."""
    layer = Layer()
    await layer.ask("a")
    layer.inner.change = lambda told: told.update(more=1)
    got, asked = await layer.ask(["a", "b"])
    assert (got, layer.inner.inputs) == (["a", "b"], ["a", "b", ["a", "b"]])
    assert asked.trace.notes[0] == ("cache", "not kept: the answer has fields that belong to no item")
    layer.inner.change = lambda _: None
    await layer.ask("b")
    assert layer.inner.inputs[-1] == "b"


async def test_two_models() -> None:
    """Vectors of two models do not meet: all are asked for again and kept, also when all were known."""
    layer = Layer()
    await layer.ask("a")
    layer.inner.change = lambda told: told.update(model="n")
    assert (await layer.ask(["a", "b"]))[0] == ["a", "b"]
    assert layer.inner.inputs == ["a", "b", ["a", "b"]]
    layer.inner.change = lambda _: None
    await layer.ask("c")
    assert (await layer.ask(["a", "c", "a"]))[0] == ["a", "c", "a"]
    assert layer.inner.inputs[4:] == [["a", "c"]]
    assert (await layer.ask(["c", "a"]))[1].trace.cache == EXACT


async def test_others_have_their_turn() -> None:
    """A call with thousands of inputs lets other work go on in between."""
    layer, turns = Layer(), 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    await layer.ask([str(number) for number in range(BREATH * 10)])
    other.cancel()
    assert turns >= 10
