"""The OpenAI-compatible upstream by itself: what is read of a Retry-After, and what a stream may look like."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import ssl
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.call import Call, Caller, Target
from gateway.errors import GatewayError
from gateway.trace import Attempt, Trace, Usage
from gateway.upstreams.http import Origin, Pool
from gateway.upstreams.openai import LONGEST_REST, OpenAIUpstream, Wire, _retry_after
from gateway.upstreams.watch import StreamWatch, looks_right
from tests.fakes.openai import Act, FakeOpenAI, answer, unused_port

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 7 "}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "-1"}, 0),
        ({"retry-after-ms": "inf"}, LONGEST_REST),
        ({"retry-after-ms": "nan"}, None),
        ({"retry-after-ms": "soon"}, None),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30),
        ({"retry-after": "Tue, 14 Nov 2023 22:00:00 GMT"}, 0),
        ({"retry-after": "Tue, 14 Nov 9999 22:00:00 GMT"}, LONGEST_REST),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "9" * 500}, LONGEST_REST),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds and dates are read; what makes no sense is none, what is absurd is bounded."""
    assert _retry_after(headers, lambda: NOW) == seconds


@given(st.sampled_from(["retry-after", "retry-after-ms"]), st.text(max_size=40) | st.floats().map(str))
def test_retry_after_never_raises(name: str, value: str) -> None:
    """Whatever a server says, the wait is none, or finite and bearable."""
    seconds = _retry_after({name: value}, lambda: NOW)
    assert seconds is None or (0 <= seconds <= LONGEST_REST and math.isfinite(seconds))


@pytest.mark.parametrize(
    ("block", "right"),
    [
        (b"", True),
        (b'data: {"a": 1}\n\n', True),
        (b'data: {"a": 1}\n\ndata: {"b": 2}\n\n', True),
        (b'data: {"a": 1}\n\ndata: [DONE]\n\n', True),
        (b"data: [DONE]\n\n", True),
        (b"data: <html>\n\n", False),
        (b'data: {"a": \n\n', False),
        (b'data: {"a": 1}\n\ndata: nonsense\n\n', False),
        (b'data: {"a": 1}\n\ndata: [DONE]\n\ndata: {"b": 2}\n\n', False),
        (b'data: {"a": \n\ndata: [DONE]\n\n', False),
        (b'data: {"a": 1}\r\n\r\n', False),
        (b": comment\n\n", True),
    ],
)
def test_looks(block: bytes, *, right: bool) -> None:
    """What looks right needs no reading; everything else is read event by event."""
    assert looks_right(block, block.count(b"data:")) is right


def watched(*blocks: bytes, withhold: bool = False) -> tuple[StreamWatch, bytes]:
    """A watch that has seen these blocks, and what the client gets."""
    watch = StreamWatch(Attempt("u", "m", 0.0), withhold=withhold)
    return watch, b"".join(watch.see(block) for block in blocks)


def test_done_is_a_line_of_its_own() -> None:
    """A model that writes "[DONE]" has not ended its stream."""
    watch, _ = watched(b'data: {"choices":[{"delta":{"content":"[DONE]"}}]}\n\n')
    assert not watch.is_done
    assert watched(b"data: [DONE]\n\n")[0].is_done
    assert watched(b"data: [DONE]\r\n\r\n")[0].is_done
    assert watched(b'data: {"choices":[]}\n\ndata:[DONE]\n\n')[0].is_done


@pytest.mark.parametrize(
    "event",
    [
        b": ping\n\n",
        b"event: message\nid: 7\ndata: {}\n\n",
        b"retry: 100\n\n",
        b"data: {}\r\n\r\n",
        b"data:{}\n\n",
        b"\n\n",
        b'data: {"t": "\\ud83d", "error": null}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\"error\\": {"}}]}\n\n',
    ],
)
def test_unusual_events_pass(event: bytes) -> None:
    """Comments, ids, other line ends and half characters are no faults, and pass as they are."""
    watch, got = watched(event)
    assert got == event
    assert watch.error is None


def test_events_before_a_broken_one_pass() -> None:
    """In a block that holds a broken event, what stands before it reaches the client."""
    watch, got = watched(b'data: {"a": 1}\n\ndata: {"b"\n\ndata: {"c": 3}\n\n')
    assert got == b'data: {"a": 1}\n\n'
    assert watch.error is not None
    assert watch.error[0] == "garbage"


def test_the_last_usage_counts() -> None:
    """Usage that is repeated is cumulative: the last one counts, never their sum."""
    watch, _ = watched(*(b'data: {"choices":[{}],"usage":{"completion_tokens":%d}}\n\n' % n for n in (1, 2, 3)))
    assert watch.attempt.usage is not None
    assert watch.attempt.usage.completion == 3


def test_only_the_usage_chunk_is_withheld() -> None:
    """Usage beside a choice is part of the answer; the chunk that is nothing else is withheld."""
    beside = b'data: {"choices":[{}],"usage":{"completion_tokens":1}}\n\n'
    alone = b'data: {"choices":[],"usage":{"completion_tokens":1}}\n\n'
    assert watched(beside, alone, withhold=True)[1] == beside
    assert watched(beside, alone)[1] == beside + alone


# What a call used, also where it failed

PROMPT = 64 // 4  # of the body of `ask`
GUESS = Usage(PROMPT, 0, estimated=True)
TOLD = Usage(11, 6, 4, 2)


def ask(endpoint: str = "chat", *, stream: bool = False, seconds: float = 30) -> Call:
    """A call whose body has 64 bytes."""
    body = {"model": "m", "stream": stream, "input": ""}
    body["input"] = "x" * (64 - len(json.dumps(body)))
    raw, now = json.dumps(body).encode(), asyncio.get_running_loop().time()
    return Call(endpoint, "m", raw, body, Caller("acme"), Trace("id", 0, now), now + seconds, (Target("u", "m"),))


async def attempt_at(url: str, call: Call, **settings: Any) -> Attempt:
    """The one attempt of a call at this server, read to its end."""
    origin = Origin.parse(url)
    pool = Pool(origin, tls=ssl.create_default_context())
    try:
        with suppress(GatewayError):
            reply = await OpenAIUpstream("u", Wire(origin, **settings), pool)(call)
            async for _ in reply.frames:
                pass
    finally:
        pool.close()
    (attempt,) = call.trace.attempts
    return attempt


def plain(**changes: Any) -> Act:
    """A plain answer that differs from the right one."""
    return Act("status", status=200, body=json.dumps({**answer("m"), **changes}).encode())


def chunk(**more: Any) -> Act:
    """A stream of one chunk."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    choices = [{"index": 0, "delta": {"content": "four"}}]
    return Act("raw", body=head + b"data: " + json.dumps({"choices": choices, "model": "m", **more}).encode() + b"\n\n")


@pytest.mark.parametrize(
    ("act", "usage"),
    [
        (plain(), TOLD),
        (plain(usage=None), Usage(PROMPT, 9, estimated=True)),
        (plain(usage={}), Usage(PROMPT, 9, estimated=True)),
        (
            plain(usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
            Usage(PROMPT, 9, estimated=True),
        ),
        (plain(usage={"prompt_tokens": -5, "completion_tokens": 10**30}), Usage(PROMPT, 9, estimated=True)),
        (plain(usage={"prompt_tokens": 11, "completion_tokens": 0, "total_tokens": 11}), Usage(11, 9, estimated=True)),
    ],
)
async def test_what_a_plain_answer_used(act: Act, usage: Usage) -> None:
    """An answer with words and no usage that can be believed is estimated; it is never a measured 0."""
    async with FakeOpenAI(always=act) as fake:
        attempt = await attempt_at(fake.url, ask())
    assert attempt.fault == ""
    assert attempt.usage == usage


async def test_what_an_embedding_used() -> None:
    """An embedding has no completion, and that is no gap in its usage."""
    async with FakeOpenAI() as fake:
        assert (await attempt_at(fake.url, ask("embeddings"))).usage == Usage(3)


@pytest.mark.parametrize(
    ("act", "stream", "fault", "usage"),
    [
        (plain(model="someone-else"), False, "wrong_model", TOLD),
        (plain(model="someone-else", usage=None), False, "wrong_model", Usage(PROMPT, 9, estimated=True)),
        (plain(error={"message": "oops"}), False, "error_in_200", TOLD),
        (plain(error={"message": "oops"}, usage=None), False, "error_in_200", None),
        (plain(choices=None), False, "garbage", TOLD),
        (plain(), True, "garbage", TOLD),
        (
            chunk(model="someone-else", usage={"prompt_tokens": 11, "completion_tokens": 1}),
            True,
            "wrong_model",
            Usage(11, 1),
        ),
        (chunk(model="someone-else"), True, "wrong_model", Usage(PROMPT, 1, estimated=True)),
        (chunk(error={"message": "oops"}, usage={"prompt_tokens": 11}), True, "error_in_200", Usage(11)),
        (Act("status", status=500, body=b"{}"), False, "http_500", None),
        (Act("status", status=429, body=b"{}"), True, "http_429", None),
    ],
)
async def test_what_a_refused_answer_used(act: Act, stream: bool, fault: str, usage: Usage | None) -> None:  # noqa: FBT001
    """An answer that is judged wrong was paid for all the same; an error was not."""
    async with FakeOpenAI(always=act) as fake:
        attempt = await attempt_at(fake.url, ask(stream=stream))
    assert (attempt.fault, attempt.usage) == (fault, usage)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("act", "seconds", "fault"),
    [
        (Act("blackhole"), 30, "timeout"),
        (Act("blackhole"), 0.05, "deadline"),
        (Act("close"), 30, "cut"),
    ],
)
async def test_what_an_unanswered_call_used(act: Act, seconds: float, fault: str, *, stream: bool) -> None:
    """A server that was asked and never answered has had the prompt: that much is estimated."""
    async with FakeOpenAI(always=act) as fake:
        attempt = await attempt_at(fake.url, ask(stream=stream, seconds=seconds), first_byte=0.1, answer=0.1)
    assert (attempt.fault, attempt.usage) == (fault, Usage(PROMPT, 0, estimated=True))


@pytest.mark.parametrize(("kind", "fault"), [("cut", "cut"), ("stall", "stall")])
async def test_what_half_an_answer_used(kind: str, fault: str) -> None:
    """What came of a plain answer before it broke off counts as well."""
    async with FakeOpenAI(always=Act(kind)) as fake:
        attempt = await attempt_at(fake.url, ask(), idle=0.1)
    assert attempt.fault == fault
    assert attempt.usage is not None
    assert attempt.usage.prompt == PROMPT
    assert attempt.usage.completion > 0
    assert attempt.usage.estimated


async def test_an_error_that_stalls_used_nothing() -> None:
    """A server that refuses and then falls silent has done no work."""
    head = b"HTTP/1.1 500 Oops\r\ncontent-length: 9\r\n\r\n{"
    async with FakeOpenAI(always=Act("raw", body=head, pace=30)) as fake:
        attempt = await attempt_at(fake.url, ask(), idle=0.1)
    assert attempt.usage is None


async def test_nobody_there_used_nothing() -> None:
    """Where no connection stood nothing was used, whatever ended the attempt."""
    refused = await attempt_at(f"http://127.0.0.1:{unused_port()}/v1", ask())
    assert (refused.fault, refused.usage) == ("connect", None)
    left = ask()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/v1"  # its handshake never ends
        late = await attempt_at(url, ask(seconds=0.05))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(attempt_at(url, left), 0.05)
    assert (late.fault, late.usage) == ("deadline", None)
    assert left.trace.attempts[0].usage is None


async def test_who_leaves_has_used_the_prompt() -> None:
    """A client that leaves while a server is at work has used what it asked."""
    async with FakeOpenAI(always=Act("blackhole")) as fake:
        call = ask()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(attempt_at(fake.url, call), 0.3)
    assert call.trace.attempts[0].usage == GUESS
