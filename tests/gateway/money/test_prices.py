"""Which price holds: the policy's, a machine's, the table's, or none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from gateway.money.machine import Machine, Meter
from gateway.money.prices import Prices
from gateway.money.table import FILE, Table
from gateway.money.tariff import Tariff
from policies.model import Policy

URL = "http://127.0.0.1:8000/v1"


def policy(upstream: dict[str, Any], *models: str) -> Policy:
    """A policy with one upstream, `up`."""
    targets = {name: {"targets": [{"upstream": "up"}]} for name in models}
    return Policy.model_validate({"upstreams": {"up": upstream}, "models": targets})


def prices(upstream: dict[str, Any], *models: str) -> Prices:
    """The prices of such a policy, with the shipped table and a meter."""
    return Prices(policy(upstream, *models), Table(), {"up": Meter(0.0)})


def test_the_first_glob_of_the_policy_counts() -> None:
    """A policy's price comes before the table's; the first glob that fits does, and case matters."""
    stated = {"url": URL, "price_list": "openai", "prices": {"gpt-4o*": {"input": 1}, "*": {"input": 2}}}
    found = prices(stated)
    for model, usd in (("gpt-4o", 1e-6), ("gpt-4", 2e-6), ("GPT-4o", 2e-6)):
        made = found.of("up", model)
        assert isinstance(made, Tariff)
        assert (made.lines.input, made.source) == (usd, "policy")


def test_the_table_knows_the_rest() -> None:
    """A model that no glob of the policy names costs what the table says."""
    made = prices({"url": "https://api.openai.com/v1", "prices": {"mine": {"input": 1}}}).of("up", "gpt-4o")
    assert isinstance(made, Tariff)
    assert made.source.startswith("table ")
    assert made.caches_prefixes


def test_a_machine_has_its_meter() -> None:
    """An own machine's price is made of its meter; one that nobody meters has none."""
    stated = {"url": URL, "machine": {"usd_per_hour": 2}}
    assert isinstance(prices(stated).of("up", "any"), Machine)
    assert Prices(policy(stated), Table(), {}).of("up", "any") is None


def test_who_is_not_known_has_no_price() -> None:
    """Another upstream, a server of nobody's, and a model that is not in the table."""
    assert prices({"url": URL}).of("up", "gpt-4o") is None
    assert prices({"url": URL}).of("other", "gpt-4o") is None
    assert prices({"provider": "openai"}).of("up", "no-such-model") is None


def test_prices_are_found_once() -> None:
    """Asking twice gives the very same, for the unknown as well; endless names do not fill the memory."""
    found = prices({"provider": "openai"})
    assert found.of("up", "gpt-4o") is found.of("up", "gpt-4o")
    for number in range(10_050):
        assert found.of("up", f"none-{number}") is None
    assert len(found._known) <= 10_000


def test_claude_needs_asking_to_cache() -> None:
    """A policy's own price of a model that caches on request only is no reason to expect a warm prefix."""
    made = prices({"provider": "anthropic", "prices": {"*": {"input": 3, "cached_input": 0.3}}}).of("up", "claude-x")
    assert isinstance(made, Tariff)
    assert not made.caches_prefixes


def test_described_tariffs() -> None:
    """People see kind, source, date and lines per million as they are written in price lists."""
    told = prices({"provider": "openai"}, "gpt-4o", "nix").describe(0.0)
    known, unknown = told
    assert (known["upstream"], known["model"], known["kind"]) == ("up", "gpt-4o", "table")
    assert known["date"] == Table().date
    assert known["source"] == f"table {known['date']} openai/gpt-4o"
    assert known["lines"]["cached_input"] == 1.25
    assert known["tiers"]["batch"]["lines"]["output"] == 5
    assert (unknown["model"], unknown["kind"], unknown["date"]) == ("nix", "unknown", None)
    assert "lines" not in unknown


def test_described_policy_and_steps() -> None:
    """A policy's price has no date; its steps go from short to long prompts."""
    steps = [{"above": 200, "input": 3}, {"above": 100, "input": 2}]
    (told,) = prices({"url": URL, "prices": {"*": {"input": 0.3, "request": 0.01, "steps": steps}}}, "m").describe(0.0)
    assert (told["kind"], told["source"], told["date"]) == ("policy", "policy", None)
    assert (told["lines"]["input"], told["lines"]["request"]) == (0.3, 0.01)
    assert [(step["above"], step["lines"]["input"]) for step in told["steps"]] == [(100, 2), (200, 3)]


def test_described_machines() -> None:
    """A machine shows its cost, how busy it is, and which of its rates were learned."""
    stated = policy({"url": URL, "machine": {"usd_per_hour": 2, "decode": 40}}, "m")
    meter = Meter(0.0)
    meter.prefill.learn(1000, 0.5)
    meter.begin(0.0)
    (told,) = Prices(stated, Table(), {"up": meter}).describe(10.0)
    assert told["kind"] == "machine"
    assert told["machine"] == {
        "usd_per_hour": 2,
        "account": "marginal",
        "utilization": 1.0,
        "under_way": 1,
        "prefill": 2000,
        "decode": 40,
        "learned": {"prefill": True, "decode": False},
    }


def test_all_that_is_described_is_json(tmp_path: Path) -> None:
    """What the dashboard gets can be written as JSON, of a fresher table too."""
    (tmp_path / FILE).write_bytes(orjson.dumps({"date": "2099-01-01", "models": {"openai/x": {"input": 1}}}))
    stated = policy({"provider": "openai"}, "x")
    (told,) = orjson.loads(orjson.dumps(Prices(stated, Table(tmp_path), {}).describe(0.0)))
    assert told["date"] == "2099-01-01"


def test_a_large_policy_is_told_in_part() -> None:
    """A worker once stood still for seconds at 2,000 globs of 2,001 models: now 500 are told, and how many are not."""
    globs = {f"*a*a*a*a*a*a*a*{number}": {"input": 1} for number in range(200)}
    found = prices({"url": URL, "prices": globs}, *(f"{'a' * 190}{number:04}" for number in range(2001)))
    told = found.describe(0.0)
    assert len(told) == 501
    assert told[-1] == {"upstream": "", "model": "and 1,501 more", "kind": "more", "source": "", "date": None}
    assert all(one["kind"] in ("policy", "unknown") for one in told[:-1])


def test_prices_are_told_from_any_thread() -> None:
    """Threads that ask at once, while the loop prices calls, get the same."""
    found = prices({"provider": "openai", "prices": {"gpt-4*": {"input": 1}}}, "gpt-4o", "gpt-5", "nix")
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(found.describe, [0.0] * 50))
    assert all(one == found.describe(0.0) for one in told)
