"""Tests of the static upstream over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest

from benchmarks.bodies import CUT_AFTER, STAMP, Kind, completion, request_body
from benchmarks.upstream import Answers, Tally, Upstream


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of a static upstream that lives as long as the test."""
    loop = asyncio.get_running_loop()
    answers, tally = Answers(), Tally()
    server = await loop.create_server(lambda: Upstream(answers, tally, loop), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield client


def _ask(client: httpx.AsyncClient, kind: Kind, **more: object) -> httpx.Request:
    body = orjson.loads(request_body(kind, "1.7k").numbered(1)) | more
    return client.build_request("POST", "/v1/chat/completions", json=body)


async def test_plain(client: httpx.AsyncClient) -> None:
    """A plain call gets the prepared chat completion."""
    answer = await client.send(_ask(client, "plain"))
    assert answer.status_code == 200
    assert answer.content == completion()


async def test_burst(client: httpx.AsyncClient) -> None:
    """A stream ends with [DONE] after 66 chunks."""
    answer = await client.send(_ask(client, "burst"))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.count("data: ") == 67
    assert answer.text.endswith("data: [DONE]\n\n")


async def test_whole_is_the_same_stream_with_its_length(client: httpx.AsyncClient) -> None:
    """The events of a burst, as one body of declared length."""
    whole, burst = await client.send(_ask(client, "whole")), await client.send(_ask(client, "burst"))
    assert whole.content == burst.content
    assert int(whole.headers["content-length"]) == len(burst.content)


@pytest.mark.parametrize("kind", ["burst", "whole"])
async def test_usage_comes_if_asked_for(client: httpx.AsyncClient, kind: Kind) -> None:
    """`stream_options.include_usage` adds one event with the usage, as engines do."""
    answer = await client.send(_ask(client, kind, stream_options={"include_usage": True}))
    assert answer.text.count("data: ") == 68
    assert '"usage":{' in answer.text


async def test_paced_chunks_carry_rising_times(client: httpx.AsyncClient) -> None:
    """Chunks of a paced stream come one by one, each with the time at which it was sent."""
    answer = await client.send(_ask(client, "paced"))
    stamps = [int(stamp) for stamp in STAMP.findall(answer.content)]
    assert len(stamps) == 65
    assert stamps == sorted(stamps)
    assert stamps[-1] - stamps[0] > 1_000_000_000


async def test_cut_ends_without_an_end(client: httpx.AsyncClient) -> None:
    """A cut stream breaks off after ten chunks, and an honest client notices."""
    response = await client.send(_ask(client, "cut"), stream=True)
    got, broken = await _read(response)
    assert broken
    assert got.count(b"data: ") == CUT_AFTER


async def _read(response: httpx.Response) -> tuple[bytes, bool]:
    """Read what comes, and say whether it broke off."""
    got = b""
    try:
        async for part in response.aiter_bytes():
            got += part
    except httpx.RemoteProtocolError:
        return got, True
    return got, False


async def test_error_and_garbage(client: httpx.AsyncClient) -> None:
    """An error is a 500 with OpenAI's envelope; garbage is a 200 that is no JSON."""
    error = await client.send(_ask(client, "error"))
    assert (error.status_code, error.json()["error"]["type"]) == (500, "server_error")
    garbage = await client.send(_ask(client, "garbage"))
    assert (garbage.status_code, garbage.text[:6]) == (200, "<html>")


async def test_stats_count_the_calls_that_nobody_waits_for(client: httpx.AsyncClient) -> None:
    """A call that hangs is counted while its client waits, and no longer when it has left."""
    waiting = asyncio.create_task(client.send(_ask(client, "hang")))
    assert await _busy(client, 1) == 1
    waiting.cancel()
    assert await _busy(client, 0) == 0


async def test_stats_count_the_calls_that_came(client: httpx.AsyncClient) -> None:
    """Every call counts once, whatever its answer; probes and `/stats` itself do not."""
    await client.get("/health")
    await client.send(_ask(client, "plain"))
    await client.send(_ask(client, "error"))
    assert (await client.get("/stats")).json()["calls"] == 2


async def _busy(client: httpx.AsyncClient, wanted: int) -> int:
    """Ask for the calls under way until there are as many as wanted, or often enough."""
    for _ in range(1_000):
        busy: int = (await client.get("/stats")).json()["busy"]
        if busy == wanted:
            break
    return busy


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/get_model_info", "/get_server_info", "/server_info"])
async def test_pages_that_routers_ask_for(client: httpx.AsyncClient, path: str) -> None:
    """What routers probe before they send calls is answered with JSON."""
    answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.json()


async def test_unknown_page(client: httpx.AsyncClient) -> None:
    """Another page does not exist."""
    assert (await client.get("/other")).status_code == 404
