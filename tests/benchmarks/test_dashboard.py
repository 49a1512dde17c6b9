"""Tests of what `sluice bench dashboard` says of its measurements."""

from __future__ import annotations

import pytest

from benchmarks.dashboard import DashboardReport, options_from
from benchmarks.paint import Painted
from benchmarks.readers import CONTROL, WITH, WITHOUT, Found, Window


def _window(p99: float, errors: int = 0) -> Window:
    wrong = {"status 500": errors} if errors else {}
    return Window(p99 / 3, p99, 10.0, 1000, wrong, admin=0.2, worker=0.5, others=0.0, read={})


def _found(with_: float, *, errors: int = 0) -> Found:
    return Found(
        1000.0,
        windows={
            WITHOUT: [_window(1000), _window(2000), _window(1500)],
            WITH: [_window(1000 * with_), _window(2000 * with_), _window(1500 * with_, errors)],
            CONTROL: [_window(1000), _window(2000), _window(1500)],
        },
    )


def test_ratios_are_of_pairs() -> None:
    """A tenth more in each pair is a ratio of 1.1 however unequal the pairs are; the control is 1."""
    found = _found(1.1)
    ratio, control = found.ratio(WITH), found.ratio(CONTROL)
    assert ratio is not None
    assert control is not None
    assert ratio.value == pytest.approx(1.1)
    assert control.value == pytest.approx(1.0)


def test_what_is_certain_is_missed() -> None:
    """A late page, a p99 that moved and calls that failed are each told of; what meets its target is not."""
    assert DashboardReport({"overview": [Painted(900.0, 500.0)] * 10}, {"one core": _found(1.01)}).missed == []
    late = DashboardReport({"overview": [Painted(2500.0, 500.0)] * 10}, {"one core": _found(1.3, errors=1)}).missed
    assert [one.partition(":")[0] for one in late] == ["overview", "one core", "one core"]
    assert "failed" in late[2]


def test_the_command_line() -> None:
    """Both parts unless one is named; how many records and how often."""
    assert options_from([]).parts == ("paint", "calls")
    options = options_from(["--paint", "--records", "500", "--repetitions", "3"])
    assert (options.parts, options.records, options.repetitions) == (("paint",), 500, 3)
