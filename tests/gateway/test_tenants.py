"""No byte made for one tenant reaches another, whatever either sets, through every tier; and neither can tell.

Two tenants send the same calls, together and one after the other, with everything a caller can set. The layers are the
real ones over an upstream that signs each answer with the tenant it was made for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from caching.cache import Cache
from caching.flight import Flight
from caching.identity import Scope
from caching.stores.memory import Memory
from gateway import wire, wishes
from gateway.call import Call, Caller, Handler, Reply
from gateway.errors import GatewayError
from gateway.layers.equal import Equal
from gateway.layers.exact import Exact
from gateway.layers.items import Items
from gateway.layers.single_flight import SingleFlight
from gateway.trace import Attempt, Trace, Usage
from policies.caching import RuleCache
from tests.fakes.stores import START, Clock, FakeStore
from tests.gateway.layers.chain import frames

NAMES = ("a", "b", "ab", "a\0b", "local", "ü")
SHELVES = ("", "a", "b", "ab", "a/b", "local", "../a", "x" * 200)


@dataclass(frozen=True)
class Asked:
    """One call: who, in which form, with what it sets."""

    second: bool  # by the second of two tenants
    endpoint: str
    stream: bool
    headers: dict[bytes, bytes]
    fields: dict[str, Any]


@dataclass
class Upstream:
    """Signs each answer with the tenant it was made for. All calls under way are answered together."""

    asked: Counter[str] = field(default_factory=Counter)

    async def __call__(self, call: Call) -> Reply:
        tenant = call.caller.tenant
        self.asked[tenant] += 1
        used = Usage(3, 4)
        call.trace.attempts.append(Attempt("up", "m", monotonic(), ended=monotonic(), usage=used))
        for _ in range(5):
            await asyncio.sleep(0)
        text = f"made for {tenant!r}"
        if call.endpoint == "embeddings":
            given_ = call.json["input"]
            items = given_ if isinstance(given_, list) else [given_]
            data = [{"object": "embedding", "index": at, "embedding": text} for at in range(len(items))]
            usage = {"prompt_tokens": 3, "total_tokens": 3}
            body = orjson.dumps({"object": "list", "data": data, "model": "m", "usage": usage})
            return Reply(200, {"content-type": "application/json"}, body)
        if call.wants_stream:
            return Reply(200, {"content-type": "text/event-stream"}, frames(*_events(text)))
        return Reply(200, {"content-type": "application/json"}, _document(text))


def _document(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    whole = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return orjson.dumps(whole)


def _events(text: str) -> list[bytes]:
    base = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def event(delta: dict[str, str], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + orjson.dumps({**base, "choices": [choice]}) + b"\n\n"

    said = [event({"role": "assistant", "content": text[:4]}, None), event({"content": text[4:]}, None)]
    return [*said, event({}, "stop"), b"data: [DONE]\n\n"]


class World:
    """Two tenants' layers over one cache, one set of flights and one upstream."""

    def __init__(self, names: tuple[str, str], rule: RuleCache) -> None:
        self.clock = Clock()
        self.memory = Memory(1_000_000, self.clock)
        self.store = FakeStore(self.clock)
        self.cache = Cache(self.memory, self.store, clock=self.clock)
        self.upstream = Upstream()
        self._names = names
        self._rule = rule
        self._flights: dict[bytes, Flight] = {}
        self._ways: dict[tuple[str, str], Handler] = {}

    def _way(self, tenant: str, endpoint: str) -> Handler:
        key = (tenant, endpoint)
        if key not in self._ways:
            flight = SingleFlight(self.upstream, self._flights)
            keeper: Handler = (
                Items(flight, self.cache, self._rule, 10_000, lambda _: None, self.clock)
                if endpoint == "embeddings"
                else Exact(flight, self.cache, self._rule, 10_000, lambda *_: None, lambda _: None, self.clock)
            )
            self._ways[key] = Equal(keeper, self._rule, Scope(tenant, "", endpoint, "m", "", "r"))
        return self._ways[key]

    async def answer(self, asked: Asked) -> tuple[Any, ...]:
        """What the caller sees: the bytes, and what headers are made of."""
        tenant = self._names[asked.second]
        fields = {"model": "m", **asked.fields}
        if asked.endpoint == "chat":
            fields.update(messages=[{"role": "user", "content": "Hi"}], temperature=0, stream=asked.stream)
        else:
            fields["input"] = ["one", "two"] if asked.stream else "one"
        trace = Trace("r", 0.0, monotonic(), asked.endpoint, tenant)
        try:
            wished = wishes.read(asked.headers, fields)
            plain = wishes.without_litellm(fields)
            call = Call(
                *(asked.endpoint, "m", wire.dumps(plain), plain, Caller(tenant), trace, monotonic() + 60), wishes=wished
            )
            reply = await self._way(tenant, asked.endpoint)(call)
            body = b"".join([frame async for frame in reply.frames])
            await reply.close()
        except GatewayError as error:
            body = error.envelope()
        return body, trace.cache, trace.age, trace.source, len(trace.attempts), tuple(trace.notes)

    async def settle(self, *, forget: bool) -> None:
        """Time passes; what waits is written to the slow store, and memory may be lost."""
        self.clock.now += 1
        while await self.cache._write():
            pass
        if forget:
            self.memory.clear()


async def live(
    names: tuple[str, str], rule: RuleCache, rounds: list[list[Asked]], losses: list[bool], *, first_too: bool
) -> list[tuple[Any, ...]]:
    """What the tenants saw in these rounds; the calls of one round are under way together."""
    world = World(names, rule)
    seen = []
    for asked, forget in zip(rounds, losses, strict=True):
        chosen = [each for each in asked if first_too or each.second]
        answers = await asyncio.gather(*(world.answer(each) for each in chosen))
        for each, answer in zip(chosen, answers, strict=True):
            other = repr(names[not each.second]).encode()
            assert b"made for " + other not in answer[0]
            if each.second:
                seen.append(answer)
        await world.settle(forget=forget)
    return seen


values = st.sampled_from(
    [b"no-cache", b"no-store", b"max-age=0", b"max-age=1", b"max-age=60", b"only-if-cached", b"min-fresh=9", b"\xff="]
)
shelves = st.sampled_from([name.encode() for name in SHELVES])
headers = st.fixed_dictionaries(
    {},
    optional={
        b"cache-control": values,
        b"pragma": st.just(b"no-cache"),
        b"x-sluice-namespace": shelves,
        b"x-sluice-quality": shelves,
        b"x-sluice-tags": shelves,
        b"x-litellm-tags": shelves,
        b"x-sluice-tenant": shelves,
        b"x-litellm-customer-id": shelves,
        b"x-session-id": shelves,
    },
)
litellm = st.fixed_dictionaries(
    {},
    optional={
        "no-cache": st.booleans(),
        "no-store": st.booleans(),
        "s-maxage": st.integers(0, 3),
        "ttl": st.integers(0, 3),
        "namespace": st.sampled_from(SHELVES),
    },
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "user": st.sampled_from(NAMES),
        "prompt_cache_key": st.sampled_from(NAMES),
        "safety_identifier": st.sampled_from(NAMES),
        "metadata": st.dictionaries(st.sampled_from(("tenant", "user_api_key")), st.sampled_from(NAMES)),
        "cache": litellm,
    },
)
calls = st.builds(Asked, st.booleans(), st.sampled_from(["chat", "embeddings"]), st.booleans(), headers, fields)
plain_calls = st.builds(
    Asked, st.booleans(), st.sampled_from(["chat", "embeddings"]), st.booleans(), st.just({}), st.just({})
)
rules = st.builds(
    RuleCache,
    coalesce=st.booleans(),
    ttl=st.sampled_from([1.5, 60.0]),
    stale_while_revalidate=st.sampled_from([0.0, 60.0]),
)


@settings(max_examples=150, deadline=None)
@given(
    names=st.lists(st.sampled_from(NAMES), min_size=2, max_size=2, unique=True),
    rule=rules,
    rounds=st.lists(st.lists(calls | plain_calls, min_size=1, max_size=6), min_size=1, max_size=4),
    losses=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_two_tenants(names: list[str], rule: RuleCache, rounds: list[list[Asked]], losses: list[bool]) -> None:
    """Nothing made for one tenant is in the other's answers; and what the second sees, bytes, hits and ages, does not
    depend on whether the first was there."""
    pair = (names[0], names[1])
    losses = losses[: len(rounds)]
    together = asyncio.run(live(pair, rule, rounds, losses, first_too=True))
    alone = asyncio.run(live(pair, rule, rounds, losses, first_too=False))
    assert together == alone


async def test_that_the_property_can_fail() -> None:
    """Equal calls of one tenant do share their answers here, in a flight, from memory and from the slow store."""
    world = World(("a", "b"), RuleCache(ttl=60.0))
    asked = Asked(second=False, endpoint="chat", stream=False, headers={}, fields={})
    streamed = Asked(second=False, endpoint="chat", stream=True, headers={}, fields={})
    seen = [each[1] for each in await asyncio.gather(world.answer(asked), world.answer(streamed))]
    assert seen == ["miss", "coalesced"]
    await world.settle(forget=False)
    assert (await world.answer(streamed))[1] == "exact"
    await world.settle(forget=True)
    again = await world.answer(asked)
    assert (again[1], again[2], world.upstream.asked) == ("exact", 2, {"a": 1})
    assert world.clock.now == START + 2
