"""Tests of the load generator against a real static upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from benchmarks.bodies import completion, request_body
from benchmarks.load import Spec, decoded, drive
from benchmarks.upstream import Answers, Tally, Upstream


@pytest.fixture
async def bodies() -> list[bytes]:
    """Collect what the upstream is asked."""
    return []


@pytest.fixture
async def spec(bodies: list[bytes]) -> AsyncIterator[Spec]:
    """A short plain load on a static upstream that lives as long as the test."""
    loop = asyncio.get_running_loop()
    answers, tally = Answers(), Tally()

    class Recording(Upstream):
        def on_body(self, body: bytes) -> None:
            bodies.append(body)
            super().on_body(body)

    server = await loop.create_server(lambda: Recording(answers, tally, loop), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield Spec(port, "key", "plain", "1.7k", 2, 0.02, 0.1, len(completion()))


async def test_plain_calls_are_counted_and_timed(spec: Spec) -> None:
    """Right answers are counted, each with its latency, and there is no error."""
    outcome = await drive(spec)
    assert outcome.errors == {}
    assert outcome.answered == outcome.latency.count > 0
    assert outcome.answered_in_all >= outcome.answered
    assert 0 < outcome.latency.p50 <= outcome.latency.p99


async def test_the_work_of_the_window_counts_by_share(spec: Spec) -> None:
    """Answers at the edges count in part, so the window's work is that of its answers, give or take a connection's."""
    outcome = await drive(spec)
    assert abs(outcome.answers - outcome.answered) <= spec.connections


async def test_calls_are_numbered_from_where_the_spec_says(spec: Spec, bodies: list[bytes]) -> None:
    """The first body has the spec's number and none comes twice, so a later run repeats nothing of an earlier one."""
    await drive(replace(spec, number=70, connections=1))
    assert b"Call 000000000070." in bodies[0]
    assert b"Call 000000000071." in bodies[1]
    assert len(set(bodies)) == len(bodies)


async def test_equal_calls_are_equal(spec: Spec, bodies: list[bytes]) -> None:
    """With `equal` all connections send one body, again and again."""
    await drive(replace(spec, number=70, equal=True))
    assert len(bodies) > 2
    assert set(bodies) == {request_body("plain", "1.7k").numbered(70)}


async def test_streams_have_a_first_chunk(spec: Spec) -> None:
    """A streamed answer's first chunk is timed apart from its end."""
    outcome = await drive(replace(spec, kind="burst", expected=67))
    assert outcome.errors == {}
    assert 0 < outcome.first.p50 <= outcome.latency.p50


async def test_paced_chunks_have_a_delay(spec: Spec) -> None:
    """Each stamped chunk of a paced stream gives one delay, on the clock of its sender."""
    outcome = await drive(replace(spec, kind="paced", expected=67, seconds=1.5))
    assert outcome.errors == {}
    assert outcome.delay.count > 50
    assert 0 < outcome.delay.p50 < 1e6


async def test_a_wrong_answer_is_an_error(spec: Spec) -> None:
    """An answer of another length, number of events or status is never counted as answered."""
    short = await drive(replace(spec, expected=100_000))
    assert short.answered == 0
    assert any("instead of 100000" in why for why in short.errors)
    assert "status 500" in (await drive(replace(spec, kind="error"))).errors
    assert "66 events" not in (await drive(replace(spec, kind="burst", expected=66))).errors


async def test_nobody_there_is_an_error(spec: Spec) -> None:
    """A port without a server gives errors, not an endless run."""
    outcome = await drive(replace(spec, port=1))
    assert outcome.answered == 0
    assert any(why.startswith("connect") for why in outcome.errors)


def test_decoded_undoes_the_transfer_coding() -> None:
    """Events that a gateway cut in the middle of chunks are whole again."""
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\ndat\r\n4\r\na: x\r\n0\r\n\r\n"
    assert decoded(answer) == b"data: x"
