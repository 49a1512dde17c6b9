"""Golden answers of every provider, plain and streamed: what they used and cost, by hand.

`golden/NAME/` holds `answer.json` and `stream.sse` as the server sends them, and `expected.json`: the usage and the
price. The price is worked out once more below, so that one can see where it comes from.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from gateway import sse
from gateway.call import Call, Caller, Target
from gateway.money.price import price
from gateway.money.tariff import of_price
from gateway.trace import Attempt, Extra, Trace, Usage
from gateway.upstreams.http import Origin, Pool
from gateway.upstreams.openai import OpenAIUpstream, Wire
from gateway.upstreams.providers.upstream import ProviderUpstream, warm_up
from gateway.upstreams.watch import StreamWatch
from gateway.usage import usage_of
from policies.model import Upstream
from policies.money import Lines, Price

GOLDEN = Path(__file__).parent / "golden"
D = Decimal
GPT_5 = Price(
    input=1.25, cached_input=0.125, output=10, tiers={"flex": Lines(input=0.625, cached_input=0.0625, output=5)}
)
SONNET = Price(input=3, cached_input=0.3, cache_write=3.75, cache_write_1h=6, output=15)
GROK = Price(input=1.25, cached_input=0.2, output=2.5)
DEEPSEEK = Price(input=0.28, cached_input=0.028, output=0.42)
OWN = Price(input=0.08, cached_input=0.01, output=0.32)
# What each answer costs: the lines of its price (USD per million tokens), and the sum by hand (millionths of a USD).
PRICES: dict[str, tuple[Price, Decimal]] = {
    "anthropic": (SONNET, 25 * D(3) + 2000 * D("0.3") + 1000 * D("3.75") + 500 * D(6) + 215 * D(15)),
    "anthropic_compat": (SONNET, 150 * D(3) + 40 * D(15)),
    "azure": (Price(input=2.5, cached_input=1.25, output=10), 128 * D("2.5") + 1152 * D("1.25") + 64 * D(10)),
    "cohere": (Price(input=2.5, output=10), 500 * D("2.5") + 80 * D(10)),
    "deepseek": (DEEPSEEK, 8 * D("0.28") + 12 * D("0.028") + 7 * D("0.42")),
    "deepseek_old": (DEEPSEEK, 2000 * D("0.28") + 1000 * D("0.028") + 500 * D("0.42")),
    "fireworks": (
        Price(input=0.55, cached_input=0.11, output=2.19),
        77 * D("0.55") + 700 * D("0.11") + 111 * D("2.19"),
    ),
    "gemini": (
        Price(input=1.25, cached_input=0.125, output=10),
        200 * D("1.25") + 1000 * D("0.125") + (90 + 400) * D(10),
    ),
    "gemini_compat": (Price(input=1.25, output=10), 758 * D("1.25") + (1725 - 758) * D(10)),
    "groq_aside": (  # as it was before it knew `stream_options`
        Price(input=0.15, cached_input=0.075, output=0.6),
        86 * D("0.15") + 1920 * D("0.075") + 439 * D("0.6"),
    ),
    "groq": (
        Price(input=0.15, cached_input=0.075, output=0.6),
        86 * D("0.15") + 1920 * D("0.075") + 439 * D("0.6"),
    ),
    "llamacpp": (OWN, 1 * D("0.08") + 13 * D("0.01") + 326 * D("0.32")),
    "mistral": (Price(input=0.4, cached_input=0.04, output=2), 128 * D("0.4") + 512 * D("0.04") + 100 * D(2)),
    "moonshot": (
        Price(input=0.6, cached_input=0.15, output=2.5),
        108 * D("0.6") + 1792 * D("0.15") + 130 * D("2.5"),
    ),
    "ollama": (OWN, 26 * D("0.08") + 298 * D("0.32")),
    "openai": (GPT_5, 86 * D("1.25") + 1920 * D("0.125") + 300 * D(10)),
    "openai_audio": (
        Price(input=2.5, output=10, audio_input=40, audio_output=80),
        109 * D("2.5") + 110 * D(40) + 38 * D(10) + 160 * D(80),
    ),
    "openai_completions": (Price(input=1.5, output=2), 12 * D("1.5") + 7 * D(2)),
    "openai_embeddings": (Price(input=0.02), 812 * D("0.02")),
    "openai_flex": (GPT_5, 476 * D("0.625") + 1024 * D("0.0625") + 800 * D(5)),
    "openrouter": (SONNET, 40 * D(3) + 1000 * D("0.3") + 900 * D("3.75") + 60 * D(15)),
    # 30 tokens of citations and 4 searches (5 USD a thousand) are in the sum that Perplexity tells, and nowhere else.
    "perplexity": (
        Price(input=2, output=8, reasoning=3),
        10 * D(2) + 20 * D(8) + 50 * D(3) + 30 * D(2) + 4 * D(5000),
    ),
    "sglang": (OWN, 12 * D("0.08") + 288 * D("0.01") + 50 * D("0.32")),
    "tgi": (OWN, 21 * D("0.08") + 9 * D("0.32")),
    "together": (Price(input=0.88, output=0.88), (900 + 25) * D("0.88")),
    "vllm": (OWN, 300 * D("0.08") + 50 * D("0.32")),
    "vllm_details": (OWN, 44 * D("0.08") + 256 * D("0.01") + 50 * D("0.32")),
    "xai": (GROK, 9992 * D("1.25") + 128 * D("0.2") + (1499 + 2809) * D("2.5")),
    "xai_unpriced": (GROK, 9992 * D("1.25") + 128 * D("0.2") + (9 + 94) * D("2.5")),
}
NATIVE = ("anthropic", "gemini")  # of another format than OpenAI's: only through litellm
NAMES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
OPENAI = [name for name in NAMES if name not in NATIVE]
STREAMED = [name for name in OPENAI if (GOLDEN / name / "stream.sse").exists()]
# The providers of these that the library asks over our own connections, by their answers.
THROUGH_LITELLM = {
    "anthropic": "anthropic",
    "gemini": "gemini",
    "deepseek": "deepseek",
    "fireworks": "fireworks_ai",
    "groq": "groq",
    "mistral": "mistral",
    "openrouter": "openrouter",
    "together": "together_ai",
    "xai": "xai",
    "xai_unpriced": "xai",
}


def answer_of(name: str) -> dict[str, Any]:
    """The plain answer, parsed."""
    answer: dict[str, Any] = json.loads((GOLDEN / name / "answer.json").read_bytes())
    return answer


def stream_of(name: str) -> bytes:
    """The bytes of the streamed answer."""
    return (GOLDEN / name / "stream.sse").read_bytes()


def expected(name: str) -> tuple[Usage, Decimal]:
    """What the answer used, and its price in USD."""
    told = json.loads((GOLDEN / name / "expected.json").read_bytes())
    usd, extra = D(told.pop("usd")), told.pop("extra", None)
    return Usage(**told, extra=Extra(**extra) if extra is not None else None), usd


def cost(usage: Usage | None, lines: Price) -> float:
    """The gateway's price of it."""
    assert usage is not None
    uncached = usage.prompt - usage.cached
    usd = price(
        of_price(lines),
        uncached,
        usage.cached,
        usage.completion,
        0.0,
        reasoning=usage.reasoning,
        extra=usage.extra,
    )
    assert usd is not None
    return usd


def ask(name: str, model: str, *, stream: bool) -> Call:
    """One call as the layers above pass it down."""
    now = asyncio.get_running_loop().time()
    endpoint = {"openai_completions": "completions", "openai_embeddings": "embeddings"}.get(name, "chat")
    body = {"model": model, "messages": [{"role": "user", "content": "Count."}], "stream": stream}
    raw = json.dumps(body).encode()
    return Call(endpoint, model, raw, body, Caller("acme"), Trace("id", 0, now), now + 30, (Target("up", model),))


async def used(call: Call, upstream: OpenAIUpstream | ProviderUpstream) -> tuple[Usage | None, bytes]:
    """What the call used, and what the client got."""
    reply = await upstream(call)
    body = b"".join([frame async for frame in reply.frames])
    assert reply.status == 200
    (attempt,) = call.trace.attempts
    assert attempt.fault == ""
    return attempt.usage, body


@asynccontextmanager
async def serving(name: str, *, piece: int) -> AsyncIterator[OpenAIUpstream]:
    """An upstream whose server gives the golden answers, a stream in pieces of so many bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        body = json.loads(await reader.readexactly(int(head.split("content-length:")[1].split()[0])))
        if body.get("stream"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
            for part in pieces(stream_of(name), piece):
                writer.write(part)
                await asyncio.sleep(0)
        else:
            answer = (GOLDEN / name / "answer.json").read_bytes()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n")
            writer.write(b"content-length: %d\r\n\r\n%b" % (len(answer), answer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    origin = Origin.parse(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    pool = Pool(origin)
    try:
        yield OpenAIUpstream("up", Wire(origin), pool)
    finally:
        pool.close()
        server.close()


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """The bytes in pieces of a size."""
    return (data[at : at + size] for at in range(0, len(data), size))


class Recorded(httpx.AsyncBaseTransport):
    """A wire to a provider that gives the golden answers."""

    def __init__(self, name: str, *, stream: httpx.AsyncByteStream | None = None) -> None:
        self._name = name
        self._stream = stream or httpx.ByteStream(stream_of(name))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Give the stream if one was asked for."""
        wants_stream = "stream" in request.url.path.lower() or json.loads(request.content).get("stream")
        if wants_stream:
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=self._stream)
        return httpx.Response(200, json=answer_of(self._name))


class Broken(httpx.AsyncByteStream):
    """The beginning of an answer, and then the end of the connection."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give what there is."""
        yield self._data
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


def through_litellm(name: str) -> ProviderUpstream:
    """The provider whose answers these are, asked through litellm."""
    settings = Upstream(provider=THROUGH_LITELLM[name], key=SecretStr("sk-an-operators-secret"))
    return ProviderUpstream("up", settings, pool=Recorded(name))


def model_of(name: str) -> str:
    """The model that answers."""
    answer = answer_of(name)
    model: str = answer.get("model") or answer["modelVersion"]
    return model


def test_every_golden_answer_has_a_price() -> None:
    """No answer is left without its sum by hand, and the sum is the one on record."""
    assert sorted(PRICES) == NAMES
    for name, (_, millionths) in PRICES.items():
        assert millionths / 10**6 == expected(name)[1], name


@pytest.mark.parametrize("name", OPENAI)
async def test_plain(name: str) -> None:
    """A plain answer's usage is read rightly, and its price is the one reckoned by hand."""
    usage, usd = expected(name)
    async with serving(name, piece=1) as upstream:
        found, _ = await used(ask(name, model_of(name), stream=False), upstream)
    assert found == usage
    assert cost(found, PRICES[name][0]) == pytest.approx(float(usd), abs=1e-9)


@pytest.mark.parametrize("piece", [13, 100_000])
@pytest.mark.parametrize("name", STREAMED)
async def test_streamed(name: str, piece: int) -> None:
    """The same answer as a stream, in crumbs or at once, is the same usage at the same price."""
    usage, usd = expected(name)
    async with serving(name, piece=piece) as upstream:
        found, body = await used(ask(name, model_of(name), stream=True), upstream)
    assert found == usage
    assert cost(found, PRICES[name][0]) == pytest.approx(float(usd), abs=1e-9)
    assert body.endswith(sse.DONE)


@pytest.mark.parametrize("name", ["openrouter", "xai"])
def test_told_prices_are_the_reckoned_ones(name: str) -> None:
    """Where a server tells its price, the tokens alone come to the same one."""
    usage, usd = expected(name)
    assert usage.extra is not None
    silent = replace(usage, extra=replace(usage.extra, usd=None))
    assert cost(silent, PRICES[name][0]) == pytest.approx(float(usd), abs=1e-9)


@given(name=st.sampled_from(STREAMED), cuts=st.lists(st.floats(0, 1), max_size=12))
def test_cut_anywhere(name: str, cuts: list[float]) -> None:
    """Wherever the network cuts a stream, what is counted and what the client gets stay the same."""
    data = stream_of(name)
    edges = sorted({0, len(data), *(int(cut * len(data)) for cut in cuts)})
    watch, splitter = StreamWatch(Attempt("up", "m", 0.0), withhold=False), sse.EventSplitter()
    got = b"".join(watch.see(splitter.feed(data[a:b])) for a, b in pairwise(edges))
    assert got == data
    assert watch.attempt.usage == expected(name)[0]


@pytest.mark.parametrize("name", STREAMED)
def test_withheld_is_only_what_was_not_asked_for(name: str) -> None:
    """A client that did not ask for the usage misses the chunk that bears nothing else, and not a byte more."""
    kept = []
    for event in sse.events(stream_of(name)):
        chunk = sse.json_of(event)
        if chunk is None or chunk.get("choices") != [] or not chunk.get("usage"):
            kept.append(event)
    watch = StreamWatch(Attempt("up", "m", 0.0), withhold=True)
    assert watch.see(stream_of(name)) == b"".join(kept)


@pytest.mark.parametrize("name", ["gemini_compat", "vllm", "xai"])
def test_cumulative_usage_is_not_summed(name: str) -> None:
    """A usage in every chunk is counted once: the last."""
    told = [usage for event in sse.events(stream_of(name)) if (usage := usage_of(sse.json_of(event) or {})) is not None]
    assert len(told) > 3
    assert told[-1] == expected(name)[0]
    assert sum(usage.prompt for usage in told) > expected(name)[0].prompt


@pytest.fixture(scope="module")
def warm() -> None:
    """Let litellm load its parts."""
    warm_up()


@pytest.mark.usefixtures("warm")
async def test_a_broken_off_gemini_stream() -> None:
    """A stream whose connection breaks is a fault, and what it cost up to there is marked as a guess."""
    whole = stream_of("gemini")
    settings = Upstream(provider="gemini", key=SecretStr("sk-an-operators-secret"))
    cut = Recorded("gemini", stream=Broken(whole[: whole.rindex(b"data: ")]))
    call = ask("gemini", model_of("gemini"), stream=True)
    reply = await ProviderUpstream("up", settings, pool=cut)(call)
    body = b"".join([frame async for frame in reply.frames])
    (attempt,) = call.trace.attempts
    assert b"upstream_cut" in body
    assert sse.DONE not in body
    assert attempt.fault == "cut"
    assert attempt.usage == Usage(prompt=1200, completion=460, cached=1000, reasoning=400, estimated=True)


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", sorted(THROUGH_LITELLM))
async def test_through_litellm(name: str, stream: bool) -> None:  # noqa: FBT001 - a test's parameter
    """Through litellm the same answers are the same usage at the same price, plain and streamed."""
    usage, usd = expected(name)
    found, _ = await used(ask(name, model_of(name), stream=stream), through_litellm(name))
    assert found == usage
    assert cost(found, PRICES[name][0]) == pytest.approx(float(usd), abs=1e-9)
