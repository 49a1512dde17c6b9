"""Equal calls over three gateways that share a Redis: one upstream call, whoever comes, leaves or dies meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from itertools import cycle
from time import monotonic

import pytest

from tests.fakes.counting import Counting, digest
from tests.live.callers import Answer, asking, call, chat, unheard
from tests.live.stage import eventually, gateways
from tests.running import Gateway, free_port

MANY = 1000
NOTICED = 8.0  # seconds after which a leader that died, or callers that all left, were noticed on any machine
MODES = {"plain": [False], "streamed": [True], "mixed": [False, True]}


@pytest.fixture(scope="module")
def upstream_port() -> int:
    """Where each test's upstream listens."""
    return free_port()


# Past its deadline a look into Redis is given up and a gateway asks for itself: right, and tested where Redis is ill.
# Here a machine that is busy with something else must not look like that.
PATIENT = "cache: {deadline: 1s}"


@pytest.fixture(scope="module")
def three(single_url: str, upstream_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Gateway]]:
    """Three gateways on one Redis."""
    folder = tmp_path_factory.mktemp("three")
    with gateways(folder, 3, upstream_port, "--redis-url", single_url, more=PATIENT) as running:
        yield running


@pytest.fixture
async def upstream(upstream_port: int) -> AsyncIterator[Counting]:
    """An upstream that counts."""
    async with Counting(upstream_port) as counting:
        yield counting


async def many(ports: list[int], question: str, modes: list[bool]) -> list[Answer]:
    """A thousand equal calls at once, spread over the ports and modes."""
    each = zip(cycle(ports), cycle(modes), range(MANY), strict=False)
    return await asyncio.gather(*(call(port, chat(question, stream=stream)) for port, stream, _ in each))


@pytest.mark.parametrize("modes", MODES.values(), ids=MODES)
async def test_a_thousand_equal_calls_are_one(three: list[Gateway], upstream: Counting, modes: list[bool]) -> None:
    """A thousand equal calls over three gateways are one upstream call, and all get its answer."""
    question = unheard()
    upstream.wait = 1.0
    answers = await many([gateway.port for gateway in three], question, modes)
    assert upstream.asked[question] == 1
    assert {answer.status for answer in answers} == {200}
    [text] = {answer.text for answer in answers}
    assert text.startswith(digest(question))
    assert all(answer.is_done for answer in answers if answer.headers["content-type"].startswith("text/event-stream"))
    sources = [answer.source for answer in answers]
    assert sources.count("MISS") == 1
    assert set(sources) <= {"MISS", "coalesced", "exact"}


async def test_hit_elsewhere(three: list[Gateway], upstream: Counting) -> None:
    """What one gateway answered, another answers from the cache, plain and streamed."""
    question = unheard()
    first = await call(three[0].port, chat(question))
    assert first.source == "MISS"
    await asyncio.sleep(0.5)  # it is written behind the call
    for other in three[1:]:
        for stream in (False, True):
            answer = await call(other.port, chat(question, stream=stream))
            assert (answer.headers["x-cache"], answer.source) == ("HIT", "exact")
            assert answer.text == first.text
            assert "age" in answer.headers
    assert upstream.asked[question] == 1


async def test_live_tail_elsewhere(three: list[Gateway], upstream: Counting) -> None:
    """Who joins late at another gateway gets what was said at once, then each word while the leader's call goes on."""
    question = unheard()
    upstream.words, upstream.pace = 20, 0.1
    async with asking(three[0].port, chat(question, stream=True)) as leading:
        await leading.until_said(b" w4")
        async with asking(three[1].port, chat(question, stream=True)) as joining:
            await joining.until_said(b" w4")
            assert b" w15" not in joining.answer.body
            late, first = await asyncio.gather(joining.whole(), leading.whole())
    assert (first.source, late.source) == ("MISS", "coalesced")
    assert late.events == first.events
    told = {piece.count(b"data:") for _, piece in late.pieces[1:]}
    assert max(told) < 8, "the tail came in lumps"
    assert late.pieces[0][0] < first.ended - 1.0
    assert abs(late.ended - first.ended) < 0.5
    assert upstream.asked[question] == 1


async def test_a_leader_that_reads_slowly(three: list[Gateway], upstream: Counting) -> None:
    """When the leading gateway's own client reads nothing of a long stream, those at others get it whole and soon."""
    question = unheard()
    upstream.words = 36_000  # some 6 MB, more than lies in sockets
    upstream.gate.clear()
    body = json.dumps(chat(question, stream=True)).encode()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", three[0].port))
    _, writer = await asyncio.open_connection(sock=sock, limit=4096)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
    writer.write(head.encode() + b"content-type: application/json\r\n\r\n" + body)
    await upstream.until_asked(question)
    other = asyncio.create_task(call(three[1].port, chat(question, stream=True)))
    await asyncio.sleep(0.3)
    upstream.gate.set()
    answer = await other
    writer.transport.abort()
    assert answer.is_done
    assert answer.source == "coalesced"
    assert answer.text.endswith(" w35999")
    assert upstream.asked[question] == 1


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_leaders_caller_leaves(three: list[Gateway], upstream: Counting, *, stream: bool) -> None:
    """When the leading gateway's own caller leaves, those at others get their whole answer all the same."""
    question = unheard()
    upstream.gate.clear()
    async with asking(three[0].port, chat(question, stream=stream)):
        await upstream.until_asked(question)
        others = [asyncio.create_task(call(other.port, chat(question, stream=stream))) for other in three[1:]]
        await asyncio.sleep(0.3)
    await asyncio.sleep(1.5)
    assert not upstream.left
    upstream.gate.set()
    answers = await asyncio.gather(*others)
    assert {answer.source for answer in answers} == {"coalesced"}
    assert {answer.status for answer in answers} == {200}
    assert upstream.asked[question] == 1


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_all_leave(three: list[Gateway], upstream: Counting, *, stream: bool) -> None:
    """When all callers at all gateways have left, the upstream call is cancelled soon."""
    question = unheard()
    if stream:
        upstream.words, upstream.pace = 600, 0.05
    else:
        upstream.gate.clear()
    async with asking(three[0].port, chat(question, stream=stream)) as leading:
        await upstream.until_asked(question)
        async with asking(three[1].port, chat(question, stream=stream)) as following:
            if stream:
                await asyncio.gather(leading.until_said(b" w1"), following.until_said(b" w1"))
            else:
                await asyncio.sleep(0.3)
            leading.leave()
            await asyncio.sleep(1.2)
            assert not upstream.left
    left = monotonic()
    await upstream.until(lambda: upstream.left == [question])
    assert monotonic() - left < NOTICED
    assert upstream.asked[question] == 1


async def test_leader_killed_before_its_first_byte(three: list[Gateway], upstream: Counting) -> None:
    """When the leading gateway dies before its first byte, one of the others takes over; none of their calls fails."""
    question = unheard()
    upstream.gate.clear()
    async with asking(three[0].port, chat(question)):
        await upstream.until_asked(question)
        modes = zip(cycle(three[1:]), cycle([False, False, True, True]), range(20), strict=False)
        others = [asyncio.create_task(call(each.port, chat(question, stream=stream))) for each, stream, _ in modes]
        await asyncio.sleep(0.3)
        three[0].signal_workers(signal.SIGKILL)
        killed = monotonic()
        await upstream.until_asked(question, 2)
        assert monotonic() - killed < NOTICED
        upstream.gate.set()
        answers = await asyncio.gather(*others)
    assert {answer.status for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert upstream.asked[question] == 2
    await eventually(three[0].is_alive)


async def test_leader_killed_in_the_middle(three: list[Gateway], upstream: Counting) -> None:
    """When it dies after the first byte of a stream, followers elsewhere get one error event and no end.

    Plain followers have been told nothing yet: they get a whole answer, from one new call.
    """
    question = unheard()
    upstream.words, upstream.pace = 40, 0.1
    async with asking(three[0].port, chat(question, stream=True)) as leading:
        await leading.until_said(b" w2")
        plain = [asyncio.create_task(call(three[2].port, chat(question))) for _ in range(3)]
        streamed = [asyncio.create_task(call(three[1].port, chat(question, stream=True))) for _ in range(3)]
        await asyncio.sleep(0.5)
        upstream.pace = 0.0
        three[0].signal_workers(signal.SIGKILL)
        cut = await asyncio.gather(*streamed)
        whole = await asyncio.gather(*plain)
    for answer in cut:
        assert len(answer.errors) == 1
        assert not answer.is_done
    assert {answer.status for answer in whole} == {200}
    assert all(answer.text.endswith(" w39") for answer in whole)
    assert upstream.asked[question] == 2
    await eventually(three[0].is_alive)


async def test_leader_stopped_beyond_its_lease(three: list[Gateway], upstream: Counting) -> None:
    """A leader that sleeps past its lease is replaced; when it wakes, nobody is told two answers and none is mixed."""
    question = unheard()
    upstream.gate.clear()
    async with asking(three[0].port, chat(question, stream=True)) as leading:
        await upstream.until_asked(question)
        other = asyncio.create_task(call(three[1].port, chat(question, stream=True)))
        await asyncio.sleep(0.3)
        three[0].signal_workers(signal.SIGSTOP)
        try:
            await upstream.until_asked(question, 2)
            upstream.gate.set()
            answer = await other
        finally:
            three[0].signal_workers(signal.SIGCONT)
        old = await leading.whole()
    for each in (answer, old):
        assert each.is_done
        assert not each.errors
    texts = {answer.text, old.text}
    assert len(texts) == 2
    await asyncio.sleep(0.5)
    later = [await call(each.port, chat(question, stream=stream)) for each in three for stream in (False, True)]
    assert {each.text for each in later} <= texts
    assert {each.headers["x-cache"] for each in later} == {"HIT"}
    assert upstream.asked[question] == 2


async def test_two_workers_of_one_gateway(
    single_url: str, upstream_port: int, upstream: Counting, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Equal calls over the workers of one gateway are one upstream call too."""
    folder = tmp_path_factory.mktemp("workers")
    options = ("--redis-url", single_url, "--workers", "2")
    running = gateways(folder, 1, upstream_port, *options)
    [one] = await asyncio.to_thread(running.__enter__)
    try:
        question = unheard()
        upstream.wait = 0.5
        answers = await asyncio.gather(*(call(one.port, chat(question, stream=i % 2 == 0)) for i in range(200)))
        assert {answer.status for answer in answers} == {200}
        assert len({answer.text for answer in answers}) == 1
        assert upstream.asked[question] == 1
        assert len(one.workers()) == 2
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)
