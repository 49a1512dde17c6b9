"""Equal calls answered from the cache, through the whole data plane: what a caller sees, and what it can ask for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from caching.entry import Entry
from caching.forms import Answer
from caching.identity import Identity
from gateway.trace import Trace
from tests.fakes.openai import USAGE, WORDS, Act, FakeOpenAI
from tests.fakes.stand import MESSAGES, Stand, events, gateway, said

TEXT = "".join(WORDS)


def document(text: str = TEXT, finish: str = "stop", **more: Any) -> bytes:
    """A plain answer as OpenAI gives it."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    whole = {"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE}
    return orjson.dumps({**whole, **more})


PLAIN = Act(body=document())


def policy(url: str, cache: str = "", *more: str) -> str:
    """One upstream asked once a call, one model, and a rule with these settings of its cache."""
    return "\n".join(
        [
            f"upstreams: {{up: {{url: '{url}'}}}}",
            "models: {m: {targets: [{upstream: up}]}}",
            f"rules: [{{name: r, retry: {{attempts: 1}}, cache: {{{cache}}}}}]",
            *more,
            "",
        ]
    )


async def ask(g: Stand, **more: Any) -> httpx.Response:
    """One call that may be cached."""
    return await g.chat(**{"temperature": 0, **more})


def how(answer: httpx.Response) -> str:
    """What the caches had to do with it."""
    return str(answer.headers["x-cache"])


async def trace_of(g: Stand, answer: httpx.Response) -> Trace:
    """The record of this call."""
    while (trace := await g.journal.next()).id != answer.headers["x-request-id"]:
        pass
    assert isinstance(trace, Trace)
    return trace


async def kept(g: Stand, answer: httpx.Response) -> Entry:
    """The entry that this answer became."""
    identity = (await trace_of(g, answer)).identity
    assert isinstance(identity, Identity)
    entry = g.runtime.pipeline.caches.cache.peek(identity.key)
    assert entry is not None
    return entry


def put(g: Stand, entry: Entry, **changes: Any) -> None:
    """Have the cache hold this entry with these changes."""
    g.runtime.pipeline.caches.cache.put(replace(entry, **changes))


async def grow_old(g: Stand, answer: httpx.Response, seconds: float) -> None:
    """Let this answer be so much older."""
    entry = await kept(g, answer)
    times = {name: getattr(entry, name) - seconds for name in ("created", "expires", "dies")}
    put(g, entry, **times)


# What a hit looks like


async def test_a_hit(tmp_path: Path) -> None:
    """The second equal call is answered with the same bytes, without an upstream, and says so."""
    async with FakeOpenAI(always=PLAIN) as fake, gateway(tmp_path, policy(fake.url)) as g:
        first = await ask(g)
        second = await ask(g)
        assert len(fake.requests) == 1
        assert (how(first), how(second)) == ("MISS", "HIT")
        assert second.content == first.content == document()
        told = {name: second.headers[name] for name in second.headers if name.startswith(("x-sluice-", "age"))}
        assert told.pop("x-sluice-overhead-ms")
        assert told == {
            "age": "0",
            "x-sluice-cache": "exact",
            "x-sluice-model": "m",
            "x-sluice-upstream": "up",
            "x-sluice-route": "r",
            "x-sluice-tokens-saved": "17",
            "x-sluice-attempts": "0",
            "x-sluice-cost-usd": "0.0000000000",
            "x-sluice-saved-usd": "unknown",  # as this policy has no price
        }
        assert "age" not in first.headers
        assert "x-sluice-cache" not in first.headers


async def test_the_record_of_a_hit(tmp_path: Path) -> None:
    """A hit is on record as one: no attempt, no usage, the model that made it and the tokens it saved."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        await ask(g)
        trace = await trace_of(g, await ask(g))
        assert (trace.cache, trace.attempts, trace.usage, trace.outcome) == ("exact", [], None, "ok")
        assert trace.source is not None
        assert (trace.source.model, trace.source.upstream, trace.source.tokens) == ("m", "up", 17)


async def test_age(tmp_path: Path) -> None:
    """`Age` says how many seconds ago the answer was made."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        await grow_old(g, await ask(g), 100)
        assert 100 <= int((await ask(g)).headers["age"]) <= 105


@pytest.mark.parametrize("usage", [False, True])
async def test_a_stream_from_a_plain_answer(*, usage: bool, tmp_path: Path) -> None:
    """A streamed call is answered from a plain answer: events, `[DONE]`, and a usage event only if asked for."""
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
    async with FakeOpenAI(always=PLAIN) as fake, gateway(tmp_path, policy(fake.url)) as g:
        await ask(g)
        answer = await ask(g, stream=True, **more)
        assert (how(answer), len(fake.requests)) == ("HIT", 1)
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert said(answer.text) == TEXT
        assert events(answer.text)[-1] == "[DONE]"
        assert [USAGE] * usage == usages(answer)


def usages(answer: httpx.Response) -> list[dict[str, Any]]:
    """What the events of a stream say was used."""
    parts = [orjson.loads(each) for each in events(answer.text) if each.startswith("{")]
    return [part["usage"] for part in parts if part.get("usage")]


async def test_a_plain_answer_from_a_stream(tmp_path: Path) -> None:
    """A plain call is answered from a stream, with its usage even if the one who streamed did not ask for it."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        streamed = await ask(g, stream=True)
        assert usages(streamed) == []
        answer = await ask(g)
        assert (how(answer), len(fake.requests)) == ("HIT", 1)
        assert answer.headers["content-type"] == "application/json"
        told = answer.json()
        assert (told["object"], told["choices"][0]["message"]["content"], told["usage"]) == (
            "chat.completion",
            TEXT,
            USAGE,
        )


@pytest.mark.parametrize("usage", [False, True])
async def test_a_stream_from_a_stream(*, usage: bool, tmp_path: Path) -> None:
    """A stream is told again event by event; the usage event comes only if asked for, whoever asked first."""
    more: dict[str, Any] = {"stream_options": {"include_usage": True}}
    first, second = ({}, more) if usage else (more, {})
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        one, two = await ask(g, stream=True, **first), await ask(g, stream=True, **second)
        assert (how(two), len(fake.requests)) == ("HIT", 1)
        assert [USAGE] * usage == usages(two)
        assert [USAGE] * (not usage) == usages(one)
        assert said(two.text) == said(one.text) == TEXT


async def test_what_has_no_other_form(tmp_path: Path) -> None:
    """A plain answer with fields that no stream has serves plain calls only."""
    odd = Act(body=document(x_unknown={"kept": [1]}, object="odd"))
    async with FakeOpenAI(odd) as fake, gateway(tmp_path, policy(fake.url)) as g:
        await ask(g)
        assert how(await ask(g)) == "HIT"
        answer = await ask(g, stream=True)
        assert (how(answer), said(answer.text), len(fake.requests)) == ("MISS", TEXT, 2)


# What a caller can ask for

NEVER_FROM_CACHE = [
    {"cache-control": "no-cache"},
    {"cache-control": "No-Cache"},
    {"cache-control": "max-age=0"},
    {"cache-control": "max-age=50"},
    {"cache-control": "min-fresh=3550"},
    {"cache-control": "max-age=oops"},
    {"cache-control": "private, no-cache"},
    {"pragma": "no-cache"},
]


@pytest.mark.parametrize("headers", NEVER_FROM_CACHE, ids=str)
async def test_a_caller_wants_it_new(headers: dict[str, str], tmp_path: Path) -> None:
    """An answer a caller would not take is not served: it is asked for anew, and the new one kept."""
    async with FakeOpenAI(PLAIN, Act(body=document("new"))) as fake, gateway(tmp_path, policy(fake.url)) as g:
        await grow_old(g, await ask(g), 100)
        answer = await ask(g, headers=headers)
        assert (how(answer), len(fake.requests)) == ("MISS", 2)
        again = await ask(g)
        assert (how(again), again.json()["choices"][0]["message"]["content"]) == ("HIT", "new")


@pytest.mark.parametrize(
    "headers",
    [
        {"cache-control": "max-age=200"},
        {"cache-control": "min-fresh=3000"},
        {"cache-control": "max-stale=9"},
        {"cache-control": "only-if-cached"},
        {"cache-control": "\xff\xfe;;,,=,nothing=1"},
        {"cache-control": "max-age=200", "pragma": "no-cache"},
        {"pragma": "whatever"},
        {"x-sluice-nothing": "1", "x-litellm-nothing": "\xff"},
    ],
    ids=str,
)
async def test_a_caller_takes_it(headers: dict[str, str], tmp_path: Path) -> None:
    """What a caller would take is served; directives and headers nobody knows do no harm."""
    async with FakeOpenAI(always=PLAIN) as fake, gateway(tmp_path, policy(fake.url)) as g:
        await grow_old(g, await ask(g), 100)
        raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
        answer = await ask(g, headers=raw)
        assert (answer.status_code, how(answer)) == (200, "HIT")


async def test_no_store(tmp_path: Path) -> None:
    """With `no-store` an answer may come from the cache and is not kept itself."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        for _ in range(2):
            assert how(await ask(g, headers={"cache-control": "no-store"})) == "MISS"
        await ask(g)
        assert how(await ask(g, headers={"cache-control": "no-store"})) == "HIT"
        assert len(fake.requests) == 3


@pytest.mark.parametrize("rule", ["", "exact: false", "exact: false, coalesce: false"])
@pytest.mark.parametrize("body", [{}, {"temperature": 1}], ids=str)
async def test_only_if_cached(rule: str, body: dict[str, Any], tmp_path: Path) -> None:
    """With `only-if-cached` the upstream is never asked: 504 when there is no answer, and when there can be none."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url, rule)) as g:
        answer = await ask(g, headers={"cache-control": "only-if-cached"}, **body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "not_cached")
        assert fake.requests == []
        assert (await ask(g)).status_code == 200


async def test_litellms_field(tmp_path: Path) -> None:
    """LiteLLM's body field `cache` is heeded, and the upstream never sees it; it is no part of the key."""
    async with FakeOpenAI(always=PLAIN) as fake, gateway(tmp_path, policy(fake.url)) as g:
        await ask(g, cache={"use-cache": True})
        assert how(await ask(g)) == "HIT"
        assert how(await ask(g, cache={"no-cache": True})) == "MISS"
        assert how(await ask(g, cache={"s-maxage": 0})) == "MISS"
        assert how(await ask(g, cache={"s-maxage": 600})) == "HIT"
        assert how(await ask(g, cache={"namespace": "n", "no-store": True})) == "MISS"
        assert how(await ask(g, cache={"namespace": "n", "ttl": 0})) == "MISS"
        assert how(await ask(g, cache={"namespace": "n"})) == "MISS"
        assert all("cache" not in asked.json for asked in fake.requests)
        bad = await ask(g, cache={"ttl": "soon"})
        assert (bad.status_code, bad.json()["error"]["param"]) == (400, "cache")


async def test_a_callers_ttl(tmp_path: Path) -> None:
    """LiteLLM's `ttl` makes an answer's life shorter and never longer."""
    async with FakeOpenAI(always=PLAIN) as fake, gateway(tmp_path, policy(fake.url, "ttl: 100s")) as g:
        for ttl, lives in ((7, 7), (1000, 100)):
            entry = await kept(g, await ask(g, cache={"ttl": ttl}, seed=ttl))
            assert entry.expires - entry.created == pytest.approx(lives)


@pytest.mark.parametrize("name", ["x-sluice-namespace", "x-sluice-quality"])
async def test_separate_shelves(name: str, tmp_path: Path) -> None:
    """A namespace, and a quality asked for, have answers of their own."""
    async with FakeOpenAI(always=PLAIN) as fake, gateway(tmp_path, policy(fake.url)) as g:
        for value in (None, "one", "two"):
            headers = {} if value is None else {name: value}
            assert how(await ask(g, headers=headers)) == "MISS"
            assert how(await ask(g, headers=headers)) == "HIT"
        assert len(fake.requests) == 3


async def test_a_namespace_by_header_or_field(tmp_path: Path) -> None:
    """The namespace of LiteLLM's field is the one of our header; of two the header counts."""
    async with FakeOpenAI(always=PLAIN) as fake, gateway(tmp_path, policy(fake.url)) as g:
        await ask(g, headers={"x-sluice-namespace": "n"})
        assert how(await ask(g, cache={"namespace": "n"})) == "HIT"
        assert how(await ask(g, cache={"namespace": "x"}, headers={"x-sluice-namespace": "n"})) == "HIT"


# What is kept

FAULTS = {
    "a 400": Act("status", status=400, body=b'{"error": {"message": "no"}}'),
    "a 500": Act("status", status=500, body=b"{}"),
    "an error in a 200": Act(body=b'{"error": {"message": "no"}}'),
    "garbage": Act(body=b"<html>"),
    "no choices": Act(body=b'{"model": "m"}'),
    "filtered": Act(body=document(finish="content_filter")),
    "cut off by its length": Act(body=document(finish="length")),
    "no end": Act(body=document().replace(b'"stop"', b"null")),
    "half": Act("short"),
}
STREAM_FAULTS = {
    "an error event": Act("error_event", after=3, body=b'{"error": {"message": "no"}}'),
    "a cut stream": Act("cut", after=3),
    "a cut event": Act("half_chunk", after=3),
    "no end": Act("finish_early", after=3),
    "garbage": Act("odd_event", after=3, body=b"{not JSON"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_never_kept(fault: str, tmp_path: Path) -> None:
    """What is no good answer is not kept: the next call is asked again."""
    async with FakeOpenAI(FAULTS[fault], PLAIN) as fake, gateway(tmp_path, policy(fake.url)) as g:
        await ask(g)
        answer = await ask(g)
        assert (how(answer), answer.content, len(fake.requests)) == ("MISS", document(), 2)


@pytest.mark.parametrize("fault", STREAM_FAULTS)
async def test_never_kept_of_a_stream(fault: str, tmp_path: Path) -> None:
    """A stream that did not come to a good end is not kept."""
    async with FakeOpenAI(STREAM_FAULTS[fault]) as fake, gateway(tmp_path, policy(fake.url)) as g:
        await ask(g, stream=True)
        answer = await ask(g, stream=True)
        assert (how(answer), said(answer.text), len(fake.requests)) == ("MISS", TEXT, 2)


async def test_what_a_client_left(tmp_path: Path) -> None:
    """A stream whose client left in the middle is cancelled, and not kept."""
    gate = asyncio.Event()
    async with FakeOpenAI(Act(gate=gate, after=3)) as fake, gateway(tmp_path, policy(fake.url)) as g:
        body = {"model": "m", "messages": MESSAGES, "temperature": 0, "stream": True}
        async with g.client.stream("POST", "/v1/chat/completions", json=body) as answer:
            await anext(answer.aiter_text())
        await fake.until(left=1)
        assert (await g.journal.next()).status == 499
        assert how(await ask(g, stream=True)) == "MISS"


@pytest.mark.parametrize("stream", [False, True])
async def test_truncated_by_policy(*, stream: bool, tmp_path: Path) -> None:
    """With `truncated: true` an answer cut off by its length limit is kept; a filtered one never."""
    async with (
        FakeOpenAI(Act(body=document(finish="length")), Act(body=document(finish="content_filter"))) as fake,
        gateway(tmp_path, policy(fake.url, "truncated: true")) as g,
    ):
        await ask(g)
        assert how(await ask(g, stream=stream)) == "HIT"
        await ask(g, seed=2)
        assert how(await ask(g, seed=2)) == "MISS"


async def test_sampling(tmp_path: Path) -> None:
    """By default only calls at temperature 0 are equal; with `sampling: any` all are."""
    async with FakeOpenAI(always=PLAIN) as fake:
        for sampling, expected in (("deterministic", "BYPASS"), ("any", "HIT")):
            async with gateway(tmp_path, policy(fake.url, f"sampling: {sampling}")) as g:
                for body in ({"seed": 1}, {"temperature": 1}, {"temperature": None}):
                    await g.chat(**body)
                    assert how(await g.chat(**body)) == expected


async def test_expiry(tmp_path: Path) -> None:
    """An answer older than its ttl is not served; the record says why."""
    async with FakeOpenAI(always=PLAIN) as fake, gateway(tmp_path, policy(fake.url, "ttl: 50s")) as g:
        await grow_old(g, await ask(g), 49)
        assert how(await ask(g)) == "HIT"
        await grow_old(g, await ask(g, seed=1), 51)
        answer = await ask(g, seed=1)
        assert (how(answer), len(fake.requests)) == ("MISS", 3)


async def test_stale_while_revalidate(tmp_path: Path) -> None:
    """A stale answer is served at once to all, and fetched anew once behind them, with a record of its own."""
    rule = "ttl: 50s, stale_while_revalidate: 1h"
    gate = asyncio.Event()
    new = Act(body=document("new"), gate=gate)
    async with FakeOpenAI(PLAIN, new) as fake, gateway(tmp_path, policy(fake.url, rule)) as g:
        await grow_old(g, await ask(g), 100)
        stale = await asyncio.gather(*(ask(g) for _ in range(10)))
        assert {(how(each), each.headers["x-sluice-cache"], each.content) for each in stale} == {
            ("HIT", "exact; stale", document())
        }
        await fake.until(asked=2)
        gate.set()
        while not (trace := await g.journal.next()).id.endswith("-refresh"):
            assert trace.cache == "stale"
        assert (trace.outcome, trace.status, len(trace.attempts)) == ("refreshed", 200, 1)
        assert trace.usage.prompt == 11
        fresh = await ask(g)
        assert (fresh.headers["x-sluice-cache"], fresh.json()["choices"][0]["message"]["content"]) == ("exact", "new")
        assert len(fake.requests) == 2


async def test_a_stale_answer_is_not_forced_on_anyone(tmp_path: Path) -> None:
    """Who says how old an answer may be has not asked for a stale one; who forbids keeping one fetches none."""
    rule = "ttl: 50s, stale_while_revalidate: 1h"
    async with FakeOpenAI(always=PLAIN) as fake, gateway(tmp_path, policy(fake.url, rule)) as g:
        await grow_old(g, await ask(g), 100)
        assert how(await ask(g, headers={"cache-control": "no-store"})) == "HIT"
        await asyncio.sleep(0)
        assert len(fake.requests) == 1
        assert how(await ask(g, headers={"cache-control": "max-age=1000"})) == "MISS"


@pytest.mark.parametrize("act", [FAULTS["a 500"], Act("close"), Act("raw", body=b"garbage")], ids=str)
@pytest.mark.parametrize("stream", [False, True])
async def test_stale_if_error(act: Act, *, stream: bool, tmp_path: Path) -> None:
    """When the upstream fails, an answer past its ttl serves for as long as the policy says, and no longer."""
    rule = "ttl: 50s, stale_if_error: 1h"
    async with FakeOpenAI(PLAIN, always=act) as fake, gateway(tmp_path, policy(fake.url, rule)) as g:
        await grow_old(g, await ask(g), 100)
        answer = await ask(g, stream=stream)
        assert (answer.status_code, how(answer), answer.headers["x-sluice-cache"]) == (200, "HIT", "exact; stale")
        assert len(fake.requests) >= 2
        trace = await trace_of(g, answer)
        assert ("cache", "miss: the answer that is kept is expired") in trace.notes
        assert (trace.cache, trace.outcome, len(trace.attempts)) == ("stale", "ok", 1)


async def test_too_stale_even_for_an_error(tmp_path: Path) -> None:
    """Past the time of `stale_if_error` the failure is told."""
    rule = "ttl: 50s, stale_if_error: 60s"
    async with FakeOpenAI(PLAIN, always=FAULTS["a 500"]) as fake, gateway(tmp_path, policy(fake.url, rule)) as g:
        await grow_old(g, await ask(g), 111)
        assert (await ask(g)).status_code == 500


# Reloads, collisions, corruption


async def test_reloads(tmp_path: Path) -> None:
    """An edited comment, name of a rule or timeout keeps the cache; another target does not serve from it."""
    async with FakeOpenAI(always=PLAIN) as fake, FakeOpenAI() as other, gateway(tmp_path, policy(fake.url)) as g:
        await ask(g)
        await g.reload("# a comment\n" + policy(fake.url).replace("name: r,", "name: s, timeouts: {total: 9s},"))
        assert how(await ask(g)) == "HIT"
        await g.reload(policy(other.url))
        assert (how(await ask(g)), len(other.requests)) == ("MISS", 1)
        await g.reload(policy(fake.url))
        assert (how(await ask(g)), len(fake.requests)) == ("HIT", 1)


async def test_restart(tmp_path: Path) -> None:
    """What was kept is on disk, and serves after a restart, in both forms."""
    async with FakeOpenAI(always=PLAIN) as fake:
        async with gateway(tmp_path, policy(fake.url)) as g:
            await ask(g)
        async with gateway(tmp_path, policy(fake.url)) as g:
            assert [how(await ask(g)), how(await ask(g, stream=True))] == ["HIT", "HIT"]
        assert len(fake.requests) == 1


async def test_a_key_that_stands_twice(tmp_path: Path) -> None:
    """A body with a key twice is no equal of any other: it goes by the cache, and the record says why."""
    body = b'{"model": "m", "temperature": 1, "temperature": 0, "messages": [{"role": "user", "content": "x"}]}'
    async with FakeOpenAI(always=PLAIN) as fake, gateway(tmp_path, policy(fake.url)) as g:
        for _ in range(2):
            answer = await g.client.post(
                "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
            )
            assert how(answer) == "BYPASS"
        trace = await trace_of(g, answer)
        assert trace.notes == [("cache", "bypass: a key stands twice in an object of the body")]
        assert len(fake.requests) == 2


@pytest.mark.parametrize("change", [{"check": b"x" * 16}, {"tenant": "somebody else"}], ids=str)
@pytest.mark.parametrize("on_disk", [False, True])
async def test_a_collision(change: dict[str, Any], *, on_disk: bool, tmp_path: Path) -> None:
    """An entry of another call or tenant that lies under this call's key is not served, and dropped."""
    async with FakeOpenAI(always=PLAIN) as fake:
        async with gateway(tmp_path, policy(fake.url)) as g:
            entry = await kept(g, await ask(g))
            put(g, entry, answer=Answer.of_plain(document("not yours")), **change)
            if not on_disk:
                assert (await ask(g)).content == document()
        async with gateway(tmp_path, policy(fake.url)) as g:
            answer = await ask(g)
            assert answer.content == document()
            assert how(answer) == ("MISS" if on_disk else "HIT")
        assert len(fake.requests) == 2


async def test_a_corrupt_file(tmp_path: Path) -> None:
    """An entry that is damaged on disk is not served; the call goes on."""
    async with FakeOpenAI(always=PLAIN) as fake:
        async with gateway(tmp_path, policy(fake.url)) as g:
            await ask(g)
        path = next((tmp_path / "state").glob("cache.sqlite"))
        data = path.read_bytes()
        assert TEXT.encode() in data
        path.write_bytes(data.replace(TEXT.encode(), TEXT.upper().encode()))
        async with gateway(tmp_path, policy(fake.url)) as g:
            answer = await ask(g)
            assert (how(answer), answer.content) == ("MISS", document())
            assert how(await ask(g)) == "HIT"


async def test_without_a_disk(tmp_path: Path) -> None:
    """With `disk: 0` answers are kept in memory only; the file holds none."""
    async with FakeOpenAI(always=PLAIN) as fake, gateway(tmp_path, policy(fake.url, "", "cache: {disk: 0}")) as g:
        await ask(g)
        assert how(await ask(g)) == "HIT"
        guard = g.runtime.pipeline.caches.guard
        assert guard is not None
        assert await guard.newest(10) == []


async def test_answers_too_long_to_keep(tmp_path: Path) -> None:
    """An answer longer than `entry` passes whole and is not kept."""
    long = document("x" * 3000)
    async with (
        FakeOpenAI(always=Act(body=long)) as fake,
        gateway(tmp_path, policy(fake.url, "", "cache: {entry: 2KB}")) as g,
    ):
        for _ in range(2):
            answer = await ask(g)
            assert (how(answer), answer.content) == ("MISS", long)


async def test_one_that_is_switched_off(tmp_path: Path) -> None:
    """With `exact: false` nothing is kept."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url, "exact: false")) as g:
        assert [how(await ask(g)) for _ in range(2)] == ["MISS", "MISS"]
