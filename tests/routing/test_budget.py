"""The retry budget: a share of what succeeds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from routing.budget import RetryBudget


@given(st.lists(st.booleans(), max_size=300), st.sampled_from([0.1, 0.25, 0.5, 1.0, 3.0]))
def test_retries_are_a_share_of_successes(steps: list[bool], ratio: float) -> None:
    """In any order of events there are never more retries than a full bucket and the share of successes."""
    budget = RetryBudget(ratio)
    taken = good = 0
    for success in steps:
        if success:
            budget.succeeded()
            good += 1
        else:
            taken += budget.take()
        assert taken <= 10 + ratio * good + 1e-6


def test_a_quiet_gateway_may_retry() -> None:
    """The bucket starts full, and is empty at some time."""
    budget = RetryBudget(0.1)
    assert [budget.take() for _ in range(12)] == [True] * 10 + [False] * 2


def test_no_budget_is_no_retry() -> None:
    """A ratio of 0 means that nothing is ever retried."""
    budget = RetryBudget(0)
    budget.succeeded()
    assert not budget.take()


def test_it_never_overflows() -> None:
    """Any number of successes saves no more than the bucket holds."""
    budget = RetryBudget(1.0, cap=3)
    for _ in range(100):
        budget.succeeded()
    assert [budget.take() for _ in range(4)] == [True, True, True, False]
