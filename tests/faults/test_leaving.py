"""Clients that leave: the upstream is cut off at once, what it did is recorded, nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import orjson
import pytest

from gateway.upstreams.openai import OpenAIUpstream
from tests.fakes.openai import Act, FakeOpenAI
from tests.fakes.stand import MESSAGES, Stand, gateway, said

Policy = Callable[..., str]
BOUND = 2.0  # seconds; the aim is 0.1, but the machine that runs this may be busy with other things


def request(stand: Stand, path: str = "/v1/chat/completions", **fields: Any) -> bytes:
    """A call as bytes."""
    body = orjson.dumps({"model": "m", "messages": MESSAGES, "prompt": "x", "input": "x", **fields})
    head = f"POST {path} HTTP/1.1\r\nhost: localhost:{stand.port}\r\ncontent-type: application/json\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n%b" % (len(body), body)


async def leave_after(stand: Stand, fake: FakeOpenAI, *, see: bytes = b"", **fields: Any) -> float:
    """Call, read until `see` has come, leave; the seconds until the upstream saw it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stand.port)
    writer.write(request(stand, **fields))
    await fake.until(asked=1)
    got = b""
    while see not in got:
        got += await asyncio.wait_for(reader.read(65536), 5)
    left = monotonic()
    writer.transport.abort()
    await fake.until(left=1)
    return fake.left[0] - left


def connections(stand: Stand) -> int:
    """How many connections to upstreams are open."""
    handlers = [station.handler for station in stand.runtime.pipeline.stations.values()]
    pools: list[Any] = [handler._requests for handler in handlers if isinstance(handler, OpenAIUpstream)]
    return sum(pool.open_connections for pool in pools)


CASES: dict[str, tuple[Act, bytes, dict[str, Any]]] = {
    "plain": (Act("blackhole"), b"", {}),
    "plain, half the answer": (Act("stall"), b"", {}),
    "before headers": (Act("blackhole"), b"", {"stream": True}),
    "before the first token": (Act("stall", after=0), b"", {"stream": True}),
    "after the role": (Act("stall", after=1), b"assistant", {"stream": True}),
    "in the middle": (Act("stall", after=4), b" three", {"stream": True}),
    "while it flows": (Act(pace=0.05), b" two", {"stream": True}),
    "completions": (Act("blackhole"), b"", {"path": "/v1/completions"}),
    "completions, streamed": (Act("stall", after=2), b"One", {"path": "/v1/completions", "stream": True}),
    "embeddings": (Act("blackhole"), b"", {"path": "/v1/embeddings"}),
}


@pytest.mark.parametrize("name", CASES)
async def test_leaving_cancels(name: str, tmp_path: Path, policy: Policy) -> None:
    """Wherever the client leaves, the upstream is cut off at once and asked no second time, and the record says so."""
    act, see, fields = CASES[name]
    async with FakeOpenAI(always=act) as fake:
        patient = policy(fake.url, fake.url).replace("300ms", "30s")
        async with gateway(tmp_path, patient) as g:
            seconds = await leave_after(g, fake, see=see, **fields)
            trace = await g.journal.next()
            assert seconds < BOUND
            assert len(fake.requests) == 1
            assert (trace.status, trace.outcome) == (499, "client_left")
            assert trace.usage.estimated
            assert trace.usage.prompt > 0
            assert trace.attempts[0].ended is not None
            assert trace.attempts[0].fault == ""
            assert (g.runtime.calls, g.runtime.pipeline.calls, connections(g)) == (0, 0, 0)
            fake.always = Act()
            assert said((await g.chat(stream=True)).text)


async def test_partial_use_is_counted(tmp_path: Path, policy: Policy) -> None:
    """The events that came before the client left are counted as tokens and marked as an estimate."""
    async with FakeOpenAI(always=Act("stall", after=4)) as fake, gateway(tmp_path, policy(fake.url)) as g:
        await leave_after(g, fake, see=b" three", stream=True)
        usage = (await g.journal.next()).usage
    assert (usage.completion, usage.estimated) == (4, True)


async def test_leaving_during_the_pause_before_a_retry(tmp_path: Path, policy: Policy) -> None:
    """A client that leaves while the gateway waits to ask again ends the call there."""
    act = Act("status", status=429, headers=(("retry-after", "1"),))
    async with FakeOpenAI(always=act) as fake, gateway(tmp_path, policy(fake.url)) as g:
        _, writer = await asyncio.open_connection("127.0.0.1", g.port)
        writer.write(request(g))
        await fake.until(asked=1)
        await asyncio.sleep(0.1)
        writer.transport.abort()
        trace = await g.journal.next()
        assert trace.outcome == "client_left"
        assert len(fake.requests) == 1


async def test_leaving_during_the_body(tmp_path: Path, policy: Policy) -> None:
    """A client that leaves before its request is complete costs nothing: it has not called yet."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        _, writer = await asyncio.open_connection("127.0.0.1", g.port)
        writer.write(request(g)[:-5])
        await asyncio.sleep(0.05)
        writer.transport.abort()
        assert (await g.chat()).status_code == 200
        assert len(fake.requests) == 1
        assert g.runtime.calls == 0


async def test_many_leave(tmp_path: Path, policy: Policy) -> None:
    """Fifty clients that leave at odd moments leave no task, no connection and no count behind."""
    async with FakeOpenAI(always=Act(pace=0.01)) as fake, gateway(tmp_path, policy(fake.url)) as g:

        async def come_and_go(number: int) -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", g.port)
            writer.write(request(g, stream=number % 2 == 0))
            await asyncio.sleep(0.003 * number)
            writer.transport.abort()

        await asyncio.gather(*map(come_and_go, range(50)))
        for _ in range(50):
            await g.journal.next()
        await fake.until(open_at_most=connections(g))
        assert not [task for task in asyncio.all_tasks() if "run_asgi" in repr(task)]
        assert g.runtime.calls == 0


async def test_slow_reader_bounds_memory(tmp_path: Path, policy: Policy) -> None:
    """A client that does not read holds the upstream back, rather than filling our memory."""
    big = b'data: {"choices": [{"index": 0, "delta": {"content": "' + b"x" * 1000 + b'"}}]}\n\n'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    async with FakeOpenAI(always=Act("raw", body=head + big * 30_000, pace=30)) as fake:
        patient = policy(fake.url).replace("300ms", "30s")
        async with gateway(tmp_path, patient) as g:
            reader, writer = await asyncio.open_connection("127.0.0.1", g.port, limit=4096)
            writer.write(request(g, stream=True))
            await reader.read(1000)
            await asyncio.sleep(0.3)
            client = next(iter(fake._open))
            assert client._transport.get_write_buffer_size() > 5_000_000
            writer.transport.abort()
            await fake.until(left=1)
            assert (await g.journal.next()).outcome == "client_left"


async def test_slow_reader_is_not_a_stall(tmp_path: Path, policy: Policy) -> None:
    """An upstream that waits for a slow client has not stalled: the client gets everything when it reads on."""
    big = b'data: {"choices": [{"index": 0, "delta": {"content": "' + b"x" * 1000 + b'"}}]}\n\n'
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    whole = head + big * 15_000 + b"data: [DONE]\n\n"
    async with FakeOpenAI(always=Act("raw", body=whole)) as fake, gateway(tmp_path, policy(fake.url)) as g:
        reader, writer = await asyncio.open_connection("127.0.0.1", g.port, limit=4096)
        writer.write(request(g, stream=True))
        got = await reader.read(1000)
        await asyncio.sleep(0.7)  # twice the idle deadline
        while not got.endswith(b"0\r\n\r\n"):
            got = got[-10:] + await asyncio.wait_for(reader.read(1 << 20), 5)
        writer.close()
        trace = await g.journal.next()
    assert (trace.outcome, trace.attempts[0].fault) == ("ok", "")
    assert trace.response_bytes == len(whole) - len(head)
