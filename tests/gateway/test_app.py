"""The data plane's edge: what clients may send, and what they get."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.app import _cache
from gateway.call import Call, Caller, Reply
from tests.fakes.openai import USAGE, WORDS, Act, FakeOpenAI
from tests.fakes.stand import ENV, MESSAGES, SECRET, Stand, events, gateway, said

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}


def policy(url: str, *more: str) -> str:
    """One upstream, one model under its own name and one under another, and what else the test needs."""
    return "\n".join(
        [
            "upstreams:",
            f"  up: {{url: '{url}', key: '${{UP_KEY}}'}}",
            "models:",
            "  m: {targets: [{upstream: up}]}",
            "  renamed: {targets: [{upstream: up, model: theirs}]}",
            "  talk: {targets: [{upstream: up}], serves: [chat]}",
            *more,
            "",
        ]
    )


KEYS = (
    "keys:",
    "  - {name: a, key: '${KEY_A}', tenant: acme}",
    "  - {name: b, key: '${KEY_B}', tenant: bolt, models: ['ren*']}",
)


async def check_next(g: Stand) -> None:
    """The next call is served."""
    assert (await g.chat()).status_code == 200


BAD = {
    "nothing": (b"", 400, None),
    "no JSON": (b"hello", 400, None),
    "half of it": (b'{"model": "m", "mess', 400, None),
    "a list": (b"[]", 400, None),
    "a string": (b'"m"', 400, None),
    "null": (b"null", 400, None),
    "invalid UTF-8": (b'{"model": "m\xff", "messages": [{"role": "user"}]}', 400, None),
    "a lone surrogate": (b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}', 400, None),
    "a BOM": (b'\xef\xbb\xbf{"model": "m"}', 400, None),
    "deep": (b'{"model": "m", "messages": ' + b"[" * 100_000, 400, None),
    "deep and closed": (b'{"model": "m", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, None),
    "no model": (b'{"messages": [{"role": "user", "content": "x"}]}', 400, "model"),
    "model a number": (b'{"model": 1, "messages": [{"role": "user"}]}', 400, "model"),
    "model empty": (b'{"model": "", "messages": [{"role": "user"}]}', 400, "model"),
    "model a list": (b'{"model": ["m"], "messages": [{"role": "user"}]}', 400, "model"),
    "no messages": (b'{"model": "m"}', 400, "messages"),
    "messages empty": (b'{"model": "m", "messages": []}', 400, "messages"),
    "messages a string": (b'{"model": "m", "messages": "hello"}', 400, "messages"),
    "a message a string": (b'{"model": "m", "messages": ["hello"]}', 400, "messages[0]"),
    "a role missing": (b'{"model": "m", "messages": [{"content": "x"}]}', 400, "messages[0]"),
    "stream a word": (b'{"model": "m", "messages": [{"role": "user"}], "stream": "yes"}', 400, "stream"),
    "stream options": (
        b'{"model": "m", "messages": [{"role": "user"}], "stream_options": 1}',
        400,
        "stream_options",
    ),
    "unknown model": (b'{"model": "gpt-9", "messages": [{"role": "user"}]}', 404, "model"),
    "an endless name": (b'{"model": "' + b"x" * 100_000 + b'", "messages": [{"role": "user"}]}', 404, "model"),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_bodies(name: str, tmp_path: Path) -> None:
    """What cannot be understood is refused in OpenAI's envelope, without asking anyone; the next call is served."""
    body, status, param = BAD[name]
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        answer = await g.client.post(CHAT, content=body, headers=JSON)
        trace = await g.journal.next()
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert answer.json()["error"]["param"] == param
        assert len(answer.content) < 2000
        assert answer.headers["x-request-id"] == trace.id
        assert answer.headers["x-sluice-attempts"] == "0"
        assert trace.status == status
        assert not fake.requests
        await check_next(g)


async def test_unknown_model_lists_those_that_exist(tmp_path: Path) -> None:
    """Whoever mistypes a model's name is told which there are."""
    async with gateway(tmp_path, policy("http://127.0.0.1:9/v1")) as g:
        error = (await g.chat("gpt-9")).json()["error"]
    assert error["code"] == "model_not_found"
    assert "m, renamed, talk" in error["message"]


@pytest.mark.parametrize(("path", "field"), [("/v1/completions", "prompt"), ("/v1/embeddings", "input")])
async def test_other_endpoints(path: str, field: str, tmp_path: Path) -> None:
    """Completions want a prompt and embeddings an input; both are served."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        good = await g.client.post(path, json={"model": "m", field: "hello"})
        missing = await g.client.post(path, json={"model": "m"})
        wrong = await g.client.post(path, json={"model": "m", field: 5})
        not_served = await g.client.post(path, json={"model": "talk", field: "hello"})
    assert good.status_code == 200
    assert (missing.status_code, missing.json()["error"]["param"]) == (400, field)
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, field)
    assert not_served.status_code == 400
    assert fake.requests[0].path == path
    assert "serves chat" in not_served.json()["error"]["message"]


async def test_embeddings_are_not_streamed(tmp_path: Path) -> None:
    """Embeddings with `stream` are the client's mistake, not the upstream's."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        answer = await g.client.post("/v1/embeddings", json={"model": "m", "input": "x", "stream": True})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stream")


async def test_ten_thousand_messages(tmp_path: Path) -> None:
    """Ten thousand messages pass; a limit in the policy counts them."""
    many = [{"role": "user", "content": "x"}] * 10_000
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        assert (await g.client.post(CHAT, json={"model": "m", "messages": many})).status_code == 200
        await g.reload(policy(fake.url, "limits: {messages: 9999}"))
        answer = await g.client.post(CHAT, json={"model": "m", "messages": many})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages")


@pytest.mark.parametrize("model", ["m", "renamed"])
@pytest.mark.parametrize("depth", [200, 500, 900])
async def test_deep_nesting(model: str, depth: int, tmp_path: Path) -> None:
    """Nesting that can be read passes or is refused as the client's mistake; it is never an error of ours."""
    deep: Any = 1
    for _ in range(depth):
        deep = [deep]
    body = json.dumps({"model": model, "messages": MESSAGES, "x": deep}).encode()
    async with (
        FakeOpenAI(always=Act(model="theirs" if model == "renamed" else "m")) as fake,
        gateway(tmp_path, policy(fake.url)) as g,
    ):
        answer = await g.client.post(CHAT, content=body, headers=JSON)
        await check_next(g) if model == "m" else None
    assert answer.status_code in (200, 400)
    assert answer.status_code == 200 or "deep" in answer.text


async def test_same_bytes(tmp_path: Path) -> None:
    """When nothing is changed the upstream gets the client's very bytes: spaces, number forms and unknown fields."""
    body = (
        b' {"messages" : [{"role":"user","content":"caf\\u00e9 \xc3\xa9"}],\n "model":"m", "seed":18446744073709551999,'
        b' "temperature": 1.10, "guided_json": {"b":1,"a":2}, "cache_salt": "s", "priority": -1,'
        b' "chat_template_kwargs": {"enable_thinking": false}} '
    )
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        await g.client.post(CHAT, content=body, headers=JSON)
    assert fake.requests[0].body == body


async def test_streamed_request_keeps_the_bytes(tmp_path: Path) -> None:
    """Asking for the usage puts one field before the client's bytes, and re-writes none of them."""
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true,"temperature":1.10}'
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        await g.client.post(CHAT, content=body, headers=JSON)
    assert fake.requests[0].body.endswith(body[1:])
    assert fake.requests[0].json["stream_options"] == {"include_usage": True}


async def test_answer_passes_byte_for_byte(tmp_path: Path) -> None:
    """An answer's unknown fields, spaces and number forms reach the client as they were."""
    body = b'{"model": "m",  "choices": [{"index":0, "odd": 1.10}], "x_more":{"a":[null]}, "usage": null}'
    async with FakeOpenAI(always=Act(body=body)) as fake, gateway(tmp_path, policy(fake.url)) as g:
        assert (await g.chat()).content == body


async def test_stream_passes_event_for_event(tmp_path: Path) -> None:
    """Whoever asks for the usage gets every event as it was: tool calls, reasoning, logprobs, usage, [DONE]."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        options = {"include_usage": True}
        ours = await g.chat(stream=True, n=2, stream_options=options)
        direct = await g.client.post(
            f"{fake.url}/chat/completions",
            json={"model": "m", "messages": MESSAGES, "stream": True, "n": 2, "stream_options": options},
        )
    assert ours.content == direct.content
    assert ours.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"other": 1}])
async def test_usage_is_asked_for_and_withheld(options: dict[str, Any] | None, tmp_path: Path) -> None:
    """The usage of a stream is recorded; a client that did not ask for it does not see it."""
    more: dict[str, Any] = {} if options is None else {"stream_options": options}
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        answer = await g.chat(stream=True, **more)
        trace = await g.journal.next()
    assert fake.requests[0].json["stream_options"] == {**(options or {}), "include_usage": True}
    assert "usage" not in answer.text
    assert events(answer.text)[-1] == "[DONE]"
    usage = trace.usage
    assert (usage.prompt, usage.completion, usage.cached, usage.reasoning) == (11, 6, 4, 2)
    assert not usage.estimated


async def test_usage_that_may_not_be_asked_for(tmp_path: Path) -> None:
    """A server that knows no `stream_options` gets the client's very bytes, and its use is estimated."""
    text = policy("URL").replace("key:", "stream_usage: false, key:")
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}'
    async with FakeOpenAI() as fake, gateway(tmp_path, text.replace("URL", fake.url)) as g:
        await g.client.post(CHAT, content=body, headers=JSON)
        trace = await g.journal.next()
    assert fake.requests[0].body == body
    assert trace.usage.estimated
    assert trace.usage.completion >= len(WORDS)


async def test_null_stream_options(tmp_path: Path) -> None:
    """`stream_options: null` is as good as none."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        answer = await g.chat(stream=True, stream_options=None)
    assert said(answer.text) == "".join(WORDS)
    assert fake.requests[0].json["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"other","model":"m","messages":[{"role":"user","content":"x"}]}',
        b'{"model":"m","mod\\u0065l":"m","messages":[{"role":"user","content":"x"}]}',
        b'{"\\u006dodel":"other","model":"m","messages":[{"role":"user","content":"x"}]}',
        b'{"model":"m","stream":true,"stream":false,"messages":[{"role":"user","content":"x"}]}',
    ],
)
async def test_twin_keys(body: bytes, tmp_path: Path) -> None:
    """A key that stands twice reaches the upstream once, with the value that was checked."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        answer = await g.client.post(CHAT, content=body, headers=JSON)
    pairs = json.loads(fake.requests[0].body, object_pairs_hook=list)
    names = [name for name, _ in pairs]
    assert answer.status_code == 200
    assert len(names) == len(set(names))
    assert dict(pairs)["model"] == "m"


async def test_no_field_or_header_chooses_the_host(tmp_path: Path) -> None:
    """Nothing a client sends chooses where the call goes, or reaches the upstream as a header."""
    fields = {"api_base": "http://evil.example", "base_url": "http://evil.example", "api_key": "x"}
    sent = {"authorization": "Bearer client-secret", "x-evil": "1", "x-forwarded-host-not": "evil.example"}
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        answer = await g.chat(headers=sent, **fields)
    assert answer.status_code == 200
    assert set(fake.requests[0].headers) == {
        *("host", "content-type", "accept", "accept-encoding", "user-agent", "authorization"),
        *("x-request-id", "content-length"),
    }
    assert fake.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert fake.requests[0].headers["host"] == f"127.0.0.1:{fake.port}"


async def test_headers_out(tmp_path: Path) -> None:
    """Plain and streamed answers say by the same headers how they were made."""
    async with FakeOpenAI(always=Act(model="theirs")) as fake, gateway(tmp_path, policy(fake.url)) as g:
        plain, streamed = await g.chat("renamed"), await g.chat("renamed", stream=True)
        trace = await g.journal.next()
    for answer in (plain, streamed):
        assert answer.headers["x-sluice-model"] == "theirs"
        assert answer.headers["x-sluice-upstream"] == "up"
        assert answer.headers["x-sluice-attempts"] == "1"
        assert answer.headers["x-cache"] == "BYPASS"
        assert float(answer.headers["x-sluice-overhead-ms"]) < 5000
        assert "x-sluice-route" in answer.headers
    assert plain.headers["x-request-id"] != streamed.headers["x-request-id"]
    assert plain.headers["x-request-id"] == trace.id == fake.requests[0].headers["x-request-id"]
    assert (trace.tenant, trace.model, trace.rule, trace.outcome) == ("local", "renamed", "default", "ok")
    assert (trace.usage.prompt, trace.response_bytes) == (USAGE["prompt_tokens"], len(plain.content))


# Bodies over the limit


async def test_too_large_by_its_own_word(tmp_path: Path) -> None:
    """A body that says it is too large is refused before it is sent."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url, "limits: {body: 1000}")) as g:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        got = await g.raw(head.encode() + b"content-length: 1001\r\nexpect: 100-continue\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 413")
        assert b"100 Continue" not in got
        assert b"request_too_large" in got
        await check_next(g)


async def test_too_large_in_chunks(tmp_path: Path) -> None:
    """A body without a length is refused as soon as it is over the limit, not when it ends."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url, "limits: {body: 100KB}")) as g:
        reader, writer = await asyncio.open_connection("127.0.0.1", g.port)
        writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\n".encode())
        writer.write(b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"20000\r\n" + b"x" * 0x20000 + b"\r\n")
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 413")
        await check_next(g)


async def test_a_real_client_sees_the_413(tmp_path: Path) -> None:
    """A client that sends all of a large body still gets to read the refusal."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url, "limits: {body: 1MB}")) as g:
        for size in (1_000_001, 20_000_000):
            answer = await g.client.post(CHAT, content=b"x" * size, headers=JSON)
            assert answer.status_code == 413
        await check_next(g)


async def test_at_the_limit(tmp_path: Path) -> None:
    """A body of exactly the limit passes."""
    body = orjson.dumps({"model": "m", "messages": MESSAGES})
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url, f"limits: {{body: {len(body)}}}")) as g:
        assert (await g.client.post(CHAT, content=body, headers=JSON)).status_code == 200
        assert (await g.client.post(CHAT, content=body + b" ", headers=JSON)).status_code == 413


# Paths and methods


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"])
async def test_methods(method: str, tmp_path: Path) -> None:
    """Only POST is served where calls go; nobody is told by CORS headers that a browser may come."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        sent = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        answer = await g.client.request(method, CHAT, headers=sent)
        assert answer.status_code == 405
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert (answer.content == b"") == (method == "HEAD")
        await check_next(g)


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/chat", "/admin", "/metrics", "/api/stats", "/v1/chat/completions/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_unknown_paths(method: str, path: str, tmp_path: Path) -> None:
    """What is not served is said so in the envelope; the admin plane is not here."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        answer = await g.client.request(method, path, json={} if method == "POST" else None)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")
        await check_next(g)


async def test_models(tmp_path: Path) -> None:
    """The models are those of the policy, all or one by one."""
    async with gateway(tmp_path, policy("http://127.0.0.1:9/v1")) as g:
        listed = (await g.client.get("/v1/models")).json()
        one = await g.client.get("/v1/models/renamed")
        none = await g.client.get("/v1/models/gpt-9")
        head = await g.client.head("/v1/models")
        post = await g.client.post("/v1/models", json={})
    assert [each["id"] for each in listed["data"]] == ["m", "renamed", "talk"]
    assert one.json()["id"] == "renamed"
    assert (none.status_code, none.json()["error"]["code"]) == (404, "model_not_found")
    assert (head.status_code, head.content, post.status_code) == (200, b"", 405)


async def test_health(tmp_path: Path) -> None:
    """/healthz depends on nothing; /readyz tells the truth about the ledger and a refused edit."""
    async with gateway(tmp_path, policy("http://127.0.0.1:9/v1")) as g:
        assert (await g.client.get("/healthz")).status_code == 200
        ready = await g.client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        g.journal.said = "failing: the disk is full"
        degraded = await g.client.get("/readyz")
        assert (degraded.status_code, degraded.json()["status"]) == (200, "degraded")
        assert degraded.json()["ledger"] == "failing: the disk is full"
        g.journal.said = "ok"
        g.runtime.refuse("policy.yaml:3: no")
        assert (await g.client.get("/readyz")).json()["policy_edit_refused"] is True
        g.runtime.accept()
        g.plane.is_draining = True
        assert (await g.client.get("/readyz")).status_code == 503
        assert (await g.client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(("more", "word"), [("", "ok"), ("cache: {disk: 0}", "memory only")])
async def test_readiness_tells_where_answers_are_kept(more: str, word: str, tmp_path: Path) -> None:
    """Caches that are as the policy wants them degrade nothing."""
    async with gateway(tmp_path, policy("http://127.0.0.1:9/v1", more)) as g:
        ready = (await g.client.get("/readyz")).json()
        assert (ready["status"], ready["cache"]) == ("ready", word)


async def test_readiness_tells_of_a_store_that_is_left_alone(tmp_path: Path) -> None:
    """A store that failed too often is named with its reason; calls are served all the same."""
    (tmp_path / "state").mkdir()
    with closing(sqlite3.connect(tmp_path / "state" / "cache.sqlite")) as db:
        db.execute("CREATE TABLE theirs (a)")
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        for number in range(4):
            assert (await g.chat(temperature=0, seed=number)).status_code == 200
        ready = await g.client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert ready.json()["cache"] == "store: the file is another program's"


@pytest.mark.parametrize(
    ("store", "reason", "told"),
    [
        ("closed", "", ("ok", True)),
        ("closed", "timed out", ("ok", True)),
        ("open", "timed out", ("store: timed out", False)),
        ("refusing", "refuses writes: disk full", ("store: refuses writes: disk full", False)),
    ],
)
def test_readiness_in_words(store: str, reason: str, told: tuple[str, bool]) -> None:
    """A store that is left alone or takes no writes is told with its reason; one that failed once is not."""
    assert _cache({"store": store, "reason": reason}, keeps=True) == told


# Who may call


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": ""}, 403),
        ({"host": "localhost"}, 200),
        ({"host": "[::1]:8080"}, 200),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"x-forwarded-for": "10.0.0.1"}, 403),
        ({"forwarded": "for=10.0.0.1"}, 403),
        ({"x-real-ip": "10.0.0.1"}, 403),
        ({"via": "1.1 proxy"}, 403),
    ],
)
async def test_keyless(headers: dict[str, str], status: int, tmp_path: Path) -> None:
    """Without keys only this machine is served, and only on purpose."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        body = orjson.dumps({"model": "m", "messages": MESSAGES})
        answer = await g.client.post(CHAT, content=body, headers={**JSON, **headers})
        assert answer.status_code == status
        assert len(fake.requests) == (status == 200)
        if "content-type" not in headers:
            assert (await g.client.get("/v1/models", headers=headers)).status_code == status
        await check_next(g)


@pytest.mark.parametrize(
    ("header", "model", "status"),
    [
        (f"Bearer {ENV['KEY_A']}", "m", 200),
        (f"bearer  {ENV['KEY_A']}", "m", 200),
        (f"Bearer {ENV['KEY_B']}", "renamed", 200),
        (f"Bearer {ENV['KEY_B']}", "m", 403),
        (f"Bearer {ENV['KEY_B']}", "gpt-9", 404),
        (None, "m", 401),
        ("", "m", 401),
        ("Bearer", "m", 401),
        ("Bearer wrong", "m", 401),
        (f"Basic {ENV['KEY_A']}", "m", 401),
        (ENV["KEY_A"], "m", 401),
        (f"Bearer {ENV['KEY_A']}x", "m", 401),
        (f"Bearer {SECRET}", "m", 401),
        ("Bearer \xff\xfe", "m", 401),
    ],
)
async def test_keys(header: str | None, model: str, status: int, tmp_path: Path) -> None:
    """A key opens the models it allows; anything else is told what is missing, never what is there."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url, *KEYS)) as g:
        headers = {} if header is None else {b"authorization": header.encode("latin-1")}
        body = {"model": model, "messages": MESSAGES}
        fake.always = Act(model="theirs" if model == "renamed" else model)
        answer = await g.client.post(CHAT, json=body, headers=headers)
        trace = await g.journal.next()
    assert answer.status_code == status
    assert ENV["KEY_A"] not in answer.text
    if status == 401:
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert trace.tenant == ""
    if model == "gpt-9":
        assert "renamed" in answer.json()["error"]["message"]
        assert "talk" not in answer.json()["error"]["message"]
    if status == 200:
        assert (trace.tenant, trace.key) == (("acme", "a") if model == "m" else ("bolt", "b"))


async def test_models_of_a_key(tmp_path: Path) -> None:
    """A key sees the models it may use, and no others; without a key there is no list."""
    async with gateway(tmp_path, policy("http://127.0.0.1:9/v1", *KEYS)) as g:
        headers = {"authorization": f"Bearer {ENV['KEY_B']}"}
        listed = await g.client.get("/v1/models", headers=headers)
        hidden = await g.client.get("/v1/models/m", headers=headers)
        anonymous = await g.client.get("/v1/models")
    assert [each["id"] for each in listed.json()["data"]] == ["renamed"]
    assert (hidden.status_code, anonymous.status_code) == (404, 401)


async def test_with_keys_the_host_is_free(tmp_path: Path) -> None:
    """With keys, proxies and other hosts are welcome."""
    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url, *KEYS)) as g:
        headers = {"host": "llm.acme.example", "x-forwarded-for": "10.0.0.1", "authorization": f"Bearer {ENV['KEY_A']}"}
        assert (await g.chat(headers=headers)).status_code == 200


# Faults of our own


async def test_a_fault_of_ours(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A fault inside the gateway is a plain 500, logged under the request's id; the next call is served."""

    async def broken(call: Call) -> Reply:
        raise KeyError("ours")

    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        station = g.runtime.pipeline.stations["up"]
        good = g.runtime.pipeline._dispatch._handlers["up"]
        g.runtime.pipeline._dispatch._handlers["up"] = broken
        answer = await g.chat()
        g.runtime.pipeline._dispatch._handlers["up"] = good
        trace = await g.journal.next()
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal_error"
        assert "KeyError" not in answer.text
        assert trace.id in caplog.text
        assert station.breaker.reason == ""
        await check_next(g)


async def test_a_fault_of_ours_in_a_stream(tmp_path: Path) -> None:
    """A fault inside the gateway after the first byte is one error event, and the end."""

    async def frames() -> AsyncIterator[bytes]:
        yield b'data: {"choices": []}\n\n'
        raise KeyError("ours")

    async def broken(call: Call) -> Reply:
        return Reply(200, {"content-type": "text/event-stream"}, frames())

    async with FakeOpenAI() as fake, gateway(tmp_path, policy(fake.url)) as g:
        way = g.runtime.pipeline.way(Caller("local"), "m", "chat")
        g.runtime.pipeline._ways[("m", "local", "chat", 0)] = type(way)(way.rule, way.steps, broken)
        answer = await g.chat(stream=True)
        trace = await g.journal.next()
    assert events(answer.text)[0] == '{"choices": []}'
    assert "internal_error" in events(answer.text)[1]
    assert len(events(answer.text)) == 2
    assert (trace.status, trace.outcome) == (200, "internal_error")
