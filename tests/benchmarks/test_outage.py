"""Tests of the load under which Redis fails, the last over real gateways."""

from __future__ import annotations

import random

import pytest

from benchmarks.outage import HEALTHY, SETTLING, Called, Cycle, added_p99, cycles, noise, phase_at, phases, plan, report
from benchmarks.sharing import has_redis


def _called(phase: str, at: float, seconds: float, *, hit: bool = False, trouble: str = "") -> Called:
    return Called(0, phase, at, seconds, "other", hit, trouble, wrong=False)


def test_the_load_is_steady_and_repeats_what_was_asked_before() -> None:
    """A call each hundredth second; every fourth asks what one asked a good half second before, the others are new."""
    planned = plan(3.0, 100, random.Random(1))
    assert [call.at for call in planned] == [i / 100 for i in range(300)]
    repeats = [call for call in planned if call.repeat]
    assert len(repeats) == 60
    for call in repeats:
        first = planned[call.question]
        assert call.at - first.at == pytest.approx(0.61)
        assert not first.repeat
        assert (call.gateway == first.gateway) is (call.repeat == "same")
    assert len({call.question for call in planned if not call.repeat}) == 240


def test_a_call_still_under_way_belongs_to_the_phase_it_meets() -> None:
    """What befalls Redis befalls also those that have just begun."""
    cycle = phases(2.0)
    assert [phase_at(cycle, at) for at in (0.0, 1.99, 2.5, 99.0)] == [SETTLING, HEALTHY, HEALTHY, "restarted"]


def test_added_p99_of_the_same_is_nothing() -> None:
    """The interval covers zero for equal series, and a real addition lies inside its own."""
    draw = random.Random(3)
    usual = [draw.gauss(5, 1) for _ in range(500)]
    same = added_p99(usual, usual)
    assert same.value == 0
    assert same.low < 0 < same.high
    more = added_p99([value + 40 for value in usual], usual)
    assert more.low < 40.0 < more.high
    assert more.low > 35


def test_a_report_counts_failures_and_leaves_the_settling_out() -> None:
    """Failed calls have no latency; hits are a share of the repeats."""
    calls = [_called(SETTLING, 0, 9), _called(HEALTHY, 1, 0.002, hit=True), _called(HEALTHY, 2, 0.004)]
    calls += [_called("killed", 3, 0.010), _called("killed", 4, 30, trouble="no answer in time")]
    measured = [Cycle(calls, {HEALTHY: 0.1}), Cycle([], {HEALTHY: 0.3})]
    healthy, killed = report(measured)
    assert (healthy.calls, healthy.failed, healthy.hits["other"], healthy.added_p99) == (2, 0, 0.5, None)
    assert healthy.p50 == pytest.approx(3)
    assert (killed.calls, killed.failed, killed.longest) == (2, 1, 10)
    assert (healthy.others, killed.others) == (0.3, 0.0)
    found = noise(measured)
    assert found is not None
    assert found.value == pytest.approx(2)


@pytest.mark.skipif(not has_redis(), reason="redis-server is not installed")
def test_no_call_fails_over_real_gateways() -> None:
    """While Redis is black-holed, resumed, killed and restarted every call gets its own answer."""
    [cycle] = cycles(0.25, 1)
    called = cycle.called
    assert len(called) == 350
    assert not [one for one in called if one.trouble or one.wrong]
    assert {one.phase for one in called} == {phase.name for phase in phases(0.25)}
