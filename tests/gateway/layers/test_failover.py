"""Failover: who is asked, in which order, how often, and what the client is told in the end."""

from __future__ import annotations

import pytest

from gateway.call import Call, Reply
from gateway.errors import DeadlinePassed, UpstreamFailed
from gateway.layers.failover import Failover
from routing.breaker import Breaker, BreakerSettings
from routing.budget import RetryBudget
from tests.gateway.layers.chain import Scripted, call, good


def failed(fault: str = "http_500", status: int = 500, rest: float | None = None) -> UpstreamFailed:
    """One upstream's failure."""
    return UpstreamFailed("no", fault=fault, status=status, retry_after=rest)


class Layer:
    """A failover layer over a script, with its breakers, its budget, and the waits it took."""

    def __init__(self, *script: BaseException | Reply, attempts: int = 3, budget: float = 0.1) -> None:
        self.inner = Scripted(*script)
        self.breakers = {name: Breaker(BreakerSettings()) for name in "abc"}
        self.budget = RetryBudget(budget)
        self.waits: list[float] = []
        self._layer = Failover(self.inner, self.breakers, self.budget, attempts, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def __call__(self, asked: Call) -> Reply:
        return await self._layer(asked)


async def test_first_that_can() -> None:
    """The targets are asked in order, without a wait, until one answers."""
    layer = Layer(failed(), failed(), good())
    assert (await layer(call("a", "b", "c"))).status == 200
    assert (layer.inner.asked, layer.waits) == (["a", "b", "c"], [])


async def test_no_more_than_the_attempts() -> None:
    """No more upstreams are asked than the rule allows; the first one's failure is what is told."""
    layer = Layer(failed(status=503), failed(), attempts=2)
    with pytest.raises(UpstreamFailed) as told:
        await layer(call("a", "b", "c"))
    assert told.value.status == 503
    assert layer.inner.asked == ["a", "b"]


async def test_one_target_is_asked_again_after_a_wait() -> None:
    """With one target the same is asked again, after waits that grow and are partly random."""
    layer = Layer(failed(), failed(), failed(), good(), attempts=4)
    await layer(call("a"))
    assert layer.inner.asked == ["a"] * 4
    assert [wait <= bound for wait, bound in zip(layer.waits, (0.1, 0.2, 0.4), strict=True)] == [True] * 3


async def test_what_cannot_be_helped() -> None:
    """A target whose failure no retry helps is not asked again; others are."""
    layer = Layer(failed("auth"), failed(), good())
    await layer(call("a", "b"))
    assert layer.inner.asked == ["a", "b", "b"]
    layer = Layer(failed("auth"))
    with pytest.raises(UpstreamFailed):
        await layer(call("a"))


async def test_open_breakers_are_passed_over() -> None:
    """A target whose breaker is open is passed over and costs no attempt; the trace says so."""
    layer = Layer(good())
    layer.breakers["a"].throttled(0, 1e12)
    layer.breakers["a"]._rest_until = 1e12
    asked = call("a", "b")
    await layer(asked)
    assert layer.inner.asked == ["b"]
    assert asked.trace.notes == [("failover", "passed over a: throttled")]


async def test_all_open() -> None:
    """When all are open the client is told when to come again."""
    layer = Layer()
    layer.breakers["a"]._rest_until = 1e12
    with pytest.raises(UpstreamFailed) as told:
        await layer(call("a"))
    assert (told.value.fault, told.value.status) == ("breaker_open", 503)
    assert told.value.headers["retry-after"]


async def test_the_budget_bounds_retries() -> None:
    """Without budget left every target is asked once, and nobody a second time."""
    layer = Layer(failed(), failed(), budget=0)
    with pytest.raises(UpstreamFailed):
        await layer(call("a", "b"))
    assert layer.inner.asked == ["a", "b"]


async def test_a_long_rest_is_not_slept_through() -> None:
    """A short Retry-After is waited for; a long one, or one beyond the deadline, is the client's."""
    layer = Layer(failed(rest=1.5), good())
    await layer(call("a"))
    assert layer.waits == [1.5]
    for rest, seconds in ((30.0, 600.0), (1.0, 0.5)):
        layer = Layer(failed(rest=rest), good())
        with pytest.raises(UpstreamFailed) as told:
            await layer(call("a", seconds=seconds))
        assert told.value.retry_after == rest
        assert layer.waits == []


async def test_the_calls_own_deadline_ends_it() -> None:
    """When the call's time is over nobody else is asked."""
    layer = Layer(DeadlinePassed("late"))
    with pytest.raises(DeadlinePassed):
        await layer(call("a", "b"))
    assert layer.inner.asked == ["a"]
