"""Tests of the load generator with an open loop against a real static upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from benchmarks.arrivals import Arrivals, drive, due_times
from benchmarks.bodies import completion
from benchmarks.upstream import Answers, Tally, Upstream


@pytest.fixture
async def arrivals() -> AsyncIterator[Arrivals]:
    """A short load on a static upstream that lives as long as the test."""
    loop = asyncio.get_running_loop()
    answers, tally = Answers(), Tally()
    server = await loop.create_server(lambda: Upstream(answers, tally, loop), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield Arrivals(port, "key", 400.0, 0.02, 0.2, len(completion()))


def test_calls_come_at_the_same_times_for_one_seed() -> None:
    """Equal seeds give equal times, all within warm-up and window; another seed gives others."""
    given = Arrivals(1, "", 100.0, 1.0, 9.0, 0)
    times = list(due_times(given, 50.0))
    assert times == list(due_times(given, 50.0))
    assert times != list(due_times(replace(given, seed=2), 50.0))
    assert 50 < times[0] < times[-1] < 60
    assert 800 < len(times) < 1200


async def test_calls_are_answered_and_timed_from_when_they_were_due(arrivals: Arrivals) -> None:
    """Every call of the window is answered rightly, and its wait holds the time that it was sent late."""
    waits = await drive(arrivals)
    assert waits.errors == {}
    assert waits.answered == sum(due >= 0.02 for due in due_times(arrivals, 0.0))
    assert 0 < waits.p50_us <= waits.p99_us
    assert 0 <= waits.late_p99_us <= waits.p99_us


async def test_wrong_answers_are_errors(arrivals: Arrivals) -> None:
    """An answer shorter than it should be counts as wrong and gives no time."""
    waits = await drive(replace(arrivals, expected=10**9))
    assert waits.answered == 0
    assert sum(waits.errors.values()) > 0
