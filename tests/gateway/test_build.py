"""The order of layers."""

from __future__ import annotations

from gateway.build import Dispatch, plan
from gateway.call import Target
from gateway.upstreams.catalog import Station
from policies.model import Retry, Rule
from routing.breaker import Breaker, BreakerSettings
from routing.budget import RetryBudget
from tests.gateway.layers.chain import Scripted, call, good


class _Station(Scripted):
    def close(self) -> None:
        """Nothing to close."""


def test_plan_says_why() -> None:
    """Each step has a name and a reason that an operator reads."""
    rule = Rule(name="r", retry=Retry(attempts=2, budget=0.25))
    stations = {"u": Station(_Station(), Breaker(BreakerSettings()))}
    steps = plan(rule, (Target("u", "m"), Target("v", "n")), stations, {"r": RetryBudget()})
    assert [step.name for step in steps] == ["route", "failover", "health"]
    assert steps[0].why == "may be answered by u (m), then v (n)"
    assert steps[1].why == "at most 2 upstreams asked, 0.25 times per success the same again"


async def test_dispatch() -> None:
    """A call goes to the upstream of its first target."""
    one, two = _Station(good()), _Station(good())
    dispatch = Dispatch({name: Station(s, Breaker(BreakerSettings())) for name, s in (("one", one), ("two", two))})
    await dispatch(call("two", "one"))
    assert (one.asked, two.asked) == ([], ["two"])
