"""Tests of gateway.telemetry.context: headers as the W3C recommendation has them, and hostile ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.context import MOST_ATTEMPTS, Parent, SpanIds, new_span, new_trace, read

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f" 00-{TRACE}-{SPAN}-01\t", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", True),
    ],
)
def test_a_caller_s_span_is_read(header: str, sampled: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A well-formed header names the caller's span, in later versions too."""
    assert read(header.encode()) == Parent(int(TRACE, 16), int(SPAN, 16), is_sampled=sampled)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01\n",
        "00-" + "4" * 100_000,
    ],
)
def test_a_malformed_header_is_no_header(header: str) -> None:
    """What is not of the form is ignored, as if it were not there."""
    assert read(header.encode()) is None


@given(st.binary(max_size=80))
def test_no_header_fails(header: bytes) -> None:
    """Whatever a client sends, reading it does not raise."""
    read(header)


def test_an_upstream_is_told_of_its_attempt() -> None:
    """The header of an attempt is a valid one, in the call's trace, and names the attempt's own span."""
    ids = SpanIds(new_trace(), new_span(), None, is_sampled=True)
    first, second = read(ids.header(1)), read(ids.header(2))
    assert first is not None
    assert second is not None
    assert first.trace == second.trace == ids.trace
    assert len({first.span, second.span, ids.span}) == 3
    assert (first.span, second.span) == (ids.attempt(1), ids.attempt(2))


def test_an_unsampled_call_says_so() -> None:
    """What is not traced here asks nobody below to trace it."""
    told = read(SpanIds(new_trace(), new_span(), None, is_sampled=False).header(1))
    assert told is not None
    assert not told.is_sampled


def test_ids_of_attempts_stay_in_64_bits() -> None:
    """However many attempts, an id has the width the header has room for."""
    ids = SpanIds(2**128 - 1, 0xFFFFFFFFFFFF0000, None, is_sampled=True)
    assert ids.attempt(10**9) == 0xFFFFFFFFFFFF0000 | MOST_ATTEMPTS
    assert len(ids.header(10**9)) == 55
