"""Tests of gateway.metrics: what is counted, under which labels, and that no client can make it grow."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.metrics import (
    ATTEMPTS,
    CACHE_CALLS,
    CALL,
    CALLS,
    DROPPED,
    FIRST,
    MAX_SERIES,
    SAVED,
    SPENT,
    TOKENS,
    Counts,
    Metrics,
    merged,
)
from gateway.trace import MISS, Attempt, Source, Usage
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


def test_counts_of_a_release_without_caches_go_on() -> None:
    """A worker's file from before has no such families: what it counted stays, and these begin at zero."""
    metrics = Metrics()
    metrics.count(answered())
    snapshot = orjson.loads(orjson.dumps(metrics.snapshot(0, 1.0, {})))
    for family in (CACHE_CALLS, SAVED):
        del snapshot["counters"][family.name]
    found = Counts.read(snapshot)
    assert sum(found.counters[CALLS.name].values()) == 1
    assert found.counters[CACHE_CALLS.name] == {}


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
