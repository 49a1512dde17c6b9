"""Embeddings answered item by item, through the whole data plane."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.fakes.openai import Act, Asked, FakeOpenAI
from tests.fakes.stand import Stand, gateway
from tests.gateway.test_caching import how, policy, trace_of


class Embedder(FakeOpenAI):
    """Gives each input a vector of its own and counts a token for each character or id."""

    gate: asyncio.Event | None = None
    model = "m"
    is_backward = True  # tells the items last first, with their numbers

    def take(self, asked: Asked) -> Act:
        """Answer what is asked."""
        act = super().take(asked)
        return act if act.kind != "answer" or act.body else Act(body=self._document(asked.json), gate=self.gate)

    def _document(self, body: dict[str, Any]) -> bytes:
        given = body["input"]
        items = [given] if isinstance(given, str) or isinstance(given[0], int) else given
        data = [{"object": "embedding", "index": at, "embedding": vector(item, body)} for at, item in enumerate(items)]
        tokens = sum(map(len, items))
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return orjson.dumps(
            {"object": "list", "data": data[:: -1 if self.is_backward else 1], "model": self.model, "usage": usage}
        )


def vector(item: str | list[int], body: dict[str, Any]) -> object:
    """The embedding of one item."""
    numbers = [float(ord(char)) for char in item] if isinstance(item, str) else [float(token) for token in item]
    return str(numbers) if body.get("encoding_format") == "base64" else numbers


async def embed(g: Stand, given: object, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    """One call."""
    return await g.client.post("/v1/embeddings", json={"model": "m", "input": given, **more}, headers=headers)


def check(answer: httpx.Response, items: list[Any], **more: Any) -> None:
    """It is the whole answer to these items, in order."""
    told = answer.json()
    assert [each["embedding"] for each in told["data"]] == [vector(item, more) for item in items]
    assert [each["index"] for each in told["data"]] == list(range(len(items)))
    assert {each["object"] for each in told["data"]} == {"embedding"}
    tokens = sum(map(len, items))
    assert (told["usage"], told["model"], told["object"]) == (
        {"prompt_tokens": tokens, "total_tokens": tokens},
        "m",
        "list",
    )


def inputs(fake: FakeOpenAI) -> list[Any]:
    """What the upstream was asked for."""
    return [asked.json["input"] for asked in fake.requests]


async def test_only_what_is_new(tmp_path: Path) -> None:
    """The upstream is asked only for inputs that are new; the answer has all, in order, with the sum of the tokens."""
    async with Embedder() as fake, gateway(tmp_path, policy(fake.url)) as g:
        await embed(g, ["one", "three"])
        answer = await embed(g, ["zero", "three", "two", "one"])
        assert how(answer) == "MISS"
        check(answer, ["zero", "three", "two", "one"])
        assert inputs(fake) == [["one", "three"], ["zero", "two"]]
        trace = await trace_of(g, answer)
        assert trace.notes == [("cache", "asked for 2 of 4 items")]
        assert trace.saved_tokens == len("one" + "three")
        again = await embed(g, ["two", "one", "zero"])
        assert (how(again), again.headers["x-sluice-tokens-saved"], again.headers["age"]) == ("HIT", "10", "0")
        check(again, ["two", "one", "zero"])
        assert len(fake.requests) == 2


async def test_a_first_answer_is_the_upstreams_own(tmp_path: Path) -> None:
    """Where nothing was known the upstream's bytes go through."""
    async with Embedder() as fake, gateway(tmp_path, policy(fake.url)) as g:
        answer = await embed(g, ["one", "two"])
        assert answer.content == fake._document({"input": ["one", "two"]})


async def test_one_or_a_list_of_one(tmp_path: Path) -> None:
    """A text is one item whether it stands in a list or not, and whatever stood beside it."""
    async with Embedder() as fake, gateway(tmp_path, policy(fake.url)) as g:
        await embed(g, ["one", "two"])
        for given in ("one", ["one"], ["two"]):
            answer = await embed(g, given)
            assert how(answer) == "HIT"
            check(answer, [given] if isinstance(given, str) else given)


async def test_the_same_twice(tmp_path: Path) -> None:
    """An input that stands twice is asked for once and answered twice."""
    async with Embedder() as fake, gateway(tmp_path, policy(fake.url)) as g:
        check(await embed(g, ["a", "b", "a", "a"]), ["a", "b", "a", "a"])
        check(await embed(g, ["c", "c", "a"]), ["c", "c", "a"])
        assert inputs(fake) == [["a", "b"], "c"]


async def test_tokens(tmp_path: Path) -> None:
    """Lists of token ids are items too; a bare list of ids is one."""
    async with Embedder() as fake, gateway(tmp_path, policy(fake.url)) as g:
        check(await embed(g, [1, 2, 3]), [[1, 2, 3]])
        check(await embed(g, [[1, 2, 3], [4]]), [[1, 2, 3], [4]])
        assert inputs(fake) == [[1, 2, 3], [4]]
        assert how(await embed(g, [4])) == "HIT"


async def test_base64(tmp_path: Path) -> None:
    """Embeddings in base64 are kept beside those in numbers."""
    async with Embedder() as fake, gateway(tmp_path, policy(fake.url)) as g:
        check(await embed(g, "a", encoding_format="base64"), ["a"], encoding_format="base64")
        check(await embed(g, "a"), ["a"])
        answer = await embed(g, ["a"], encoding_format="base64")
        assert (how(answer), len(fake.requests)) == ("HIT", 2)
        check(answer, ["a"], encoding_format="base64")


async def test_parameters_count(tmp_path: Path) -> None:
    """Another parameter is another embedding; who asks is not."""
    async with Embedder() as fake, gateway(tmp_path, policy(fake.url)) as g:
        await embed(g, "a", dimensions=3)
        assert how(await embed(g, "a")) == "MISS"
        assert how(await embed(g, "a", user="me")) == "HIT"


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"cache-control": "no-cache"}, "MISS"),
        ({"cache-control": "max-age=0"}, "MISS"),
        ({"x-sluice-namespace": "n"}, "MISS"),
        ({"cache-control": "no-store"}, "HIT"),
        ({"cache-control": "only-if-cached"}, "HIT"),
    ],
    ids=str,
)
async def test_what_a_caller_asks(headers: dict[str, str], told: str, tmp_path: Path) -> None:
    """Cache-Control and namespaces hold for embeddings as for anything else."""
    async with Embedder() as fake, gateway(tmp_path, policy(fake.url)) as g:
        await embed(g, ["a", "b"])
        assert how(await embed(g, ["b", "a"], headers)) == told


async def test_only_if_cached(tmp_path: Path) -> None:
    """With `only-if-cached` one unknown item is a 504, and so is what has no items; nobody is asked."""
    headers = {"cache-control": "only-if-cached"}
    async with Embedder() as fake, gateway(tmp_path, policy(fake.url)) as g:
        await embed(g, "a")
        for given in (["a", "b"], ["a", [1]]):
            answer = await embed(g, given, headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (504, "not_cached")
        assert len(fake.requests) == 1


async def test_no_store(tmp_path: Path) -> None:
    """With `no-store` what is new is not kept."""
    async with Embedder() as fake, gateway(tmp_path, policy(fake.url)) as g:
        await embed(g, "a", {"cache-control": "no-store"})
        assert how(await embed(g, "a")) == "MISS"


async def test_what_has_no_items(tmp_path: Path) -> None:
    """An input of no known kind goes through as it is, and is no equal of any."""
    odd = Act(body=orjson.dumps({"data": [], "model": "m"}))
    async with Embedder(odd, odd) as fake, gateway(tmp_path, policy(fake.url)) as g:
        for _ in range(2):
            assert how(await embed(g, ["a", [1]])) == "BYPASS"
        assert inputs(fake) == [["a", [1]]] * 2


@pytest.mark.parametrize(
    "act",
    [
        Act("status", status=400, body=b'{"error": {"message": "no"}}'),
        Act("status", status=500, body=b"{}"),
        Act(body=b'{"data": [{"index": 0, "embedding": []}], "usage": {"prompt_tokens": 1}, "model": "m"}'),
        Act(body=b'{"data": [], "usage": {"prompt_tokens": 1}, "model": "m"}'),
        Act(body=b'{"data": [{"index": 0, "embedding": [1]}], "model": "m"}'),
        Act(body=b'{"error": "no"}'),
    ],
    ids=str,
)
async def test_never_kept(act: Act, tmp_path: Path) -> None:
    """A failed answer, and one that cannot be taken apart, goes to its caller and is not kept."""
    async with Embedder(act) as fake, gateway(tmp_path, policy(fake.url)) as g:
        await embed(g, "a")
        answer = await embed(g, "a")
        assert how(answer) == "MISS"
        check(answer, ["a"])


async def test_another_model_under_the_same_name(tmp_path: Path) -> None:
    """Vectors of two models never meet in one answer: all items are asked for again, and these are kept."""
    async with Embedder() as fake, gateway(tmp_path, policy(fake.url)) as g:
        fake.model, fake.is_backward = "m-2024", False
        await embed(g, "a")
        fake.model = "m"
        answer = await embed(g, ["a", "b"])
        check(answer, ["a", "b"])
        assert inputs(fake) == ["a", "b", ["a", "b"]]
        assert how(await embed(g, ["b", "a"])) == "HIT"


async def test_all_known_but_of_two_models(tmp_path: Path) -> None:
    """Also where every item is known: all are asked for again."""
    async with Embedder() as fake, gateway(tmp_path, policy(fake.url)) as g:
        await embed(g, "b")
        fake.model = "m-2024"
        await embed(g, "a")
        fake.model = "m"
        check(await embed(g, ["a", "b", "a"]), ["a", "b", "a"])
        assert inputs(fake) == ["b", "a", ["a", "b"]]
        assert how(await embed(g, ["b", "a"])) == "HIT"


async def test_many_at_once(tmp_path: Path) -> None:
    """Equal calls under way are one upstream call."""
    async with Embedder() as fake, gateway(tmp_path, policy(fake.url)) as g:
        fake.gate = asyncio.Event()
        calls = [asyncio.create_task(embed(g, ["a", "b", "a"])) for _ in range(20)]
        flights = g.runtime.pipeline.caches.flights
        async with asyncio.timeout(5):
            while sum(flight.others for flight in flights.values()) < 19:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.001)
        fake.gate.set()
        for answer in await asyncio.gather(*calls):
            check(answer, ["a", "b", "a"])
        assert inputs(fake) == [["a", "b"]]
