"""Tests of gateway.admin.dashboard.figures: one format everywhere."""

from __future__ import annotations

from datetime import UTC

import pytest

from gateway.admin.dashboard import figures as f


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "unknown"),
        (0, "$0"),
        (12345.6, "$12,346"),
        (3.214, "$3.21"),
        (0.1654, "$0.165"),
        (0.00412, "$0.00412"),
        (0.0165, "$0.0165"),
        (0.99999, "$1.00"),
        (0.1, "$0.100"),
        (0.0000345678, "$0.0000346"),
        (0.0000034567, "<$0.00001"),
        (-0.12, "-$0.120"),
        (-1e-12, "-<$0.00001"),
    ],
)
def test_usd(value: float | None, said: str) -> None:
    """Three digits that count at the least; what is tiny is told to be; what is not known is unknown."""
    assert f.usd(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "-"), (0, "0"), (12_345, "12,345"), (1_234_567, "1.23 M"), (5e9, "5.00 B"), (2e12, "2.00 T")],
)
def test_count(value: float | None, said: str) -> None:
    """With separators, and from a million on shortened."""
    assert f.count(value) == said


@pytest.mark.parametrize(
    ("ms", "said"),
    [(None, "-"), (0.412, "0.41 ms"), (9.94, "9.9 ms"), (812.3, "812 ms"), (42_000, "42.00 s"), (125_000, "2 min 5 s")],
)
def test_duration(ms: float | None, said: str) -> None:
    """In the unit that people say."""
    assert f.duration(ms) == said


def test_exact_usd() -> None:
    """The tooltip has every digit."""
    assert f.exact_usd(0.00000123456) == "0.00000123456 USD"
    assert f.exact_usd(0) == "0 USD"
    assert f.exact_usd(None) == "unknown"


def test_share_of_nothing() -> None:
    """A share of nothing is no number."""
    assert (f.share(1, 0), f.share(1, 3), f.share(1, 100_000)) == ("-", "33.3 %", "<0.1 %")


def test_a_time_that_no_calendar_holds() -> None:
    """A record with an absurd clock is shown all the same."""
    assert f.moment(1e30, UTC) == "1e+30"
    assert f.clock(1_800_000_000, 1_800_000_100, UTC) == "08:00:00"
    assert f.clock(1_700_000_000, 1_800_000_100, UTC) == "2023-11-14 22:13:20"


def test_span_and_size() -> None:
    """Lengths and bytes in their largest unit."""
    assert [f.span(s) for s in (0, 1, 90, 7200, 86_400 * 30)] == [
        "0 seconds",
        "1 second",
        "2 minutes",
        "2 hours",
        "30 days",
    ]
    assert [f.size(b) for b in (None, 12, 1700, 2.5e6)] == ["-", "12 B", "1.7 kB", "2.5 MB"]
