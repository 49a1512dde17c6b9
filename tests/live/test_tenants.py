"""Two tenants ask the same: over two gateways on one Redis and over one with its file, neither gets the other's bytes.

Every upstream answer bears a number of its own, so bytes that were made for the one tenant are known in the other's
answer whatever form they came in.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from itertools import product
from pathlib import Path

import pytest

from tests.fakes.counting import Counting
from tests.live.callers import Answer, call, chat, unheard
from tests.live.stage import gateways
from tests.running import Gateway, free_port

ALICE, BOB = "sk-alice-0123456789abcdef", "sk-bob-0123456789abcdef00"
ENV = {"ALICE_KEY": ALICE, "BOB_KEY": BOB}
KEYS = """\
keys:
  - {name: alice, key: "${ALICE_KEY}", tenant: alice}
  - {name: bob, key: "${BOB_KEY}", tenant: bob}
"""
STREAMS = (False, True)
HEADERS: list[dict[str, str]] = [
    {},
    {"x-sluice-namespace": "alice"},
    {"x-sluice-quality": "alice", "x-sluice-tags": "alice"},
    {"cache-control": "only-if-cached"},
    {"cache-control": "max-age=100000, max-stale=100000"},
    {"x-litellm-tags": "alice", "x-tenant": "alice", "openai-organization": "alice"},
]
BODIES: list[dict[str, object]] = [
    {},
    {"user": "alice"},
    {"cache": {"namespace": "alice", "ttl": 100, "use-cache": True}},
    {"prompt_cache_key": "alice", "safety_identifier": "alice"},
]
# What may differ between two answers that were both made for who asked.
OWN = {"x-request-id", "date", "x-sluice-overhead-ms", "content-length", "transfer-encoding"}


@pytest.fixture(scope="module")
def upstream_port() -> int:
    """Where each test's upstream listens."""
    return free_port()


@pytest.fixture(scope="module", params=["redis", "file"])
def two(
    request: pytest.FixtureRequest, single_url: str, upstream_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, Gateway]]:
    """Where Alice asks and where Bob asks: two gateways on one Redis, or one and the same with its file."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    options = ("--redis-url", single_url) if request.param == "redis" else ()
    with gateways(folder, 2 if options else 1, upstream_port, *options, more=KEYS, env=ENV) as running:
        yield running[0], running[-1]


@pytest.fixture
async def upstream(upstream_port: int) -> AsyncIterator[Counting]:
    """An upstream that counts."""
    async with Counting(upstream_port) as counting:
        yield counting


async def ask(gateway: Gateway, key: str, body: dict[str, object], **headers: str) -> Answer:
    """Call with a key."""
    return await call(gateway.port, body, authorization=f"Bearer {key}", **headers)


def numbers(answer: Answer) -> set[str]:
    """The numbers of the upstream answers that these bytes come from."""
    return set(re.findall(r" n(\d+)", answer.body.decode()))


async def test_nothing_of_alices_reaches_bob(two: tuple[Gateway, Gateway], upstream: Counting) -> None:
    """Whatever form, field or header Bob chooses, he never gets bytes that were made for Alice, nor a sign of them."""
    first, second = two
    for fields in BODIES:
        question = unheard()
        alices: set[str] = set()
        for alice_streams in STREAMS:
            answer = await ask(first, ALICE, {**chat(question, stream=alice_streams), **fields})
            alices |= numbers(answer)
        assert alices
        for headers, streams in product(HEADERS, STREAMS):
            answer = await ask(second, BOB, {**chat(question, stream=streams), **fields}, **headers)
            assert not numbers(answer) & alices
            if answer.status != 200:
                assert answer.status == 504
                assert headers.get("cache-control") == "only-if-cached"
        hit = await ask(first, ALICE, {**chat(question), **fields})
        assert hit.source == "exact"
        assert numbers(hit) <= alices


async def test_headers_tell_nothing(two: tuple[Gateway, Gateway], upstream: Counting) -> None:
    """The headers of Bob's first answer are those of a question that nobody has asked."""
    first, second = two
    asked, new = unheard(), unheard()
    for streams in STREAMS:
        await ask(first, ALICE, chat(asked, stream=streams))
    known, fresh = await ask(second, BOB, chat(asked)), await ask(second, BOB, chat(new))
    told = {name: value for name, value in known.headers.items() if name not in OWN}
    assert told == {name: value for name, value in fresh.headers.items() if name not in OWN}
    assert told["x-cache"] == "MISS"


async def test_equal_calls_of_two_tenants_are_two(two: tuple[Gateway, Gateway], upstream: Counting) -> None:
    """Calls under way coalesce within a tenant and never across."""
    question = unheard()
    upstream.wait = 0.5
    calls = [(gateway, key, streams) for gateway, key, streams in product(two, (ALICE, BOB), STREAMS) for _ in range(5)]
    answers = await asyncio.gather(*(ask(gateway, key, chat(question, stream=s)) for gateway, key, s in calls))
    got: dict[str, set[str]] = {ALICE: set(), BOB: set()}
    for (_, key, _), answer in zip(calls, answers, strict=True):
        assert answer.status == 200
        got[key] |= numbers(answer)
    assert len(got[ALICE]) == len(got[BOB]) == 1
    assert not got[ALICE] & got[BOB]
    assert upstream.asked[question] == 2


async def test_a_namespace_subdivides(two: tuple[Gateway, Gateway], upstream: Counting) -> None:
    """Alice's namespaces are apart from each other, and naming Bob leads to nothing of Bob's."""
    first, second = two
    question = unheard()
    bobs = numbers(await ask(second, BOB, chat(question), **{"x-sluice-namespace": "a"}))
    seen = set(bobs)
    for namespace in ("a", "b", "bob", "bob/a", ""):
        headers = {"x-sluice-namespace": namespace} if namespace else {}
        found = numbers(await ask(first, ALICE, chat(question), **headers))
        assert not found & seen
        seen |= found
    assert upstream.asked[question] == 6
