"""One request to a provider, seen from the wire."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.upstreams.providers.exchange import MAX_ANSWER_BYTES, MAX_EVENT_BYTES, Exchange, Patience

REQUEST = httpx.Request("POST", "http://provider/v1")


def nothing() -> None:
    """Hear nothing."""


def exchange_with(answer: httpx.Response | Exception) -> Exchange:
    """An exchange whose server gives this answer."""

    def answers(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Exchange(httpx.MockTransport(answers), 1.0, nothing)


async def test_second_request_is_refused() -> None:
    """The library's repetition of a POST goes nowhere."""
    exchange = exchange_with(httpx.Response(200))
    await exchange.handle_async_request(REQUEST)
    with pytest.raises(httpx.ReadError):
        await exchange.handle_async_request(REQUEST)


TLS = httpx.ConnectError("no")
TLS.__cause__ = ssl.SSLError("certificate verify failed")


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (httpx.ConnectError("refused"), "connect"),
        (httpx.ConnectTimeout("slow"), "connect"),
        (httpx.PoolTimeout("full"), "connect"),
        (TLS, "tls"),
        (httpx.RemoteProtocolError("Server disconnected without sending a response."), "cut"),
        (httpx.RemoteProtocolError("illegal status line"), "garbage"),
        (httpx.ReadError("reset"), "cut"),
    ],
)
async def test_faults_are_named_and_never_retried(error: httpx.TransportError, fault: str) -> None:
    """Every fault of the wire has a name, and reaches the library as the error that it does not retry."""
    exchange = exchange_with(error)
    with pytest.raises(httpx.ReadError):
        await exchange.handle_async_request(REQUEST)
    assert exchange.fault == fault


@pytest.mark.parametrize(
    ("kind", "limit"), [("application/json", MAX_ANSWER_BYTES), ("text/event-stream; charset=utf-8", MAX_EVENT_BYTES)]
)
async def test_answers_without_end_are_garbage(kind: str, limit: int) -> None:
    """A document, or one line of a stream, that does not end is given up."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * (1024 * 1024)

    exchange = exchange_with(httpx.Response(200, headers={"content-type": kind}, content=endless()))
    response = await exchange.handle_async_request(REQUEST)
    with pytest.raises(httpx.ReadError):
        await response.aread()
    assert exchange.fault == "garbage"
    assert limit < exchange.got <= limit + 2 * 1024 * 1024


async def test_silence_is_timed_from_the_last_byte() -> None:
    """Before the answer begins only the first limit counts; then each byte starts the idle clock anew."""
    now = asyncio.get_running_loop().time
    patience = Patience(first=100, idle=5, deadline=now() + 1000)
    async with patience.wait() as limit:
        before = limit.when()
        patience.heard()
        assert limit.when() == before
    patience.begin()
    async with patience.wait() as limit:
        first = limit.when()
        await asyncio.sleep(0.01)
        patience.heard()
        assert first is not None
        assert limit.when() is not None
        assert first < (limit.when() or 0) < now() + 6


async def test_deadline_of_the_call_comes_first() -> None:
    """No limit of the upstream outlasts the call's own deadline, and the fault says which it was."""
    patience = Patience(first=100, idle=100, deadline=asyncio.get_running_loop().time())
    with pytest.raises(TimeoutError):
        async with patience.wait():
            await asyncio.Event().wait()
    assert patience.ran_out
    assert patience.fault == "deadline"
