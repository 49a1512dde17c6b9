"""Equal: which calls may share an answer, and what makes two of them equal."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from caching.directives import Directives
from gateway.call import Target, Wishes
from gateway.errors import NotCached
from gateway.layers.equal import MOST_SCOPES, Equal, fingerprint
from gateway.trace import BYPASS, EXACT, MISS
from policies.caching import RuleCache
from policies.model import Upstream
from tests.gateway.layers.chain import SCOPE, Answering, asking, good, plain, read, stream

USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'


def layer(rule: RuleCache | None = None) -> tuple[Equal, Answering]:
    """The layer and what is below it."""
    inner = Answering(good())
    return Equal(inner, rule or RuleCache(), SCOPE), inner


async def test_identity() -> None:
    """Equal calls get one identity, however they are written; the record has it, and says a miss until it is a hit."""
    equal, inner = layer()
    first, second, third = asking(seed=1), asking(seed=1.0, stream=True), asking(seed=2)
    for call in (first, second, third):
        await equal(call)
    keys = [call.identity.key for call in inner.calls if call.identity]
    assert (len(keys), keys[0] == keys[1], keys[1] == keys[2]) == (3, True, False)
    assert all(call.keeps_usage for call in inner.calls)
    assert (first.trace.identity, first.trace.cache) == (inner.calls[0].identity, MISS)
    assert first.identity is None


@pytest.mark.parametrize(
    ("rule", "fields", "reason"),
    [
        (RuleCache(), {"temperature": 1}, "is sampled: its temperature is not 0"),
        (RuleCache(), {"tools": [{"type": "web_search"}]}, "has a tool that the provider runs"),
        (RuleCache(), {"store": True}, "store: the caller wants the upstream to keep the answer"),
        (RuleCache(exact=False, coalesce=False), {}, "the rule neither keeps nor shares answers"),
    ],
)
async def test_no_equal(rule: RuleCache, fields: dict[str, Any], reason: str) -> None:
    """A call that has no equal goes through without an identity, and the record says why."""
    equal, inner = layer(rule)
    call = asking(**fields)
    await equal(call)
    assert inner.calls == [call]
    assert (call.trace.cache, call.trace.notes) == (BYPASS, [("cache", f"bypass: {reason}")])
    with pytest.raises(NotCached, match=reason):
        await equal(asking(wishes=Wishes(Directives(only_if_cached=True)), **fields))
    assert len(inner.calls) == 1


async def test_nothing_is_kept() -> None:
    """Where the rule keeps no answers, a caller who wants only a kept one gets none, and no upstream is asked."""
    equal, inner = layer(RuleCache(exact=False))
    with pytest.raises(NotCached):
        await equal(asking(wishes=Wishes(Directives(only_if_cached=True))))
    assert inner.calls == []


async def test_namespace_and_quality() -> None:
    """A namespace and a quality are parts of the identity; swapped they are others."""
    equal, inner = layer()
    for wishes in (Wishes(), Wishes(namespace="n"), Wishes(quality="n"), Wishes(namespace="n")):
        await equal(asking(wishes=wishes))
    keys = [call.identity.key for call in inner.calls if call.identity]
    assert len(set(keys)) == 3
    assert keys[1] == keys[3]
    assert {call.identity.scope.tenant for call in inner.calls if call.identity} == {"acme"}


async def test_many_namespaces() -> None:
    """A caller who names ever new namespaces does not make memory grow."""
    equal, _ = layer()
    for number in range(MOST_SCOPES + 5):
        await equal(asking(wishes=Wishes(namespace=str(number))))
    assert len(equal._others) <= MOST_SCOPES


async def test_the_same_bytes_again() -> None:
    """Bytes that were a hit have the same identity the next time, and none in another namespace."""
    inner = Answering(plain())
    rule = RuleCache()

    class Hit:
        async def __call__(self, call: object) -> object:
            reply = await inner(call)  # type: ignore[arg-type]
            inner.calls[-1].trace.cache = EXACT
            return reply

    equal = Equal(Hit(), rule, SCOPE)  # type: ignore[arg-type]
    for wishes in (Wishes(), Wishes(), Wishes(namespace="n")):
        await equal(asking(wishes=wishes))
    await equal(asking())
    await equal(asking())
    keys = [call.identity.key for call in inner.calls if call.identity]
    assert [key == keys[0] for key in keys] == [True, True, False, True, True]


@pytest.mark.parametrize(("options", "told"), [({}, WORD), ({"stream_options": {"include_usage": True}}, WORD + USAGE)])
async def test_usage_events(options: dict[str, Any], told: bytes) -> None:
    """A stream's usage event goes to who asked for it and to nobody else."""
    equal = Equal(Answering(stream(WORD, USAGE)), RuleCache(), SCOPE)
    assert await read(await equal(asking(stream=True, **options))) == told


def test_fingerprint() -> None:
    """Where answers come from and what of them is kept is in the fingerprint; how long is not, nor how it is asked."""
    upstreams = {
        "a": Upstream.model_validate({"url": "http://127.0.0.1:1/v1"}),
        "slow": Upstream.model_validate({"url": "http://127.0.0.1:1/v1", "timeouts": {"idle": 3}}),
        "b": Upstream.model_validate({"url": "http://127.0.0.1:2/v1"}),
    }

    def made(rule: RuleCache, *targets: Target, weights: str = "") -> str:
        return fingerprint(rule, targets, upstreams, {"a": weights})

    one = made(RuleCache(), Target("a", "m"))
    assert one == made(RuleCache(ttl=5, sampling="any", tags=["x"]), Target("slow", "m"))
    others = [
        made(RuleCache(truncated=True), Target("a", "m")),
        made(RuleCache(), Target("b", "m")),
        made(RuleCache(), Target("a", "n")),
        made(RuleCache(), Target("a", "m"), Target("b", "m")),
        made(RuleCache(), Target("a", "m"), weights="others"),
    ]
    assert len({one, *others}) == 6
    assert len(orjson.dumps(one)) < 40
