"""Machines: busy time shared to the last second, utilization, and rates learned from what passes."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.money.machine import Machine, Meter, Rate, of_policy
from policies import money


def test_one_call_alone_is_charged_all_of_its_time() -> None:
    """Alone in the machine, a call's seconds are the clock's."""
    meter = Meter(0.0)
    begun = meter.begin(10.0)
    assert meter.end(begun, 13.5) == 3.5


def test_two_calls_share_the_time_they_overlap() -> None:
    """While two are under way each is charged half."""
    meter = Meter(0.0)
    first = meter.begin(0.0)
    second = meter.begin(2.0)
    assert meter.end(first, 6.0) == pytest.approx(2 + 4 / 2)
    assert meter.end(second, 7.0) == pytest.approx(4 / 2 + 1)


def test_other_workers_calls_pay_for_themselves() -> None:
    """Calls that other workers have under way take their part, from when they are heard of."""
    meter = Meter(0.0)
    begun = meter.begin(0.0)
    meter.hear(3.0, 2.0)
    assert meter.under_way == 4.0
    assert meter.end(begun, 6.0) == pytest.approx(2 + 4 / 4)


STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.floats(-5.0, 100.0)), max_size=200)


@settings(max_examples=200)
@given(STEPS)
def test_all_seconds_sum_to_the_busy_seconds(steps: list[tuple[bool, int, float]]) -> None:
    """Whatever begins and ends in whatever order, and though the clock may jump back, no second is lost or doubled."""
    meter, now, busy, charged = Meter(0.0), 0.0, 0.0, 0.0
    open_calls: list[float] = []
    for begins, which, elapsed in steps:
        now += elapsed
        busy += max(elapsed, 0.0) if open_calls else 0.0
        if begins or not open_calls:
            open_calls.append(meter.begin(now))
        else:
            charged += meter.end(open_calls.pop(which % len(open_calls)), now)
    while open_calls:
        charged += meter.end(open_calls.pop(), now)
    assert charged == pytest.approx(busy, rel=1e-9, abs=1e-9)
    assert meter.own == 0


def test_a_clock_that_jumps_back_adds_nothing() -> None:
    """The time of a call across the jump is what passed before and after it."""
    meter = Meter(100.0)
    begun = meter.begin(100.0)
    assert meter.so_far(begun, 102.0) == 2.0
    assert meter.so_far(begun, 50.0) == 2.0
    assert meter.end(begun, 51.0) == 3.0


@pytest.mark.parametrize("others", [-1.0, nan, inf])
def test_what_cannot_be_heard_is_nobody(others: float) -> None:
    """A count of others that is none does not spoil the sharing."""
    meter = Meter(0.0)
    begun = meter.begin(0.0)
    meter.hear(others, 0.0)
    assert meter.end(begun, 2.0) == 2.0


def test_one_end_too_many_breaks_nothing() -> None:
    """The next call is charged rightly all the same."""
    meter = Meter(0.0)
    begun = meter.begin(0.0)
    meter.end(begun, 1.0)
    meter.end(begun, 2.0)
    assert meter.own == 0
    begun = meter.begin(3.0)
    assert meter.end(begun, 4.0) == 1.0


def test_utilization_is_the_share_of_busy_time() -> None:
    """One second in four is a quarter; nothing is known before any time has passed."""
    meter = Meter(0.0)
    assert meter.utilization(0.0) is None
    for start in range(0, 40_000, 4):
        begun = meter.begin(float(start))
        meter.end(begun, start + 1.0)
    assert meter.utilization(40_000.0) == pytest.approx(0.25, rel=1e-2)


def test_asking_changes_nothing() -> None:
    """Who asks for the utilization of a moment past or to come does not move the meter's clock."""
    meter = Meter(0.0)
    begun = meter.begin(10.0)
    before = meter.utilization(10.0)
    assert (meter.utilization(20.0) or 0) > (before or 0) == meter.utilization(-500.0)
    assert meter.end(begun, 12.0) == 2.0


def test_the_hour_that_is_past_counts_less() -> None:
    """An hour of work after a long rest makes up most of the utilization, and a long rest brings it back."""
    meter = Meter(0.0)
    begun = meter.begin(100_000.0)
    meter.end(begun, 103_600.0)
    assert meter.utilization(103_600.0) == pytest.approx(0.632, abs=0.001)
    assert (meter.utilization(140_000.0) or 1) < 0.001


def amortized(meter: Meter) -> Machine:
    """A machine of 3.6 dollars an hour that charges its idle time too."""
    return Machine(3.6, True, None, None, meter)


def test_amortized_prices_pay_for_the_machine() -> None:
    """Under a steady load the calls' prices sum to what the machine cost in all that time, idle or not."""
    meter, paid = Meter(0.0), 0.0
    machine = amortized(meter)
    for start in range(0, 36_000, 10):
        begun = meter.begin(start + 7.0)
        now = start + 10.0
        paid += machine.usd(meter.end(begun, now), now)
    assert paid == pytest.approx(36_000 * 0.001, rel=0.02)


def test_an_idle_machine_has_a_dearest_price() -> None:
    """After a long rest a second costs a hundred times the marginal price, and no more."""
    meter = Meter(0.0)
    begun = meter.begin(1e6)
    assert amortized(meter).usd(meter.end(begun, 1e6 + 1), 1e6 + 1) == pytest.approx(0.1)


def test_a_marginal_price_knows_no_idle_time() -> None:
    """A second costs a second, however long the machine rested."""
    meter = Meter(0.0)
    begun = meter.begin(1e6)
    assert Machine(3.6, False, None, None, meter).usd(meter.end(begun, 1e6 + 1), 1e6 + 1) == pytest.approx(0.001)


def test_a_rate_is_learned() -> None:
    """Tokens over seconds of what passed, long prompts counting for more than short ones; nothing before."""
    rate = Rate()
    assert rate.value is None
    for _ in range(200):
        rate.learn(1000, 1.0)
        rate.learn(10, 0.5)
    assert rate.value == pytest.approx(1010 / 1.5, rel=0.01)


def test_a_rate_forgets() -> None:
    """A machine that became four times as fast is soon known to be."""
    rate = Rate()
    for speed in (100, 400):
        for _ in range(300):
            rate.learn(speed, 1.0)
    assert rate.value == pytest.approx(400, rel=0.02)


def test_one_answer_cannot_move_a_rate_far() -> None:
    """A client that read for an hour, or an answer that came at once, changes what is known by little."""
    rate = Rate()
    for _ in range(100):
        rate.learn(100, 1.0)
    rate.learn(100, 3600.0)
    assert 75 < (rate.value or 0) < 100
    rate.learn(100, 1e-6)
    assert 75 < (rate.value or 0) < 105


@pytest.mark.parametrize(
    ("tokens", "seconds"), [(0, 1.0), (-5, 1.0), (10, 0.0), (10, -1.0), (nan, 1.0), (10, nan), (inf, 1.0), (10, inf)]
)
def test_what_cannot_be_is_not_learned(tokens: float, seconds: float) -> None:
    """No tokens, no time, or what is no number teaches nothing."""
    rate = Rate()
    rate.learn(tokens, seconds)
    assert rate.value is None


def test_the_policys_rates_come_first() -> None:
    """What the policy states is not overridden by what was seen; what it leaves open is learned."""
    meter = Meter(0.0)
    meter.prefill.learn(100, 1.0)
    meter.decode.learn(20, 1.0)
    machine = of_policy(money.Machine(usd_per_hour=1, prefill=5000), meter)
    assert (machine.prefill, machine.decode, machine.is_amortized) == (5000, 20, False)
    assert of_policy(money.Machine(usd_per_hour=1, account="amortized"), meter).is_amortized


def test_predictions_need_only_what_they_use() -> None:
    """An embedding needs no rate of writing, and an answer to a cached prompt none of reading."""
    meter = Meter(0.0)
    assert Machine(1, False, 1000, None, meter).seconds(500, 0) == 0.5
    assert Machine(1, False, None, 50, meter).seconds(0, 100) == 2.0
    assert Machine(1, False, None, 50, meter).seconds(1, 100) is None
    assert Machine(1, False, 1000, None, meter).seconds(1, 100) is None


def test_plain_answers_teach_a_prediction_too() -> None:
    """Where no stream told reading from writing, answers from their beginning to their end stand for both."""
    meter = Meter(0.0)
    meter.whole.learn(50, 1.0)
    machine = Machine(1, False, None, None, meter)
    assert machine.seconds(500, 100) == 2.0
    meter.begin(0.0)
    assert machine.seconds(500, 100) == 1.0
    assert machine.seconds(500, 0) is None
