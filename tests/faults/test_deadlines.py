"""Deadlines: every wait has its bound, and the client's own counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from tests.fakes.openai import Act, FakeOpenAI
from tests.fakes.stand import errors, gateway

Policy = Callable[..., str]
SOON = 5.0  # seconds: far below the bounds that are not meant, far above those that are


async def test_connect(tmp_path: Path, policy: Policy) -> None:
    """A server that accepts and then never finishes its handshake costs the connect deadline."""
    async with FakeOpenAI() as fake:
        text = policy(fake.url.replace("http:", "https:"), attempts=1).replace("connect: 1s", "connect: 100ms")
        silent = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(30), "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        async with gateway(tmp_path, text.replace(str(fake.port), str(port))) as g:
            began = monotonic()
            answer = await g.chat()
            trace = await g.journal.next()
        silent.close()
    assert answer.status_code == 502
    assert trace.attempts[0].fault == "connect"
    assert monotonic() - began < SOON


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("header", ["x-request-timeout", "x-litellm-timeout"])
async def test_the_clients_own(header: str, *, stream: bool, tmp_path: Path, policy: Policy) -> None:
    """A client's own deadline ends the call with 504, costs no second attempt, and is no fault of the upstream's."""
    async with FakeOpenAI(always=Act("blackhole")) as fake:
        patient = policy(fake.url, fake.url).replace("300ms", "30s")
        async with gateway(tmp_path, patient) as g:
            began = monotonic()
            for _ in range(6):
                answer = await g.chat(stream=stream, headers={header: "0.1"})
            trace = await g.journal.next()
            breaker = g.runtime.pipeline.stations["u0"].breaker
            assert breaker.reason == ""
        assert len(fake.requests) <= 6
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "deadline_exceeded"
    assert (trace.status, trace.outcome, trace.attempts[0].fault) == (504, "deadline_exceeded", "deadline")
    assert monotonic() - began < SOON


async def test_the_clients_own_in_a_stream(tmp_path: Path, policy: Policy) -> None:
    """A deadline that passes in the middle of a stream is one error event, and no fault of the upstream's."""
    async with FakeOpenAI(always=Act(pace=0.1)) as fake, gateway(tmp_path, policy(fake.url, upstream="")) as g:
        for _ in range(6):
            answer = await g.chat(stream=True, headers={"x-request-timeout": "0.25"})
        trace = await g.journal.next()
        assert g.runtime.pipeline.stations["u0"].breaker.reason == ""
    assert len(errors(answer.text)) == 1
    assert "[DONE]" not in answer.text
    assert trace.outcome == "upstream_deadline"


async def test_a_deadline_too_short_to_connect(tmp_path: Path, policy: Policy) -> None:
    """A deadline that passes while connecting is the client's, not the upstream's."""
    silent = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(30), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with gateway(tmp_path, policy(f"https://127.0.0.1:{port}/v1")) as g:
        answer = await g.chat(headers={"x-request-timeout": "0.05"})
        trace = await g.journal.next()
    silent.close()
    assert answer.status_code == 504
    assert [attempt.fault for attempt in trace.attempts] == ["deadline"]


@pytest.mark.parametrize("value", ["soon", "-1", "0", "nan", "inf", ""])
async def test_a_deadline_that_is_none(value: str, tmp_path: Path, policy: Policy) -> None:
    """A deadline that is no positive number is refused by name."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        answer = await g.chat(headers={"x-request-timeout": value})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "x-request-timeout"
    assert not fake.requests


async def test_total(tmp_path: Path, policy: Policy) -> None:
    """The rule's total bounds the call over all attempts; a client may ask for less, never for more."""
    rule = "  - {name: r, timeouts: {total: 150ms}}"
    async with (
        FakeOpenAI(always=Act("blackhole")) as fake,
        gateway(tmp_path, policy(fake.url, rules=rule).replace("300ms", "30s")) as g,
    ):
        began = monotonic()
        answer = await g.chat(headers={"x-request-timeout": "60"})
    assert answer.status_code == 504
    assert monotonic() - began < SOON


async def test_plain_answers_have_their_own(tmp_path: Path, policy: Policy) -> None:
    """A plain answer comes whole, so it may take `answer` rather than `first_byte`."""
    async with FakeOpenAI(always=Act("blackhole")) as fake:
        text = policy(fake.url, attempts=1).replace("first_byte: 300ms", "first_byte: 30s")
        async with gateway(tmp_path, text.replace("answer: 300ms", "answer: 100ms")) as g:
            answer = await g.chat()
            trace = await g.journal.next()
    assert answer.status_code == 504
    assert trace.attempts[0].fault == "timeout"
