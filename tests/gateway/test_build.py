"""The order of layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from caching.cache import Cache
from caching.stores.memory import Memory
from gateway.background import Background
from gateway.build import Dispatch, Kind, Step, Tools, baselines_of, plan
from gateway.caches import Caches
from gateway.call import Target
from gateway.money.bill import Books
from gateway.money.machine import Meter
from gateway.money.prices import Prices
from gateway.money.table import Table
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


def steps(folder: Path, rule: str, endpoint: str = "chat", meters: Mapping[str, Meter] | None = None) -> list[Step]:
    """The layers of a call under this rule."""
    path = folder / "policy.yaml"
    path.write_text(f"{POLICY}rules:\n  - {{name: r, retry: {{attempts: 2, budget: 0.25}}, cache: {{{rule}}}}}\n")
    policy = load(path, {}).policy
    stations = {name: Station(_Station(), Breaker(BreakerSettings())) for name in "uv"}
    caches = Caches(Cache(Memory(1000), None))
    books = Books(Prices(policy, Table(), {}), baselines_of(policy))
    background = Background(lambda _: None, lambda: None, lambda: None, books.bill)
    tools = Tools(stations, caches, {"r": RetryBudget()}, background, books, meters or {}, {})
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


def test_machines_are_metered(tmp_path: Path) -> None:
    """Where a machine of one's own may answer, its time is shared among the calls, next to the upstream."""
    last = steps(tmp_path, "ttl: 5m", meters={"v": Meter(0.0)})[-1]
    assert (last.name, last.why) == ("meter", "a call bears its share of its machine's time")


def test_what_saves(tmp_path: Path) -> None:
    """Calls that are held out pass by all that answers from elsewhere, and by nothing else."""
    assert [step.name for step in steps(tmp_path, "ttl: 5m") if not step.saves] == ["route", "failover", "health"]


def test_baselines(tmp_path: Path) -> None:
    """A call would have gone to the first target of its model, or of the model that the policy names as baseline."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY + "  cheap: {targets: [{upstream: v}], baseline: m}\n")
    assert baselines_of(load(path, {}).policy) == {"m": Target("u", "m"), "cheap": Target("u", "m")}
