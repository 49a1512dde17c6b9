"""The HTTP client of the hot path: kept connections, limits, deadlines, aborts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.connection import HIGH_WATER, Patience, TransportFault
from gateway.upstreams.http import Origin, Pool
from tests.fakes.openai import Act, FakeOpenAI, unused_port

BODY = b'{"model": "m"}'
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(BODY)


def patience(connect: float = 2, first_byte: float = 5, idle: float = 5, total: float = 30) -> Patience:
    """How long to wait."""
    return Patience(connect, first_byte, idle, asyncio.get_running_loop().time() + total)


def pool_of(url: str, **options: Any) -> Pool:
    """A pool for this server."""
    return Pool(Origin.parse(url), **options)


async def read(pool: Pool, head: bytes = HEAD, body: bytes = BODY) -> bytes:
    """One whole exchange."""
    return await (await pool.request(head, body, patience())).read(1 << 26)


@asynccontextmanager
async def raw_server(
    meet: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server that does what the test says."""
    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


async def test_connections_are_kept() -> None:
    """One connection serves one call after another; calls at the same time get their own."""
    async with FakeOpenAI() as fake:
        pool = pool_of(fake.url)
        for _ in range(5):
            assert b"choices" in await read(pool)
        assert fake.connections == 1
        await asyncio.gather(*(read(pool) for _ in range(4)))
        assert fake.connections <= 4
        assert pool.open_connections == fake.connections
        pool.close()
        await fake.until(open_at_most=0)
        assert pool.open_connections == 0


async def test_old_idle_connections_are_replaced() -> None:
    """A connection that rested too long is closed and another opened, even where only one is allowed."""
    async with FakeOpenAI() as fake:
        pool = pool_of(fake.url, limit=1, idle_seconds=0.05)
        await read(pool)
        await asyncio.sleep(0.1)
        await read(pool)
        assert fake.connections == 2
        pool.close()


async def test_the_limit_counts_connections_that_are_being_made() -> None:
    """However many calls come at once, there are never more connections than allowed."""
    async with FakeOpenAI(always=Act("stall")) as fake:
        pool = pool_of(fake.url, limit=3)
        answers = await asyncio.gather(
            *(pool.request(HEAD, BODY, patience()) for _ in range(10)), return_exceptions=True
        )
        faults = [answer.kind for answer in answers if isinstance(answer, TransportFault)]
        assert faults == ["busy"] * 7
        assert fake.connections == 3
        pool.close()


async def test_abort_is_seen_at_once() -> None:
    """An aborted answer closes its connection, and gives its place back."""
    async with FakeOpenAI(always=Act("stall")) as fake:
        pool = pool_of(fake.url)
        response = await pool.request(HEAD, BODY, patience())
        response.abort()
        response.abort()
        await fake.until(left=1)
        assert pool.open_connections == 0
        with pytest.raises(TransportFault, match="hung up"):
            await response.read(1 << 20)


async def test_cancelling_aborts() -> None:
    """A cancelled call closes its connection, before the headers as well."""
    async with FakeOpenAI(always=Act("blackhole")) as fake:
        pool = pool_of(fake.url)
        task = asyncio.create_task(pool.request(HEAD, BODY, patience()))
        await fake.until(asked=1)
        task.cancel()
        await fake.until(left=1)
        assert pool.open_connections == 0


@pytest.mark.parametrize(
    ("act", "waits", "kind"),
    [
        (Act("blackhole"), {"first_byte": 0.05}, "timeout"),
        (Act("blackhole"), {"total": 0.05}, "deadline"),
        (Act("stall"), {"idle": 0.05}, "stall"),
        (Act("stall"), {"total": 0.1}, "deadline"),
        (Act("cut"), {}, "cut"),
        (Act("close"), {}, "cut"),
        (Act("endless_headers"), {}, "garbage"),
        (Act("raw", body=b"\x16\x03\x01 what"), {}, "garbage"),
        (Act("endless_headers", piece=5, pace=0.02), {"first_byte": 0.1}, "timeout"),
    ],
)
async def test_faults(act: Act, waits: dict[str, float], kind: str) -> None:
    """Every failure is a fault of its kind, and nothing is left open."""
    async with FakeOpenAI(always=act) as fake:
        pool = pool_of(fake.url)
        with pytest.raises(TransportFault) as told:
            await (await pool.request(HEAD, BODY, patience(**waits))).read(1 << 20)
        assert told.value.kind == kind
        await fake.until(open_at_most=0)
        assert pool.open_connections == 0


async def test_a_stall_is_told_by_its_own_patience() -> None:
    """However long the first byte may take, silence after it is a fault as soon as the idle wait has passed."""
    async with FakeOpenAI(always=Act("stall")) as fake:
        pool = pool_of(fake.url)
        response = await pool.request(HEAD, BODY, patience(first_byte=20, idle=0.1))
        with pytest.raises(TransportFault, match=r"nothing more for 0\.1 s"):
            await asyncio.wait_for(response.read(1 << 20), 10)


async def test_nobody_there() -> None:
    """A closed port and a name that does not exist are faults of connecting."""
    for url in (f"http://127.0.0.1:{unused_port()}/v1", "http://no-such-host.invalid/v1", f"http://{'a' * 70}.invalid"):
        with pytest.raises(TransportFault) as told:
            await pool_of(url).request(HEAD, BODY, patience())
        assert told.value.kind == "connect"


async def test_closed_as_soon_as_open() -> None:
    """A server that hangs up on every connection is a fault, never a crash."""

    async def meet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with raw_server(meet) as url:
        pool = pool_of(url)
        for _ in range(20):
            with pytest.raises(TransportFault):
                await pool.request(HEAD, BODY, patience())
        assert pool.open_connections == 0


async def test_a_cut_answer_is_not_asked_for_again() -> None:
    """When a kept connection breaks after part of an answer, nobody asks a second time behind the caller's back."""
    async with FakeOpenAI(Act(), Act("raw", body=b"HTTP/1.1 200 OK\r\ncontent-le")) as fake:
        pool = pool_of(fake.url)
        await read(pool)
        with pytest.raises(TransportFault) as told:
            await read(pool)
        assert told.value.kind == "cut"
        assert len(fake.requests) == 2
        pool.close()


async def test_a_late_close_is_a_failure() -> None:
    """A server that takes a request on a kept connection and dies over it is not asked again behind anyone's back."""
    async with FakeOpenAI(Act(), Act("raw", pace=1.2)) as fake:
        pool = pool_of(fake.url)
        await read(pool)
        with pytest.raises(TransportFault) as told:
            await read(pool)
        assert (told.value.kind, len(fake.requests)) == ("cut", 2)
        pool.close()


async def test_too_long_an_answer() -> None:
    """An answer over its limit is a fault, not a full memory."""
    async with FakeOpenAI(always=Act(body=b"x" * 5000)) as fake:
        pool = pool_of(fake.url)
        response = await pool.request(HEAD, BODY, patience())
        with pytest.raises(TransportFault, match="over 1000 bytes"):
            await response.read(1000)
        pool.close()


async def test_interim_answers_are_passed_over() -> None:
    """A 100 or a 103 before the answer is not the answer."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    act = Act("raw", body=interim + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    async with FakeOpenAI(always=act) as fake:
        assert await read(pool_of(fake.url)) == b"ok"


async def test_an_answer_that_ends_with_its_connection() -> None:
    """An answer without a length ends when the server closes."""
    act = Act("raw", body=b"HTTP/1.0 200 OK\r\n\r\nall of it")
    async with FakeOpenAI(always=act) as fake:
        assert await read(pool_of(fake.url)) == b"all of it"


async def test_chunks_and_trailers() -> None:
    """A chunked answer is put together; what comes after it is not part of it."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    act = Act("raw", body=head + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx-trailer: 1\r\n\r\n")
    async with FakeOpenAI(always=act) as fake:
        pool = pool_of(fake.url)
        response = await pool.request(HEAD, BODY, patience())
        assert await response.read(100) == b"abcde"
        assert "x-trailer" not in response.headers


async def test_reading_pauses() -> None:
    """When nobody reads an answer, the server is held back at the high-water mark; then everything comes."""
    big = b"x" * (16 * HIGH_WATER)
    async with FakeOpenAI(always=Act(body=big)) as fake:
        pool = pool_of(fake.url)
        response = await pool.request(HEAD, BODY, patience(idle=0.2))
        await asyncio.sleep(0.5)
        assert response._size < 4 * HIGH_WATER
        assert await response.read(len(big)) == big
        pool.close()


async def test_closing_the_pool_ends_what_is_under_way() -> None:
    """A closed pool has no connections, and makes none."""
    async with FakeOpenAI(always=Act("blackhole")) as fake:
        pool = pool_of(fake.url)
        task = asyncio.create_task(pool.request(HEAD, BODY, patience()))
        await fake.until(asked=1)
        pool.close()
        with pytest.raises(TransportFault):
            await task
        with pytest.raises(TransportFault):
            await pool.request(HEAD, BODY, patience())


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("http://a/v1", Origin(tls=False, host="a", port=80, path="/v1"), "a"),
        ("https://a", Origin(tls=True, host="a", port=443), "a"),
        ("http://a:8000/v1/", Origin(tls=False, host="a", port=8000, path="/v1"), "a:8000"),
        ("https://[::1]:8443/x/v1", Origin(tls=True, host="::1", port=8443, path="/x/v1"), "[::1]:8443"),
    ],
)
def test_origins(url: str, origin: Origin, authority: str) -> None:
    """A base URL says where to connect, and what the Host header says."""
    assert Origin.parse(url) == origin
    assert origin.authority == authority


@given(st.integers(1, 65535), st.sampled_from(["http", "https"]))
def test_authority_names_the_port_unless_it_is_the_usual(port: int, scheme: str) -> None:
    """The Host header names every port but the scheme's own."""
    usual = 443 if scheme == "https" else 80
    authority = Origin.parse(f"{scheme}://h:{port}/v1").authority
    assert authority == ("h" if port == usual else f"h:{port}")
