"""The listener: hostile and slow bytes, pipelining, and connections that must stay usable."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from gateway.listener import MAX_HEADER_BYTES, Listener
from tests.fakes.openai import Act, FakeOpenAI
from tests.fakes.stand import MESSAGES, gateway

POLICY = "upstreams:\n  up: {{url: '{url}'}}\nmodels:\n  m: {{targets: [{{upstream: up}}]}}\n"
BODY = orjson.dumps({"model": "m", "messages": MESSAGES})


class Hasty(Listener):
    """A listener without patience."""

    header_seconds = 0.2
    body_seconds = 0.2


def head(*lines: str, length: int | None = len(BODY), method: str = "POST") -> bytes:
    """The head of a call."""
    first = [f"{method} /v1/chat/completions HTTP/1.1", "host: localhost", "content-type: application/json"]
    size = [] if length is None else [f"content-length: {length}"]
    return "\r\n".join([*first, *size, *lines, "", ""]).encode()


BAD = {
    "no HTTP": (b"hello\r\n\r\n", 400),
    "TLS": (bytes.fromhex("16030100f0010000ec0303") + b"\0" * 100, 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a NUL in a header": (head("x: a\0b"), 400),
    "a header without a colon": (head("nonsense"), 400),
    "two lengths": (head("content-length: 5"), 400),
    "a length that is none": (head("content-length: x", length=None), 400),
    "a length below zero": (head("content-length: -1", length=None), 400),
    "a length and chunks": (head("transfer-encoding: chunked"), 400),
    "a chunk size that is none": (head("transfer-encoding: chunked", length=None) + b"zz\r\n", 400),
    "one huge header": (head("x: " + "y" * (MAX_HEADER_BYTES + 300_000)), 431),
    "many headers": (head(*(f"x-{n}: {'y' * 100}" for n in range(8000))), 431),
    "an endless path": (b"GET /" + b"a" * 600_000 + b" HTTP/1.1\r\n\r\n", 431),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_bytes(name: str, tmp_path: Path) -> None:
    """What is no HTTP, or too much of it, is refused in the envelope and the connection closed; others are served."""
    data, status = BAD[name]
    async with FakeOpenAI() as fake, gateway(tmp_path, POLICY.format(url=fake.url)) as g:
        got = await g.raw(data)
        assert (await g.chat()).status_code == 200
    assert got.startswith(b"HTTP/1.1 %d" % status)
    assert set(orjson.loads(got.partition(b"\r\n\r\n")[2])["error"]) == {"message", "type", "param", "code"}
    assert len(fake.requests) == 1


@pytest.mark.parametrize("target", ["OPTIONS *", "CONNECT evil:80", "GET http://evil.example"])
async def test_odd_targets(target: str, tmp_path: Path) -> None:
    """Requests for no path are refused, not failed on."""
    data = f"{target} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
    async with FakeOpenAI() as fake, gateway(tmp_path, POLICY.format(url=fake.url)) as g:
        got = await g.raw(data)
        assert (await g.chat()).status_code == 200
    assert got[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 405")


async def test_slow_headers(tmp_path: Path) -> None:
    """Headers that do not end in time are answered 408."""
    async with FakeOpenAI() as fake, gateway(tmp_path, POLICY.format(url=fake.url), listener=Hasty) as g:
        reader, writer = await asyncio.open_connection("127.0.0.1", g.port)
        for byte in head()[:10]:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.001)
        got = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert got.startswith(b"HTTP/1.1 408")
        assert (await g.chat()).status_code == 200


async def test_slow_body(tmp_path: Path) -> None:
    """A body that does not end in time is answered 408, recorded, and costs nothing more."""
    async with FakeOpenAI() as fake, gateway(tmp_path, POLICY.format(url=fake.url), listener=Hasty) as g:
        reader, writer = await asyncio.open_connection("127.0.0.1", g.port)
        writer.write(head() + BODY[:10])
        got = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        trace = await g.journal.next()
        assert got.startswith(b"HTTP/1.1 408")
        assert b"request_timeout" in got
        assert (trace.status, trace.outcome) == (408, "request_timeout")
        assert g.runtime.calls == 0
        assert not fake.requests


async def test_silent_connection(tmp_path: Path) -> None:
    """A connection that never says a word is closed."""
    async with gateway(tmp_path, POLICY.format(url="http://127.0.0.1:9"), listener=Hasty) as g:
        reader, writer = await asyncio.open_connection("127.0.0.1", g.port)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_patience_is_for_requests_only(tmp_path: Path) -> None:
    """A kept connection may rest between calls, and an answer may take longer than a request."""
    async with (
        FakeOpenAI(always=Act(pace=0.03)) as fake,
        gateway(tmp_path, POLICY.format(url=fake.url), listener=Hasty) as g,
    ):
        for _ in range(2):
            assert (await g.chat(stream=True)).text.endswith("[DONE]\n\n")
            await asyncio.sleep(0.25)


async def test_request_in_small_pieces(tmp_path: Path) -> None:
    """A request that comes in small pieces is as good as one that comes whole."""
    async with FakeOpenAI() as fake, gateway(tmp_path, POLICY.format(url=fake.url)) as g:
        reader, writer = await asyncio.open_connection("127.0.0.1", g.port)
        whole = head() + BODY
        for at in range(0, len(whole), 7):
            writer.write(whole[at : at + 7])
            await asyncio.sleep(0)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()
        assert fake.requests[0].body == BODY


async def test_pipelining(tmp_path: Path) -> None:
    """Requests sent without waiting are answered in order, each with its own answer."""
    async with FakeOpenAI() as fake, gateway(tmp_path, POLICY.format(url=fake.url)) as g:
        last = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        got = await g.raw((head() + BODY) * 3 + last)
    assert got.count(b"HTTP/1.1 200") == 4
    assert got.endswith(b'{"status":"alive"}')
    assert len(fake.requests) == 3


async def test_expect_continue(tmp_path: Path) -> None:
    """A client that asks before it sends its body is told to go on."""
    async with FakeOpenAI() as fake, gateway(tmp_path, POLICY.format(url=fake.url)) as g:
        reader, writer = await asyncio.open_connection("127.0.0.1", g.port)
        writer.write(head("expect: 100-continue"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        writer.write(BODY)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_unread_body_does_not_spoil_the_next_call(tmp_path: Path) -> None:
    """When a call is refused before its body was read, the next call on the connection is served."""
    wrong = b"POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: 300000\r\n\r\n" + b"x" * 300_000
    async with FakeOpenAI() as fake, gateway(tmp_path, POLICY.format(url=fake.url)) as g:
        got = await g.raw(wrong + head("connection: close") + BODY)
    assert got.startswith(b"HTTP/1.1 404")
    assert b"HTTP/1.1 200" in got


async def test_offer_of_an_upgrade(tmp_path: Path) -> None:
    """A client that offers HTTP/2 beside its request, as Java's does, is served as it asks."""
    offer = (
        "connection: Upgrade, HTTP2-Settings",
        "upgrade: h2c",
        "http2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    )
    async with FakeOpenAI() as fake, gateway(tmp_path, POLICY.format(url=fake.url)) as g:
        got = await g.raw(head(*offer) + BODY)
    assert got.startswith(b"HTTP/1.1 200")


async def test_http_1_0(tmp_path: Path) -> None:
    """An HTTP/1.0 client is served, and its connection closed at the end."""
    async with FakeOpenAI() as fake, gateway(tmp_path, POLICY.format(url=fake.url)) as g:
        got = await g.raw(head().replace(b"HTTP/1.1", b"HTTP/1.0") + BODY)
    assert got.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in got


async def test_wishes_on_two_lines(tmp_path: Path) -> None:
    """`Cache-Control` on two lines is one list (RFC 9110, 5.3): a later line takes nothing back."""
    body = orjson.dumps({"model": "m", "messages": MESSAGES, "temperature": 0})
    lines = ("cache-control: no-cache", "cache-control: max-age=100")
    async with FakeOpenAI() as fake, gateway(tmp_path, POLICY.format(url=fake.url)) as g:
        for _ in range(2):
            got = await g.raw(head(*lines, length=len(body)) + body)
            assert b"x-cache: MISS" in got
    assert len(fake.requests) == 2
