"""The breaker: when it opens, what it lets through, how it closes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from routing.breaker import LEAST_OUTCOMES, LONGEST, Breaker, BreakerSettings, State


def opened(settings: BreakerSettings | None = None, at: float = 0.0) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker(settings or BreakerSettings())
    for _ in range(LEAST_OUTCOMES):
        assert breaker.admit(at)
        breaker.failed(at)
    return breaker


def test_closed_at_first() -> None:
    """Nothing known is nothing bad."""
    breaker = Breaker(BreakerSettings())
    assert (breaker.state(0), breaker.admit(0), breaker.opens_again(0)) == (State.CLOSED, True, 0)


def test_few_failures_say_nothing() -> None:
    """One failed call of one is no outage."""
    breaker = Breaker(BreakerSettings())
    for _ in range(LEAST_OUTCOMES - 1):
        breaker.failed(0)
    assert breaker.state(0) is State.CLOSED


def test_opens_and_half_opens() -> None:
    """Open, it refuses for a while and says for how long; then it lets probes through."""
    breaker = opened()
    assert (breaker.state(9.9), breaker.admit(9.9), breaker.reason) == (State.OPEN, False, "errors")
    assert breaker.opens_again(4) == 6
    assert breaker.state(10) is State.HALF_OPEN
    assert [breaker.admit(10) for _ in range(4)] == [True, True, False, False]


def test_good_probes_close() -> None:
    """As many successes as the settings say close it, and earlier failures are forgotten."""
    breaker = opened()
    for _ in range(2):
        assert breaker.state(10) is State.HALF_OPEN
        assert breaker.admit(10)
        breaker.succeeded(10.5, 0.5)
    breaker.failed(11)
    assert (breaker.state(11), breaker.reason) == (State.CLOSED, "")


def test_bad_probes_open_for_longer() -> None:
    """Each failed probe opens it for twice as long, up to a bound; a success makes it forget that."""
    breaker, now, waits = opened(), 10.0, []
    for _ in range(6):
        assert breaker.admit(now)
        breaker.failed(now)
        waits.append(breaker.opens_again(now))
        now += waits[-1]
    assert waits == [20, 40, 80, LONGEST, LONGEST, LONGEST]
    for _ in range(2):
        assert breaker.admit(now)
        breaker.succeeded(now, 0)
    for _ in range(LEAST_OUTCOMES):
        breaker.failed(now)
    assert breaker.opens_again(now) == 10


def test_an_abandoned_probe_is_given_back() -> None:
    """A probe that says nothing makes room for another."""
    breaker = opened(BreakerSettings(probes=1))
    assert breaker.admit(10)
    assert not breaker.admit(10)
    breaker.abandoned()
    assert breaker.admit(10)


def test_a_share_of_failures() -> None:
    """It opens at its share of failures in the window, not before."""
    breaker = Breaker(BreakerSettings(window=10, failures=0.5))
    for failed in (False, False, False, False, False, True, True, True, True):
        assert breaker.state(0) is State.CLOSED
        breaker.failed(0) if failed else breaker.succeeded(0, 0)
    breaker.failed(0)
    assert breaker.state(0) is State.OPEN


def test_slow_answers_open_it() -> None:
    """Too many slow first bytes open it too; a slow probe is no good one."""
    breaker = Breaker(BreakerSettings(slow=1.0, slow_share=0.8))
    for _ in range(5):
        breaker.succeeded(0, 2.0)
    assert (breaker.state(0), breaker.reason) == (State.OPEN, "slow")
    assert breaker.admit(10)
    breaker.succeeded(10, 2.0)
    assert breaker.state(10) is State.OPEN
    for _ in range(2):
        assert breaker.admit(30)
        breaker.succeeded(30, 0.1)
    assert breaker.state(30) is State.CLOSED


@pytest.mark.parametrize(("rest", "until"), [(None, 1.0), (0.0, 0.0), (7.0, 7.0), (1e9, LONGEST)])
def test_429_is_a_rest_and_no_failure(rest: float | None, until: float) -> None:
    """A 429 leaves the upstream alone for as long as it says, within a bound, and counts no failure."""
    breaker = Breaker(BreakerSettings())
    for _ in range(20):
        breaker.throttled(0, rest)
    assert breaker.opens_again(0) == until
    assert breaker.state(until - 0.01 if until else 0) is (State.OPEN if until else State.CLOSED)
    assert breaker.state(until) is State.CLOSED


class Machine(RuleBasedStateMachine):
    """Any order of calls, outcomes and time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.under_way = 0
        self.breaker = Breaker(BreakerSettings(window=6, probes=2, slow=1.0))

    @rule(seconds=st.floats(0, 200))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @rule()
    def ask(self) -> None:
        """A call asks to be let through."""
        state = self.breaker.state(self.now)
        let = self.breaker.admit(self.now)
        assert let or state is not State.CLOSED
        assert not (let and state is State.OPEN)
        self.under_way += let

    @precondition(lambda self: self.under_way)
    @rule(kind=st.sampled_from(["ok", "slow", "failed", "throttled", "abandoned"]))
    def end(self, kind: str) -> None:
        """A call ends in one of the five ways."""
        self.under_way -= 1
        breaker, now = self.breaker, self.now
        ways = {
            "ok": lambda: breaker.succeeded(now, 0.1),
            "slow": lambda: breaker.succeeded(now, 5.0),
            "failed": lambda: breaker.failed(now),
            "throttled": lambda: breaker.throttled(now, None),
            "abandoned": breaker.abandoned,
        }
        ways[kind]()

    @invariant()
    def never_shut_for_good(self) -> None:
        """It is never closed off for longer than the bound, and with no call under way it lets one through then."""
        wait = self.breaker.opens_again(self.now)
        assert 0 <= wait <= LONGEST
        assert (self.breaker.state(self.now) is State.OPEN) == (wait > 0)
        if not self.under_way:
            later = self.now + wait
            assert self.breaker.admit(later)
            self.breaker.abandoned()


TestMachine = Machine.TestCase


@given(st.lists(st.booleans(), max_size=60))
def test_all_failing_always_opens(outcomes: list[bool]) -> None:
    """Whatever came before, a full window of failures opens it."""
    breaker = Breaker(BreakerSettings(window=10))
    for failed in [*outcomes, *[True] * 10]:
        breaker.failed(0) if failed else breaker.succeeded(0, 0)
    assert breaker.state(0) is State.OPEN
