"""Tests of gateway.metrics: what is counted, under which labels, and that no client can make it grow."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.counts import MAX_SERIES, Counts, merged
from gateway.families import (
    ATTEMPTS,
    BASELINE,
    CACHE_CALLS,
    CALL,
    CALLS,
    COST,
    COUNTERS,
    DROPPED,
    FIRST,
    GAINS,
    HELD_OUT,
    LOSSES,
    MACHINE,
    OWN,
    SAVED,
    SPEND,
    SPENT,
    TOKENS,
    UNKNOWN,
)
from gateway.metrics import Metrics
from gateway.trace import MISS, Attempt, Bill, Source, Usage
from tests.gateway.ledger.traces import answered, hit, refused


def counted(metrics: Metrics) -> Counts:
    """The counts as the admin process reads them: through JSON."""
    return Counts.read(orjson.loads(orjson.dumps(metrics.snapshot(0, 1.0, {}))))


def test_a_call_is_counted_by_its_labels() -> None:
    """An answered call adds one to its series and its tokens by kind."""
    metrics = Metrics()
    metrics.count(answered())
    counters = counted(metrics).counters
    assert counters[CALLS.name] == {("chat", "small", "local", "ok", "false"): 1}
    assert counters[TOKENS.name] == {
        ("prompt", "small", "local"): 100,
        ("completion", "small", "local"): 20,
        ("cached", "small", "local"): 64,
        ("reasoning", "small", "local"): 5,
    }
    assert counters[ATTEMPTS.name] == {("local", ""): 1}


def test_overhead_is_the_first_byte_less_the_wait_for_upstreams() -> None:
    """105 ms to the first byte, of which 90 waiting for the upstream, are 15 ms of our own."""
    metrics = Metrics()
    metrics.count(answered())
    histograms = counted(metrics).histograms
    labels = ("chat", "small", "false")
    assert histograms[FIRST.name][labels].sum == pytest.approx(0.105)
    assert histograms[SPENT.name][labels].sum == pytest.approx(0.015)
    assert histograms[CALL.name][labels].counts[CALL.buckets.index(0.5)] == 1


def test_a_duration_on_a_bound_falls_below_it() -> None:
    """Prometheus' buckets include their upper bound."""
    metrics = Metrics()
    metrics.count(answered(ended=50.0 + 0.25))
    spread = counted(metrics).histograms[CALL.name]["chat", "small", "false"]
    assert spread.counts[CALL.buckets.index(0.25)] == 1


def test_every_attempt_is_counted_with_its_fault() -> None:
    """A failover shows as a fault of the first upstream and an answer of the second."""
    trace = answered()
    trace.attempts.insert(0, Attempt("far", "m", started=50.0, ended=50.01, fault="http_503"))
    metrics = Metrics()
    metrics.count(trace)
    assert counted(metrics).counters[ATTEMPTS.name] == {("far", "http_503"): 1, ("local", ""): 1}


def test_an_invented_model_is_no_label() -> None:
    """Calls for models that the policy does not know are counted together, under no name."""
    metrics = Metrics()
    for i in range(50):
        metrics.count(refused(model=f"invented-{i}"))
    assert counted(metrics).counters[CALLS.name] == {("chat", "", "", "model_not_found", "false"): 50}


def test_a_family_never_has_more_series_than_its_bound() -> None:
    """Beyond the bound the rest is counted as "other": nothing is lost and memory stays flat."""
    metrics = Metrics()
    for i in range(MAX_SERIES + 500):
        metrics.count(answered(model=f"m{i}"))
    series = counted(metrics).counters[CALLS.name]
    assert len(series) <= MAX_SERIES + 1
    assert series[("other",) * 5] >= 500
    assert sum(series.values()) == MAX_SERIES + 500


def test_every_call_is_counted_by_what_the_caches_had_to_do() -> None:
    """Hits add the tokens they saved, misses those of kept parts; a call that no cache was asked for adds none."""
    metrics = Metrics()
    for trace in (hit(), hit(), answered(cache=MISS, saved=7), refused()):
        metrics.count(trace)
    counters = counted(metrics).counters
    assert counters[CACHE_CALLS.name] == {
        ("exact", "chat", "small"): 2,
        ("miss", "chat", "small"): 1,
        ("bypass", "chat", ""): 1,
    }
    assert counters[SAVED.name] == {("exact", "small"): 240, ("miss", "small"): 7}
    assert sum(counters[CALLS.name].values()) == 4


def test_senseless_savings_do_not_spoil_the_sum() -> None:
    """An upstream that claimed absurd tokens for the answer kept does not break the counter; less than none is none."""
    metrics = Metrics()
    metrics.count(hit(source=Source("m", "u", tokens=10**30)))
    metrics.count(hit(source=Source("m", "u", tokens=-5)))
    assert 0 < counted(metrics).counters[SAVED.name]["exact", "small"] <= 2**53


def test_counts_of_an_older_release_go_on() -> None:
    """A worker's file from before knows fewer families: what it counted stays, and the others begin at zero."""
    metrics = Metrics()
    metrics.count(answered())
    snapshot = orjson.loads(orjson.dumps(metrics.snapshot(0, 1.0, {})))
    for family in COUNTERS[4:]:
        del snapshot["counters"][family.name]
    second = Metrics(Counts.read(snapshot))
    second.count(answered(bill=PAID))
    found = counted(second).counters
    assert sum(found[CALLS.name].values()) == 2
    assert found[COST.name] == {("small", "local", "measured"): 0.003}


def test_senseless_token_counts_do_not_spoil_the_sum() -> None:
    """A negative count is left out and an absurd one is cut, so that the counter only rises and JSON can hold it."""
    metrics = Metrics()
    metrics.count(answered(usage=Usage(prompt=-5, completion=10**30)))
    tokens = counted(metrics).counters[TOKENS.name]
    assert set(tokens) == {("completion", "small", "local")}
    assert tokens["completion", "small", "local"] <= 2**53


@given(st.text(st.characters(), max_size=300), st.text(st.characters(), max_size=20))
def test_any_text_can_be_a_label(model: str, outcome: str) -> None:
    """Whatever a name holds, surrogates too, the snapshot can be written and read back."""
    metrics = Metrics()
    metrics.count(answered(model=model, outcome=outcome))
    metrics.count(answered(model=model, outcome=outcome))
    assert sum(counted(metrics).counters[CALLS.name].values()) == 2


def test_counts_go_on_after_a_restart() -> None:
    """A worker that restarts goes on from its predecessor's counts: the sum over workers never falls."""
    first = Metrics()
    first.count(answered())
    first.drop(3)
    second = Metrics(counted(first))
    second.count(answered())
    total = counted(second)
    assert total.counters[CALLS.name]["chat", "small", "local", "ok", "false"] == 2
    assert total.counters[DROPPED.name][()] == 3
    assert sum(total.histograms[CALL.name]["chat", "small", "false"].counts) == 2


def test_workers_are_summed() -> None:
    """Two workers' counts, alike or not, come out as one."""
    one, two = Metrics(), Metrics()
    one.count(answered())
    two.count(answered())
    two.count(refused())
    total = merged([one.snapshot(0, 1.0, {}), two.snapshot(1, 1.0, {})])
    assert total.counters[CALLS.name] == {
        ("chat", "small", "local", "ok", "false"): 2,
        ("chat", "", "", "model_not_found", "false"): 1,
    }


def test_a_snapshot_tells_of_its_process() -> None:
    """It says how much memory the worker holds, and passes the loop's status on."""
    snapshot = Metrics().snapshot(3, 12.5, {"in_flight": 7}, "failing: disk full")
    assert snapshot["worker"] == 3
    assert snapshot["status"] == {"in_flight": 7}
    assert snapshot["ledger"] == "failing: disk full"
    assert snapshot["resident"] > 1_000_000


PAID = Bill(0.003, 0.005, 0.0, 0.002, "measured", (("failover", 0.002, "measured"),))
SERVED = Bill(0.0, 0.004, 0.001, 0.003, "measured", (("exact", 0.004, "measured"), ("overhead", -0.001, "estimated")))
UNPRICED = Bill(None, None, 0.0, None, "unknown")


def test_a_call_s_bill_is_counted() -> None:
    """Cost by how it is known, baseline, and spend by who called."""
    metrics = Metrics()
    for _ in range(2):
        metrics.count(answered(bill=PAID, team="search"))
    counters = counted(metrics).counters
    assert counters[COST.name] == {("small", "local", "measured"): 0.006}
    assert counters[BASELINE.name] == {("small",): 0.01}
    assert counters[SPEND.name] == {("acme", "search", "app"): 0.006}
    assert counters[OWN.name] == {(): 0.0}


def test_gains_and_losses_are_two_counters() -> None:
    """A saving that is negative raises another counter than a gain does, and net is the one less the other."""
    metrics = Metrics()
    metrics.count(hit(bill=SERVED))
    counters = counted(metrics).counters
    assert counters[GAINS.name] == {("exact", "measured"): 0.004}
    assert counters[LOSSES.name] == {("overhead", "estimated"): 0.001}
    assert counters[OWN.name] == {(): 0.001}
    assert sum(counters[GAINS.name].values()) - sum(counters[LOSSES.name].values()) == SERVED.saved


def test_a_hit_costs_nothing() -> None:
    """What no upstream was asked for appears in no cost and no spend."""
    metrics = Metrics()
    metrics.count(hit(bill=SERVED))
    counters = counted(metrics).counters
    assert counters[COST.name] == counters[SPEND.name] == {}
    assert counters[BASELINE.name] == {("small",): 0.004}


def test_a_free_upstream_has_a_known_cost() -> None:
    """An upstream whose price is 0 shows with 0, so that it can be told from one whose price is not known."""
    metrics = Metrics()
    metrics.count(answered(bill=Bill(0.0, 0.0, 0.0, 0.0, "measured")))
    counters = counted(metrics).counters
    assert counters[COST.name] == {("small", "local", "measured"): 0.0}
    assert counters[UNKNOWN.name] == {}


def test_an_unknown_price_is_counted_and_never_zero() -> None:
    """A call without a known price raises its own counter and no sum of money; so does one without a baseline."""
    metrics = Metrics()
    metrics.count(answered(bill=UNPRICED))
    metrics.count(answered(bill=Bill(0.003, None, 0.0, None, "measured")))
    counters = counted(metrics).counters
    assert counters[UNKNOWN.name] == {("small", "local"): 2}
    assert counters[COST.name] == {("small", "local", "measured"): 0.003}
    assert counters[BASELINE.name] == {}


def test_senseless_amounts_do_not_spoil_the_sum() -> None:
    """Neither infinity nor NaN nor a negative cost makes a counter fall or break."""
    metrics = Metrics()
    for amount in (float("inf"), float("nan"), -1.0, 1e300):
        metrics.count(answered(bill=Bill(amount, amount, amount, 0.0, "measured", (("exact", amount, "measured"),))))
    counters = counted(metrics).counters
    for family in (COST, BASELINE, OWN, SPEND, GAINS, LOSSES):
        assert all(0 <= value <= 2e6 for value in counters[family.name].values())


def test_spend_has_no_more_series_than_its_bound() -> None:
    """However many keys call, the series stay bounded and the sum is whole."""
    metrics = Metrics()
    for number in range(MAX_SERIES + 10):
        metrics.count(answered(key=f"key-{number}", bill=PAID))
    spend = counted(metrics).counters[SPEND.name]
    assert len(spend) == MAX_SERIES + 1
    assert sum(spend.values()) == pytest.approx(0.003 * (MAX_SERIES + 10))


def test_machines_and_held_out_calls_are_counted() -> None:
    """A machine's seconds by upstream, and calls that passed untouched."""
    trace = answered(bill=PAID, holdout=1)
    trace.attempts[0].seconds = 0.25
    metrics = Metrics()
    metrics.count(trace)
    metrics.count(answered(bill=PAID))
    counters = counted(metrics).counters
    assert counters[MACHINE.name] == {("local",): 0.25}
    assert counters[HELD_OUT.name] == {(): 1}


def test_money_goes_on_after_a_restart() -> None:
    """What a predecessor counted in USD stays in the sum."""
    first = Metrics()
    first.count(answered(bill=PAID))
    second = Metrics(counted(first))
    second.count(answered(bill=PAID))
    assert counted(second).counters[GAINS.name] == {("failover", "measured"): 0.004}
