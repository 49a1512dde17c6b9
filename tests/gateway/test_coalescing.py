"""Equal calls under way share one answer, through the whole data plane: one upstream call, and nobody holds another up.

Clients are bare connections here: a thousand of them are quick, and they leave or stop reading when they like.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.trace import COALESCED, Trace
from tests.fakes.openai import USAGE, WORDS, Act, FakeOpenAI
from tests.fakes.stand import MESSAGES, Stand, errors, events, gateway, said
from tests.gateway.test_caching import PLAIN, TEXT, document, policy

CALL: Mapping[str, Any] = {"model": "m", "messages": MESSAGES, "temperature": 0}


class Client:
    """One call on a connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def answer(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(20):
            got = await self.reader.read()
        self.leave()
        return got

    async def until(self, words: bytes) -> bytes:
        """Everything up to these words."""
        async with asyncio.timeout(5):
            return await self.reader.readuntil(words)

    def leave(self) -> None:
        """Close the connection."""
        self._writer.transport.abort()


async def call(g: Stand, body: Mapping[str, Any] = CALL, headers: str = "", *, buffer: int = 0, **more: Any) -> Client:
    """Send one call; `buffer` bounds what the kernel takes for a client that does not read."""
    sock = socket.socket()
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", g.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=max(buffer, 2**16))
    data = orjson.dumps({**body, **more})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}"
    writer.write(f"{head}connection: close\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
    return Client(reader, writer)


def others(g: Stand) -> int:
    """How many calls wait for another's answer."""
    return sum(flight.others for flight in g.runtime.pipeline.caches.flights.values())


async def until_they_are(g: Stand, number: int) -> None:
    """Wait until so many calls wait for another's answer."""
    async with asyncio.timeout(10):
        while others(g) != number:  # noqa: ASYNC110 - the gateway has no event for this
            await asyncio.sleep(0.001)


async def records(g: Stand, number: int) -> list[Trace]:
    """So many records."""
    return [await g.journal.next() for _ in range(number)]


def parts(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), body


@asynccontextmanager
async def led(g: Stand, fake: FakeOpenAI, **more: Any) -> AsyncIterator[Client]:
    """A first call, which has reached the upstream."""
    client = await call(g, **more)
    await fake.until(asked=1)
    yield client
    client.leave()


def check_all_left(g: Stand) -> None:
    """Nothing of a flight is left."""
    assert g.runtime.pipeline.caches.flights == {}


# One upstream call


@pytest.mark.parametrize("first", ["plain", "streamed", "a streamed one that has begun"])
@pytest.mark.parametrize("then", ["plain", "streamed", "both"])
async def test_a_thousand(first: str, then: str, tmp_path: Path) -> None:
    """A thousand equal calls at once are one upstream call, whatever their forms; each gets the whole answer."""
    gate = asyncio.Event()
    after = 3 if "begun" in first else 0
    act = Act(gate=gate, after=after) if first != "plain" else Act(gate=gate, body=document())
    streams = {"plain": (False,), "streamed": (True,), "both": (False, True)}[then]
    number = 1000
    async with FakeOpenAI(act) as fake, gateway(tmp_path, policy(fake.url)) as g:
        async with led(g, fake, stream=first != "plain") as leader:
            clients = [await call(g, stream=streams[at % len(streams)]) for at in range(number - 1)]
            await until_they_are(g, number - 1)
            gate.set()
            answers = await asyncio.gather(leader.answer(), *(client.answer() for client in clients))
        assert len(fake.requests) == 1
        kinds = set()
        for answer in answers[1:]:
            status, headers, body = parts(answer)
            is_stream = headers["content-type"].startswith("text/event-stream")
            kinds.add((status, headers["x-cache"], headers["x-sluice-cache"], headers["x-sluice-upstream"]))
            text = said(body) if is_stream else orjson.loads(body)["choices"][0]["message"]["content"]
            assert text == TEXT
            assert not is_stream or events(body)[-1] == "[DONE]"
        assert kinds == {(200, "HIT", "coalesced", "up")}
        check_all_left(g)
        traces = await records(g, number)
        assert [len(trace.attempts) for trace in traces].count(1) == 1
        assert {trace.outcome for trace in traces} == {"ok"}
        assert {trace.source.tokens for trace in traces if trace.source is not None} == {17}
        kept = parts(await (await call(g)).answer())[1]
        assert (kept["x-cache"], kept["x-sluice-cache"]) == ("HIT", "exact")


async def test_sampled_calls_stay_many(tmp_path: Path) -> None:
    """Five calls that sample, at once, are five upstream calls."""
    gate = asyncio.Event()
    async with FakeOpenAI(always=Act(gate=gate)) as fake, gateway(tmp_path, policy(fake.url)) as g:
        clients = [await call(g, temperature=1) for _ in range(5)]
        await fake.until(asked=5)
        gate.set()
        for client in clients:
            assert parts(await client.answer())[1]["x-cache"] == "BYPASS"


@pytest.mark.parametrize("header", ["cache-control: no-cache", "cache-control: no-store", "x-sluice-namespace: n"])
async def test_who_shares_with_nobody(header: str, tmp_path: Path) -> None:
    """Who wants a new answer, wants none kept or has a namespace of its own neither leads nor follows the others."""
    gate = asyncio.Event()
    async with (
        FakeOpenAI(always=Act(gate=gate)) as fake,
        gateway(tmp_path, policy(fake.url)) as g,
        led(g, fake) as leader,
    ):
        other = await call(g, headers=header + "\r\n")
        await fake.until(asked=2)
        assert others(g) == 0
        gate.set()
        assert parts(await other.answer())[1]["x-cache"] == "MISS"
        await leader.answer()


async def test_switched_off(tmp_path: Path) -> None:
    """With `coalesce: false` each call asks for itself."""
    gate = asyncio.Event()
    rule = "coalesce: false"
    async with FakeOpenAI(always=Act(gate=gate)) as fake, gateway(tmp_path, policy(fake.url, rule)) as g:
        clients = [await call(g) for _ in range(3)]
        await fake.until(asked=3)
        gate.set()
        assert [parts(await client.answer())[1]["x-cache"] for client in clients] == ["MISS"] * 3


async def test_without_a_cache(tmp_path: Path) -> None:
    """With `exact: false` equal calls under way still share one answer; the next one asks again."""
    gate = asyncio.Event()
    rule = "exact: false"
    async with FakeOpenAI(Act(gate=gate, body=document())) as fake, gateway(tmp_path, policy(fake.url, rule)) as g:
        async with led(g, fake) as leader:
            other = await call(g)
            await until_they_are(g, 1)
            gate.set()
            assert parts(await other.answer())[1]["x-sluice-cache"] == "coalesced"
            await leader.answer()
        assert parts(await (await call(g)).answer())[1]["x-cache"] == "MISS"


async def test_a_late_joiner(tmp_path: Path) -> None:
    """Who joins a paced stream in the middle gets its beginning at once and then its tail as it comes."""
    gate = asyncio.Event()
    async with FakeOpenAI(Act(gate=gate, after=5)) as fake, gateway(tmp_path, policy(fake.url)) as g:
        async with led(g, fake, stream=True) as leader:
            begun = await leader.until(b'" three"')
            late = await call(g, stream=True, stream_options={"include_usage": True})
            got = await late.until(b'" three"')
            gate.set()
            got += await late.answer()
            begun += await leader.answer()
        assert said(got) == said(begun) == TEXT
        assert ("prompt_tokens" in got.decode(), "prompt_tokens" in begun.decode()) == (True, False)
        assert parts(got)[1]["x-sluice-cache"] == "coalesced"


async def test_what_cannot_be_told_in_the_other_form(tmp_path: Path) -> None:
    """Those who wait for a form that an answer does not have share one upstream call of their own."""
    gate = asyncio.Event()
    odd = Act(gate=gate, body=document(object="odd"))
    async with FakeOpenAI(odd) as fake, gateway(tmp_path, policy(fake.url)) as g:
        async with led(g, fake) as leader:
            streams = [await call(g, stream=True) for _ in range(5)]
            await until_they_are(g, 5)
            gate.set()
            answers = [await client.answer() for client in streams]
            assert [said(answer) for answer in answers] == [TEXT] * 5
            await leader.answer()
        assert len(fake.requests) == 2


# Callers that leave


@pytest.mark.parametrize("stream", [False, True])
async def test_the_first_caller_leaves(*, stream: bool, tmp_path: Path) -> None:
    """The others get the whole answer, which is kept; the upstream is not cancelled, and the first one's record bears
    the status 499 and all of the cost."""
    gate = asyncio.Event()
    act = Act(gate=gate, after=3 if stream else 0, body=b"" if stream else document())
    async with FakeOpenAI(act) as fake, gateway(tmp_path, policy(fake.url)) as g:
        async with led(g, fake, stream=stream) as leader:
            others_ = [await call(g, stream=stream), await call(g, stream=not stream)]
            await until_they_are(g, 2)
            leader.leave()
            await asyncio.sleep(0.02)
            gate.set()
            same, other = [parts(await client.answer())[2] for client in others_]
        plain, streamed = (other, same) if stream else (same, other)
        assert (said(streamed), orjson.loads(plain)["choices"][0]["message"]["content"]) == (TEXT, TEXT)
        assert (fake.left, len(fake.requests)) == ([], 1)
        traces = {trace.cache: trace for trace in await records(g, 3)}
        first = traces["miss"]
        assert (first.status, first.outcome, len(first.attempts)) == (499, "client_left", 1)
        assert first.usage is not None
        assert first.usage.prompt == USAGE["prompt_tokens"]
        assert (traces[COALESCED].usage, traces[COALESCED].attempts) == (None, [])
        assert parts(await (await call(g)).answer())[1]["x-cache"] == "HIT"
        check_all_left(g)


@pytest.mark.parametrize("stream", [False, True])
async def test_all_leave(*, stream: bool, tmp_path: Path) -> None:
    """When all have left the upstream is cancelled, and nothing is kept."""
    async with (
        FakeOpenAI(Act(gate=asyncio.Event(), after=3 if stream else 0)) as fake,
        gateway(tmp_path, policy(fake.url)) as g,
    ):
        async with led(g, fake, stream=stream) as leader:
            others_ = [await call(g, stream=stream) for _ in range(3)]
            await until_they_are(g, 3)
            leader.leave()
            for client in others_:
                assert fake.left == []
                client.leave()
                await asyncio.sleep(0.01)
            await fake.until(left=1)
        assert {trace.status for trace in await records(g, 4)} == {499}
        check_all_left(g)
        assert parts(await (await call(g)).answer())[1]["x-cache"] == "MISS"


@pytest.mark.parametrize("with_others", [False, True])
async def test_finishing_alone(*, with_others: bool, tmp_path: Path) -> None:
    """With `finish: 30s` an upstream whose callers have all left goes on, and its answer is kept."""
    gate = asyncio.Event()
    async with (
        FakeOpenAI(Act(gate=gate, after=3)) as fake,
        gateway(tmp_path, policy(fake.url, "finish: 30s")) as g,
    ):
        async with led(g, fake, stream=True) as leader:
            other = await call(g, stream=True) if with_others else None
            await until_they_are(g, int(with_others))
            leader.leave()
            if other is not None:
                other.leave()
            await until_they_are(g, 0)
            await asyncio.sleep(0.02)
            assert fake.left == []
            gate.set()
        assert {trace.status for trace in await records(g, 1 + with_others)} == {499}
        kept = parts(await (await call(g)).answer())[1]
        assert (kept["x-cache"], kept["x-sluice-tokens-saved"], len(fake.requests)) == ("HIT", "17", 1)


async def test_finishing_has_a_limit(tmp_path: Path) -> None:
    """An upstream that is left alone is cancelled when the time of `finish` is over; not while others wait."""
    async with (
        FakeOpenAI(Act(gate=asyncio.Event(), after=3)) as fake,
        gateway(tmp_path, policy(fake.url, "finish: 50ms")) as g,
        led(g, fake, stream=True) as leader,
    ):
        other = await call(g, stream=True)
        await until_they_are(g, 1)
        leader.leave()
        await asyncio.sleep(0.15)
        assert fake.left == []
        other.leave()
        await fake.until(left=1)


async def test_one_that_never_reads(tmp_path: Path) -> None:
    """A client that reads nothing, first or not, holds nobody up; a long answer reaches the others whole."""
    long = orjson.dumps({"model": "m", "choices": [{"index": 0, "delta": {"content": "x" * 100_000}}]})
    many = Act("odd_event", after=1, body=b"\n\ndata: ".join([long] * 40))
    for lazy_leads in (True, False):
        folder = tmp_path / str(lazy_leads)
        folder.mkdir()
        async with FakeOpenAI(many) as fake, gateway(folder, policy(fake.url)) as g:
            lazy, eager = [
                await call(g, stream=True, buffer=size) for size in ((4096, 0) if lazy_leads else (0, 4096))
            ][:: 1 if lazy_leads else -1]
            assert len(said(await eager.answer())) == 4_000_000 + len(TEXT)
            assert len(fake.requests) == 1
            lazy.leave()


# What goes wrong


@pytest.mark.parametrize("stream", [False, True])
async def test_the_upstream_fails(*, stream: bool, tmp_path: Path) -> None:
    """When the upstream fails before its answer, all get the same error, from one upstream call."""
    gate = asyncio.Event()
    failing = Act("status", status=503, body=b'{"error": {"message": "too much"}}', gate=gate)
    async with FakeOpenAI(always=failing) as fake, gateway(tmp_path, policy(fake.url)) as g:
        async with led(g, fake, stream=stream) as leader:
            clients = [leader, *[await call(g, stream=at % 2 == 0) for at in range(10)]]
            await until_they_are(g, 10)
            gate.set()
            told = {parts(await client.answer())[::2] for client in clients}
        ((status, body),) = told
        assert (status, orjson.loads(body)["error"]["message"]) == (503, "Upstream 'up' answered 503: too much.")
        assert len(fake.requests) == 1
        check_all_left(g)


async def test_the_callers_own_fault(tmp_path: Path) -> None:
    """What the upstream says is the caller's fault is told to all equal callers alike."""
    gate = asyncio.Event()
    refusing = Act("status", status=400, body=b'{"error": {"message": "no such thing"}}', gate=gate)
    async with FakeOpenAI(always=refusing) as fake, gateway(tmp_path, policy(fake.url)) as g:
        async with led(g, fake) as leader:
            clients = [leader, *[await call(g, stream=at % 2 == 0) for at in range(4)]]
            await until_they_are(g, 4)
            gate.set()
            ((status, body),) = {parts(await client.answer())[::2] for client in clients}
        assert (status, orjson.loads(body)["error"]["message"], len(fake.requests)) == (400, "no such thing", 1)


@pytest.mark.parametrize("kind", ["cut", "error_event", "half_chunk"])
async def test_the_upstream_fails_in_the_middle(kind: str, tmp_path: Path) -> None:
    """When a stream breaks off all who read it get one error event and no `[DONE]`; a plain caller, who was told
    nothing yet, gets a whole answer from one new upstream call."""
    gate = asyncio.Event()
    broken = Act(kind, after=3, body=b'{"error": {"message": "out"}}', gate=gate)
    async with FakeOpenAI(broken) as fake, gateway(tmp_path, policy(fake.url)) as g:
        async with led(g, fake, stream=True) as leader:
            streams = [leader, await call(g, stream=True), await call(g, stream=True)]
            plain = await call(g)
            await until_they_are(g, 3)
            gate.set()
            for client in streams:
                answer = await client.answer()
                assert (len(errors(answer)), "[DONE]" in events(answer)) == (1, False)
            status, headers, body = parts(await plain.answer())
            assert (status, headers["x-cache"]) == (200, "MISS")
            assert orjson.loads(body)["choices"][0]["message"]["content"]
        assert len(fake.requests) == 2
        outcomes = sorted(trace.outcome for trace in await records(g, 4))
        assert outcomes[0] == "ok"
        assert all(outcome.startswith("upstream_") for outcome in outcomes[1:])
        check_all_left(g)


async def test_equal_calls_with_a_deadline_of_their_own(tmp_path: Path) -> None:
    """Twenty equal calls whose clients all set the same deadline are one upstream call."""
    gate = asyncio.Event()
    async with FakeOpenAI(always=Act(gate=gate, body=document())) as fake, gateway(tmp_path, policy(fake.url)) as g:
        hurry = "x-request-timeout: 30\r\n"
        async with led(g, fake, headers=hurry) as leader:
            clients = [leader, *[await call(g, headers=hurry) for _ in range(19)]]
            await until_they_are(g, 19)
            gate.set()
            assert {parts(await client.answer())[2] for client in clients} == {document()}
        assert len(fake.requests) == 1


async def test_a_first_caller_with_little_time(tmp_path: Path) -> None:
    """A first caller whose own time is short does not end the others' answer: they never wait for it."""
    gate = asyncio.Event()
    async with FakeOpenAI(always=Act(gate=gate, body=document())) as fake, gateway(tmp_path, policy(fake.url)) as g:
        async with led(g, fake, headers="x-request-timeout: 0.05\r\n") as hurried:
            clients = [await call(g) for _ in range(3)]
            await until_they_are(g, 2)
            assert parts(await hurried.answer())[0] == 504
            gate.set()
            assert {parts(await client.answer())[2] for client in clients} == {document()}
        assert len(fake.requests) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_later_caller_with_little_time(*, stream: bool, tmp_path: Path) -> None:
    """A caller whose own time is over while it waits gets a 504; the others go on."""
    gate = asyncio.Event()
    act = Act(gate=gate, body=b"" if stream else document())
    async with FakeOpenAI(act) as fake, gateway(tmp_path, policy(fake.url)) as g:
        async with led(g, fake, stream=stream) as leader:
            hurried = await call(g, headers="x-request-timeout: 0.05\r\n", stream=stream)
            patient = await call(g, stream=stream)
            status, _, body = parts(await hurried.answer())
            assert (status, orjson.loads(body)["error"]["code"]) == (504, "deadline_exceeded")
            gate.set()
            assert parts(await patient.answer())[2] == parts(await leader.answer())[2]
        assert len(fake.requests) == 1


async def test_little_time_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    """A caller whose own time is over in the middle of a shared stream gets an error event; the others go on."""
    gate = asyncio.Event()
    async with (
        FakeOpenAI(Act(gate=gate, after=3)) as fake,
        gateway(tmp_path, policy(fake.url)) as g,
        led(g, fake, stream=True) as leader,
    ):
        hurried = await call(g, headers="x-request-timeout: 0.05\r\n", stream=True)
        answer = await hurried.answer()
        assert [error["code"] for error in errors(answer)] == ["upstream_deadline"]
        gate.set()
        assert said(await leader.answer()) == TEXT


async def test_a_leader_that_runs_out_of_time_is_replaced(tmp_path: Path) -> None:
    """When the rule's own time ends a first call before its answer has begun, one of those who wait asks again."""
    gate = asyncio.Event()
    text = policy("URL").replace("name: r,", "name: r, timeouts: {total: 300ms},")
    async with FakeOpenAI(Act("blackhole"), PLAIN) as fake, gateway(tmp_path, text.replace("URL", fake.url)) as g:
        async with led(g, fake) as leader:
            await asyncio.sleep(0.15)
            clients = [await call(g) for _ in range(3)]
            await until_they_are(g, 3)
            assert parts(await leader.answer())[0] == 504
            assert {parts(await client.answer())[2] for client in clients} == {document()}
        assert len(fake.requests) == 2
        gate.set()


async def test_a_reload_in_the_middle(tmp_path: Path) -> None:
    """Calls before and after an edit that changes nothing for them share one answer."""
    gate = asyncio.Event()
    async with FakeOpenAI(Act(gate=gate, body=document())) as fake, gateway(tmp_path, policy(fake.url)) as g:
        async with led(g, fake) as leader:
            await g.reload("# nothing\n" + policy(fake.url))
            other = await call(g)
            await until_they_are(g, 1)
            gate.set()
            assert parts(await other.answer())[2] == parts(await leader.answer())[2]
        assert len(fake.requests) == 1


def test_what_the_fake_says() -> None:
    """The text that these tests expect is the fake's."""
    assert "".join(WORDS) == TEXT
