"""The order of layers."""

from __future__ import annotations

from pathlib import Path

import pytest

from caching.cache import Cache
from caching.stores.memory import Memory
from gateway.background import Background
from gateway.build import Dispatch, Kind, Step, Tools, plan
from gateway.caches import Caches
from gateway.upstreams.catalog import Station
from policies.loader import load
from routing.breaker import Breaker, BreakerSettings
from routing.budget import RetryBudget
from tests.gateway.layers.chain import Scripted, call, good

POLICY = """
upstreams:
  u: {url: 'http://127.0.0.1:9/v1'}
  v: {url: 'http://127.0.0.1:8/v1'}
models:
  m: {targets: [{upstream: u}, {upstream: v, model: n}]}
"""


class _Station(Scripted):
    def close(self) -> None:
        """Nothing to close."""


def steps(folder: Path, rule: str, endpoint: str = "chat") -> list[Step]:
    """The layers of a call under this rule."""
    path = folder / "policy.yaml"
    path.write_text(f"{POLICY}rules:\n  - {{name: r, retry: {{attempts: 2, budget: 0.25}}, cache: {{{rule}}}}}\n")
    policy = load(path, {}).policy
    stations = {name: Station(_Station(), Breaker(BreakerSettings())) for name in "uv"}
    caches = Caches(Cache(Memory(1000), None))
    background = Background(lambda _: None, lambda: None, lambda: None)
    tools = Tools(stations, caches, {"r": RetryBudget()}, background, {})
    return plan(policy, policy.rules[0], Kind("m", "t", endpoint), tools)


def test_plan_says_why(tmp_path: Path) -> None:
    """Each step has a name and a reason that an operator reads."""
    told = [(step.name, step.why) for step in steps(tmp_path, "ttl: 5m")]
    assert told == [
        ("equal", "calls at temperature 0 or top_k 1 may share an answer with equal ones of t"),
        ("exact", "answers are kept for 300 s"),
        ("single flight", "equal calls under way share one answer"),
        ("route", "may be answered by u (m), then v (n)"),
        ("failover", "at most 2 upstreams asked, 0.25 times per success the same again"),
        ("health", "each upstream's breaker hears how it went"),
    ]


@pytest.mark.parametrize(
    ("rule", "endpoint", "names"),
    [
        ("coalesce: false", "chat", ["equal", "exact"]),
        ("exact: false", "chat", ["equal", "single flight"]),
        ("exact: false, coalesce: false", "chat", ["equal"]),
        ("sampling: any", "embeddings", ["equal", "items", "single flight"]),
    ],
)
def test_what_is_switched_off_is_not_there(rule: str, endpoint: str, names: list[str], tmp_path: Path) -> None:
    """A call passes only the layers that its rule turns on."""
    assert [step.name for step in steps(tmp_path, rule, endpoint)][:-3] == names


async def test_dispatch() -> None:
    """A call goes to the upstream of its first target."""
    one, two = _Station(good()), _Station(good())
    dispatch = Dispatch({name: Station(s, Breaker(BreakerSettings())) for name, s in (("one", one), ("two", two))})
    await dispatch(call("two", "one"))
    assert (one.asked, two.asked) == ([], ["two"])
