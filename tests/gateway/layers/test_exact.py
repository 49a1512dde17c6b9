"""Exact: what is served from the cache, and what is kept there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from caching.cache import Cache
from caching.directives import Directives
from caching.entry import Entry
from caching.forms import Answer
from caching.stores.memory import Memory
from gateway.call import Call, Handler, Reply, Wishes
from gateway.errors import BadRequest, DeadlinePassed, NotCached, UpstreamFailed
from gateway.layers.exact import Exact
from gateway.shared import coalesced
from gateway.trace import EXACT, MISS, STALE, Source
from policies.caching import RuleCache
from tests.fakes.stores import START, Clock, FakeStore
from tests.gateway.layers.chain import DOCUMENT, Answering, asking, call, known, plain, read, stream

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"total_tokens":7}}\n\n'
DONE = b"data: [DONE]\n\n"
FAILED = UpstreamFailed("no", fault="http_500")


@dataclass
class Layer:
    """The layer over an upstream and a cache whose clock stands still."""

    inner: Answering = field(default_factory=lambda: Answering(plain()))
    rule: RuleCache = field(default_factory=RuleCache)
    clock: Clock = field(default_factory=Clock)
    longest: int = 10_000

    def __post_init__(self) -> None:
        self.store = FakeStore(self.clock)
        self.cache = Cache(Memory(1_000_000, self.clock), self.store, clock=self.clock)
        self.refreshed: list[Handler] = []
        self._exact = Exact(
            *(self.inner, self.cache, self.rule, self.longest),
            lambda _, handler: self.refreshed.append(handler),
            lambda _: 0.004,
            self.clock,
        )

    async def __call__(self, asked: Call) -> Reply:
        return await self._exact(asked)

    async def ask(self, **more: object) -> Call:
        """One call, read to its end."""
        asked = known(asking(**more))  # type: ignore[arg-type]
        await read(await self(asked))
        return asked

    def entry(self) -> Entry | None:
        """The entry of such a call."""
        identity = known(asking()).identity
        assert identity is not None
        return self.cache.peek(identity.key)


async def test_without_an_identity() -> None:
    """A call that has no equal goes through."""
    layer = Layer()
    asked = call("a")
    await read(await layer(asked))
    assert layer.inner.calls == [asked]


async def test_a_hit() -> None:
    """The second call is answered from the cache, and its record has who made the answer and how old it is."""
    layer = Layer()
    await layer.ask()
    layer.clock.now += 7.9
    asked = known(asking())
    assert await read(await layer(asked)) == DOCUMENT
    assert (asked.trace.cache, asked.trace.age, len(layer.inner.calls)) == (EXACT, 7, 1)
    assert asked.trace.source is not None
    assert (asked.trace.source.model, asked.trace.source.upstream, asked.trace.source.tokens) == ("m", "up", 7)


async def test_what_an_entry_says() -> None:
    """An entry bears the tags of the rule and of the caller, its times, and whose it is."""
    layer = Layer(rule=RuleCache(ttl=60, stale_while_revalidate=5, stale_if_error=9, tags=["t"]))
    await layer.ask(wishes=Wishes(tags=("mine",)))
    entry = layer.entry()
    assert entry is not None
    assert (entry.tenant, entry.namespace, entry.tags, entry.tokens) == ("acme", "", ("t", "mine"), 7)
    assert (entry.created, entry.expires, entry.dies) == (START, START + 60, START + 69)


async def test_from_the_slow_store() -> None:
    """What memory lost is found in the store behind it."""
    layer = Layer()
    await layer.ask()
    while await layer.cache._write():
        pass
    layer.cache._memory.clear()
    assert (await layer.ask()).trace.cache == EXACT
    assert layer.store.calls.count("get") == 1


async def test_a_store_that_is_down() -> None:
    """A slow store that fails costs nothing but the hit."""
    layer = Layer()
    layer.store.down = "gone"
    assert (await layer.ask()).trace.cache == MISS
    assert (await layer.ask()).trace.cache == EXACT


@pytest.mark.parametrize("change", [{"check": b"x" * 16}, {"tenant": "other"}])
async def test_a_collision(change: dict[str, object]) -> None:
    """Another call's entry under the same key is dropped and not served."""
    layer = Layer()
    await layer.ask()
    entry = layer.entry()
    assert entry is not None
    layer.cache.put(replace(entry, answer=Answer.of_plain(b"not yours"), **change))  # type: ignore[arg-type]
    asked = known(asking())
    assert await read(await layer(asked)) == DOCUMENT
    assert asked.trace.cache == MISS


@pytest.mark.parametrize(
    "reply",
    [
        Reply(400, {"content-type": "application/json"}, DOCUMENT),
        plain(b'{"error": {}}'),
        plain(DOCUMENT.replace(b"stop", b"content_filter")),
        plain(DOCUMENT.replace(b"stop", b"length")),
        plain(DOCUMENT.replace(b'"stop"', b"null")),
        stream(b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n', DONE),
        plain(DOCUMENT + b" " * 10_000),
    ],
)
async def test_never_kept(reply: Reply) -> None:
    """What is no whole good answer, or too long, is not kept."""
    layer = Layer(Answering(reply))
    await layer.ask()
    assert layer.entry() is None


async def test_never_kept_without_its_end() -> None:
    """A stream that was not read to its end is not kept, nor one whose attempt failed."""
    layer = Layer(Answering(stream(EVENT, DONE)))
    reply = await layer(known(asking(stream=True)))
    await anext(reply.frames)
    await reply.close()
    assert layer.entry() is None
    layer = Layer(Answering(stream(EVENT, DONE), fault="cut"))
    asked = await layer.ask(stream=True)
    assert layer.entry() is None
    assert asked.trace.notes == [("cache", "not kept: it did not come to its end")]


async def test_what_was_shared_is_kept_once() -> None:
    """An answer that came from another call's flight is that call's to keep."""

    class Shared(Answering):
        async def __call__(self, call: Call) -> Reply:
            coalesced(call.trace, Source("m", "up"))
            return await super().__call__(call)

    layer = Layer(Shared(plain()))
    await layer.ask()
    assert layer.entry() is None


@pytest.mark.parametrize("directives", [Directives(no_store=True), Directives(ttl=0)])
async def test_not_to_be_kept(directives: Directives) -> None:
    """A caller can forbid that the answer is kept; then a stale one is not fetched anew for it either."""
    layer = Layer(rule=RuleCache(ttl=10, stale_while_revalidate=60))
    await layer.ask(wishes=Wishes(directives))
    assert layer.entry() is None
    await layer.ask()
    layer.clock.now += 20
    assert (await layer.ask(wishes=Wishes(directives))).trace.cache == STALE
    assert layer.refreshed == []


async def test_only_if_cached() -> None:
    """Only a kept answer will do: the upstream is not asked."""
    layer = Layer()
    only = Wishes(Directives(only_if_cached=True))
    with pytest.raises(NotCached):
        await layer(known(asking(wishes=only)))
    await layer.ask()
    assert (await layer.ask(wishes=only)).trace.cache == EXACT
    layer.clock.now += 4000
    with pytest.raises(NotCached):
        await layer(known(asking(wishes=only)))
    assert len(layer.inner.calls) == 1


async def test_stale_while_revalidate() -> None:
    """Past its ttl an answer is served and asked for anew behind the caller; past that time it is not."""
    layer = Layer(rule=RuleCache(ttl=10, stale_while_revalidate=20))
    await layer.ask()
    layer.clock.now += 29
    assert (await layer.ask()).trace.cache == STALE
    assert len(layer.refreshed) == len(layer.inner.calls) == 1
    behind = known(asking())
    await read(await layer.refreshed[0](behind))
    assert (behind.trace.cache, (await layer.ask()).trace.cache) == (MISS, EXACT)
    layer.clock.now += 31
    assert (await layer.ask()).trace.cache == MISS


@pytest.mark.parametrize("failure", [FAILED, DeadlinePassed("late")])
async def test_stale_if_error(failure: Exception) -> None:
    """When no upstream answers, an answer past its ttl serves, in the form asked for."""
    layer = Layer(Answering(plain(), failure), RuleCache(ttl=10, stale_if_error=20))
    await layer.ask()
    layer.clock.now += 29
    for stream_ in (False, True):
        asked = known(asking(stream=stream_))
        reply = await layer(asked)
        assert (reply.status, reply.is_stream, asked.trace.cache, asked.trace.age) == (200, stream_, STALE, 29)
    layer.clock.now += 2
    with pytest.raises(type(failure)):
        await layer(known(asking()))


async def test_errors_that_are_the_callers() -> None:
    """A fault of the caller's own is told, stale answer or not."""
    layer = Layer(Answering(plain(), BadRequest("no")), RuleCache(ttl=10, stale_if_error=60))
    await layer.ask()
    layer.clock.now += 29
    with pytest.raises(BadRequest):
        await layer(known(asking()))


async def test_a_new_answer_is_wanted() -> None:
    """With `no-cache` nothing is looked up, and the record has that as the reason, kept answer or not."""
    layer = Layer()
    wishes = Wishes(Directives(no_cache=True))
    for _ in range(2):
        asked = await layer.ask(wishes=wishes)
        assert asked.trace.cache == MISS
        assert asked.trace.notes == [("cache", "miss: the caller wants a new answer")]
    assert "get" not in layer.store.calls


@pytest.mark.parametrize("more", [{}, {"stream_options": {"include_usage": True}}])
async def test_a_stream_without_usage_is_not_kept(more: dict[str, object]) -> None:
    """Neither a plain call nor one that asks for the usage could be given it; the record says so."""
    layer = Layer(Answering(stream(EVENT, DONE), stream(EVENT, USAGE, DONE)))
    asked = await layer.ask(stream=True)
    assert layer.entry() is None
    assert asked.trace.notes == [
        ("cache", "not kept: the stream does not say its usage, which a plain answer does"),
    ]
    assert (await layer.ask(stream=True, **more)).trace.cache == MISS
    assert layer.entry() is not None


async def test_clock_jumps() -> None:
    """An entry from the future is not served."""
    layer = Layer()
    await layer.ask()
    layer.clock.now -= 30
    asked = await layer.ask()
    assert (asked.trace.cache, asked.trace.notes) == (
        MISS,
        [("cache", "miss: the answer that is kept is from the future")],
    )


async def test_no_other_form() -> None:
    """An entry that cannot be told in the form asked for is dropped, and the call asked for itself."""
    layer = Layer(Answering(plain(DOCUMENT.replace(b"chat.completion", b"odd")), stream(EVENT, DONE)))
    await layer.ask()
    asked = await layer.ask(stream=True)
    assert (asked.trace.cache, len(layer.inner.calls)) == (MISS, 2)
