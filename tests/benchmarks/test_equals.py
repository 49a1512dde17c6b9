"""Tests of bursts of equal calls, the last over real gateways."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import echo
from benchmarks.echo import Pace
from benchmarks.equals import SETUPS, Burst, bursts, judge
from benchmarks.sharing import Heard, has_redis

_GOOD = Burst("one process", "plain", True, 20, 1, 1, 1.0, {})
_CONTROL = replace(_GOOD, together=False, upstream=20, distinct=20)


def test_one_upstream_call_and_one_answer_are_no_fault() -> None:
    """Neither is a control whose calls all reached the upstream."""
    assert _GOOD.faults == []
    assert _CONTROL.faults == []


def test_all_else_is_a_fault() -> None:
    """Two upstream calls, two answers, a failure; and a control that shares answers measures nothing."""
    assert replace(_GOOD, upstream=2, distinct=2).faults == ["2 upstream calls", "2 different answers"]
    assert replace(_GOOD, failed={"status 502": 3}).faults == ["3 x status 502"]
    assert replace(_CONTROL, upstream=1).faults == ["the control made 1 upstream calls"]


def test_the_answer_to_another_call_is_a_failure() -> None:
    """What does not begin with its question's digest is not counted among the answers."""
    mine, other = (echo.answer(echo.call(number, stream=False), 1, 4)[1] for number in ("a", "b"))
    heard = [Heard(200, parts=[mine]), Heard(200, parts=[other]), Heard(trouble="no answer in time")]
    texts, failed = judge("a", heard)
    assert list(texts.values()) == [1]
    assert failed == {"the answer to another call": 1, "no answer in time": 1}


@pytest.mark.parametrize(("part", "together"), [("one", False), ("workers", True)])
def test_equal_calls_over_real_gateways(part: str, *, together: bool) -> None:
    """Twenty equal calls of any form are one at the upstream; twenty, when neither cache nor flight is on."""
    setup = SETUPS[part]
    if setup.on_redis and not has_redis():
        pytest.skip("redis-server is not installed")
    found = list(bursts(setup, 20, 1, together=together, pace=Pace(10, 0.02)))
    assert [burst.form for burst in found] == ["plain", "streamed", "half and half"]
    assert [fault for burst in found for fault in burst.faults] == []
    assert {burst.upstream for burst in found} == {1 if together else 20}
