"""Each way an upstream can fail, met by the whole gateway: what the client sees, and what the record says."""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import trustme

from tests.fakes.openai import WORDS, Act, FakeOpenAI, unused_port
from tests.fakes.stand import SECRET, Stand, errors, events, gateway, said

Policy = Callable[..., str]
TEXT = "".join(WORDS)


def envelope(message: str, **more: object) -> bytes:
    """An error as OpenAI words it."""
    return json.dumps({"error": {"message": message, "type": "t", "param": None, "code": None, **more}}).encode()


def status(code: int, body: bytes = b"", *headers: tuple[str, str]) -> Act:
    """An answer with this status."""
    return Act("status", status=code, body=body, headers=headers)


# What fails before the first byte: how the record names it, and the status when nobody else can answer.
BEFORE = {
    "429": (status(429, envelope("slow down")), "http_429", 429),
    "500": (status(500, envelope("oops")), "http_500", 500),
    "502 HTML": (status(502, b"<html>bad gateway</html>"), "http_502", 502),
    "503": (status(503, envelope("busy")), "http_503", 503),
    "999": (status(999, b"{}"), "http_999", 502),
    "408": (status(408, b"{}"), "http_408", 504),
    "401 quoting our key": (status(401, envelope(f"Incorrect API key: {SECRET}")), "auth", 502),
    "403": (status(403, envelope("not yours")), "auth", 502),
    "402 no credit": (status(402, envelope("insufficient balance")), "auth", 502),
    "redirect": (status(302, b"", ("location", "http://example.invalid/")), "redirect", 502),
    "200 HTML": (status(200, b"<html>hello</html>", ("content-type", "text/html")), "garbage", 502),
    "200 garbage": (status(200, b"\x00\xff\xfe{]"), "garbage", 502),
    "200 nothing": (status(200, b""), "garbage", 502),
    "204": (status(204), "garbage", 502),
    "200 JSON list": (status(200, b"[1,2]"), "garbage", 502),
    "200 other JSON": (status(200, b'{"hello": 1}'), "garbage", 502),
    "200 embeddings for a chat": (status(200, b'{"data": []}'), "garbage", 502),
    "200 JSON error": (status(200, envelope("overloaded")), "error_in_200", 502),
    "200 JSON error beside choices": (status(200, b'{"choices": [], "error": {"message": "x"}}'), "error_in_200", 502),
    "200 error with a lone surrogate": (status(200, b'{"error": {"message": "\\ud83d"}}'), "error_in_200", 502),
    "another model": (Act(model="someone-else"), "wrong_model", 502),
    "black hole": (Act("blackhole"), "timeout", 504),
    "closes without an answer": (Act("close"), "cut", 502),
    "not HTTP": (Act("raw", body=b"SSH-2.0-OpenSSH_9.6\r\n"), "garbage", 502),
    "HTTP/1.1 101": (
        Act("raw", body=b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"),
        "garbage",
        502,
    ),
    "half the headers": (Act("raw", body=b"HTTP/1.1 200 OK\r\ncontent-ty"), "cut", 502),
    "endless headers": (Act("endless_headers"), "garbage", 502),
    "dripping headers": (Act("endless_headers", piece=5, pace=0.05), "timeout", 504),
}
PLAIN = {
    "cut": (Act("cut"), "cut", 502),
    "stall": (Act("stall"), "stall", 504),
    "shorter than it said": (Act("short"), "cut", 502),
    "a stream to a plain call": (
        Act("raw", body=b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {}\n\n"),
        "garbage",
        502,
    ),
}
STREAM = {
    "cut at once": (Act("cut"), "cut", 502),
    "stall at once": (Act("stall"), "timeout", 504),
    "half a chunk": (Act("half_chunk"), "cut", 502),
    "an error event first": (Act("error_event", body=envelope("overloaded")), "error_in_200", 502),
    "an odd event first": (Act("odd_event", body=b"<html>"), "garbage", 502),
    "a plain answer to a stream": (status(200, b'{"choices": [{"index": 0}]}'), "garbage", 502),
    "done at once": (Act("raw", body=b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"), "cut", 502),
}
CASES = [
    *[pytest.param(*case, stream, id=f"{name}-{stream}") for name, case in BEFORE.items() for stream in (False, True)],
    *[pytest.param(*case, False, id=f"{name}-False") for name, case in PLAIN.items()],
    *[pytest.param(*case, True, id=f"{name}-True") for name, case in STREAM.items()],
]


async def check_good(stand: Stand, *, stream: bool) -> None:
    """The next call is served, whole."""
    answer = await stand.chat("good", stream=stream)
    assert answer.status_code == 200
    assert TEXT in answer.text if not stream else said(answer.text) == TEXT


@pytest.mark.parametrize(("act", "fault", "alone", "stream"), CASES)
async def test_fallback_answers(
    act: Act, fault: str, alone: int, *, stream: bool, tmp_path: Path, policy: Policy
) -> None:
    """A fault before the first byte is never seen: the client gets the fallback's answer, whole and once."""
    async with FakeOpenAI(always=act) as bad, FakeOpenAI() as good, gateway(tmp_path, policy(bad.url, good.url)) as g:
        answer = await g.chat(stream=stream)
        trace = await g.journal.next()
    assert answer.status_code == 200
    assert answer.headers["x-sluice-attempts"] == "2"
    assert answer.headers["x-sluice-upstream"] == "u1"
    assert len(good.requests) == 1
    if stream:
        assert said(answer.text) == TEXT
        assert events(answer.text).count("[DONE]") == 1
        assert not errors(answer.text)
    else:
        assert answer.json()["choices"][0]["message"]["content"] == TEXT
    assert [attempt.fault for attempt in trace.attempts] == [fault, ""]
    assert (trace.status, trace.outcome) == (200, "ok")


@pytest.mark.parametrize(("act", "fault", "alone", "stream"), CASES)
async def test_all_failed(
    act: Act,
    fault: str,
    alone: int,
    *,
    stream: bool,
    tmp_path: Path,
    policy: Policy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """When nobody can answer, the client gets the first upstream's real status in OpenAI's envelope, and no secret."""
    with caplog.at_level(logging.DEBUG):
        async with FakeOpenAI(always=act) as bad, gateway(tmp_path, policy(bad.url, attempts=1)) as g:
            answer = await g.chat(stream=stream)
            trace = await g.journal.next()
            bad.always = Act()
            again = await g.chat(stream=stream)
    error = answer.json()["error"]
    assert answer.status_code == alone
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == "upstream_failed"
    assert answer.headers["x-sluice-attempts"] == "1"
    assert [attempt.fault for attempt in trace.attempts] == [fault]
    assert trace.status == alone
    seen = answer.text + str(answer.headers) + caplog.text
    assert SECRET not in seen
    assert "<html" not in seen
    assert "Incorrect" not in seen
    if fault != "http_429":  # which asks for a rest
        assert again.status_code == 200


async def test_refused_connection(tmp_path: Path, policy: Policy) -> None:
    """A server that is not there is passed by, and named in the record."""
    url = f"http://127.0.0.1:{unused_port()}/v1"
    async with FakeOpenAI() as good, gateway(tmp_path, policy(url, good.url)) as g:
        assert (await g.chat()).status_code == 200
        assert [attempt.fault for attempt in (await g.journal.next()).attempts] == ["connect", ""]
        alone = await g.chat("only")
        assert alone.status_code == 502
        assert alone.json()["error"]["code"] == "upstream_failed"


async def test_wrong_certificate(tmp_path: Path, policy: Policy) -> None:
    """A server whose certificate nobody vouches for is not spoken to."""
    async with (
        FakeOpenAI(tls=_tls(trustme.CA())) as bad,
        FakeOpenAI() as good,
        gateway(tmp_path, policy(bad.url, good.url)) as g,
    ):
        assert (await g.chat()).status_code == 200
        assert [attempt.fault for attempt in (await g.journal.next()).attempts] == ["tls", ""]
    assert not bad.requests


async def test_wrong_host_in_certificate(tmp_path: Path, policy: Policy) -> None:
    """A good certificate of another host is wrong too."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = _tls(ca, "other.example")
    async with FakeOpenAI(tls=tls) as bad, gateway(tmp_path, policy(bad.url, upstream="ca: ca.pem", attempts=1)) as g:
        assert (await g.chat()).status_code == 502
        assert [attempt.fault for attempt in (await g.journal.next()).attempts] == ["tls"]
    assert not bad.requests


async def test_private_authority(tmp_path: Path, policy: Policy) -> None:
    """A server of a private authority is served through its `ca` file, plain and streamed."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    ours = "ca: ca.pem"
    async with FakeOpenAI(tls=_tls(ca)) as good, gateway(tmp_path, policy(good.url, upstream=ours)) as g:
        assert (await g.chat()).status_code == 200
        assert said((await g.chat(stream=True)).text) == TEXT


def _tls(ca: trustme.CA, host: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(host).configure_cert(context)
    return context


AFTER = {
    "cut": (Act("cut", after=1), "cut"),
    "cut later": (Act("cut", after=4), "cut"),
    "stall": (Act("stall", after=1), "stall"),
    "stall later": (Act("stall", after=4), "stall"),
    "half a chunk": (Act("half_chunk", after=3), "cut"),
    "error event": (Act("error_event", after=1, body=envelope(f"died with {SECRET}")), "error_in_stream"),
    "error event later": (Act("error_event", after=4, body=envelope("out of memory")), "error_in_stream"),
    "error event with choices": (
        Act("error_event", after=3, body=b'{"choices": [], "error": {"message": "m"}}'),
        "error_in_stream",
    ),
    "error event with a lone surrogate": (
        Act("error_event", after=3, body=b'{"error": {"message": "\\ud83d"}}'),
        "error_in_stream",
    ),
    "malformed": (Act("odd_event", after=1, body=b'{"choices": [{"del'), "garbage"),
    "malformed later": (Act("odd_event", after=4, body=b"<html>"), "garbage"),
    "ends early": (Act("finish_early", after=4), "cut"),
}


@pytest.mark.parametrize("crlf", [False, True])
@pytest.mark.parametrize("name", AFTER)
async def test_fault_after_the_first_byte(name: str, *, crlf: bool, tmp_path: Path, policy: Policy) -> None:
    """After the first byte a fault is one error event: no other answer follows, nothing is said twice, no [DONE]."""
    act, fault = AFTER[name]
    act = Act(act.kind, after=act.after, body=act.body, crlf=crlf)
    async with FakeOpenAI(always=act) as bad, FakeOpenAI() as good, gateway(tmp_path, policy(bad.url, good.url)) as g:
        answer = await g.chat(stream=True)
        trace = await g.journal.next()
    assert answer.status_code == 200
    assert answer.headers["x-sluice-attempts"] == "1"
    assert not good.requests
    assert len(errors(answer.text)) == 1
    assert events(answer.text)[-1].startswith('{"error"')
    assert "[DONE]" not in answer.text
    assert SECRET not in answer.text
    assert TEXT.startswith(said(answer.text))
    assert said(answer.text) == "".join(WORDS[: max(0, act.after - 1)])
    assert [attempt.fault for attempt in trace.attempts] == [fault]
    assert trace.outcome == f"upstream_{fault}"
    assert trace.usage.estimated


async def test_no_done(tmp_path: Path, policy: Policy) -> None:
    """A server that finishes but never says [DONE] is not taken for broken: the client gets its [DONE]."""
    async with FakeOpenAI(always=Act("no_done")) as fake, gateway(tmp_path, policy(fake.url)) as g:
        answer = await g.chat(stream=True)
    assert said(answer.text) == TEXT
    assert events(answer.text)[-1] == "[DONE]"
    assert not errors(answer.text)


async def test_hangs_after_done(tmp_path: Path, policy: Policy) -> None:
    """A server that says [DONE] and then hangs neither holds the client nor counts as failed."""
    async with FakeOpenAI(always=Act("hang_after_done")) as fake:
        patient = policy(fake.url).replace("idle: 300ms", "idle: 30s")
        async with gateway(tmp_path, patient) as g:
            answer = await g.chat(stream=True)
            trace = await g.journal.next()
    assert said(answer.text) == TEXT
    assert (trace.outcome, trace.attempts[0].fault) == ("ok", "")


@pytest.mark.parametrize(
    "act",
    [
        Act(piece=7),
        Act(piece=50, crlf=True),
        Act(comments=True),
        Act(comments=True, crlf=True),
    ],
    ids=["pieces", "crlf pieces", "comments", "crlf comments"],
)
async def test_odd_but_right_streams(act: Act, tmp_path: Path, policy: Policy) -> None:
    """Events cut anywhere, CRLF line ends and keep-alive comments are right, and pass."""
    async with FakeOpenAI(always=act) as fake, gateway(tmp_path, policy(fake.url)) as g:
        answer = await g.chat(stream=True)
        trace = await g.journal.next()
    assert said(answer.text) == TEXT
    assert answer.text.count(": keep-alive") >= (len(events(answer.text)) if act.comments else 0)
    assert trace.usage.completion == 6
    assert not trace.usage.estimated


async def test_second_answer_in_one_piece(tmp_path: Path, policy: Policy) -> None:
    """Two answers to one request: the second never reaches another caller."""
    async with FakeOpenAI(always=Act("twice")) as fake, gateway(tmp_path, policy(fake.url)) as g:
        for _ in range(5):
            assert (await g.chat()).json()["id"] == "a1"
    assert len(fake.requests) == 5


async def test_second_answer_later(tmp_path: Path, policy: Policy) -> None:
    """A second answer that comes while nobody asks costs the connection and nothing else."""
    async with FakeOpenAI(always=Act("twice", pace=0.02)) as fake, gateway(tmp_path, policy(fake.url)) as g:
        for number in range(3):
            assert (await g.chat()).json()["id"] == "a1"
            await fake.until(asked=number + 1, open_at_most=0)


async def test_closed_between_calls(tmp_path: Path, policy: Policy) -> None:
    """A kept connection that the server closed is replaced; the client does not see it, nor does the record."""
    async with FakeOpenAI(always=Act("close_idle")) as fake, gateway(tmp_path, policy(fake.url, attempts=1)) as g:
        for stream in (False, True) * 3:
            answer = await g.chat(stream=stream)
            assert answer.status_code == 200
            assert answer.headers["x-sluice-attempts"] == "1"


async def test_error_400_passes(tmp_path: Path, policy: Policy) -> None:
    """The client's own mistake is told as the upstream told it; nobody else is asked, and our key is not in it."""
    act = status(400, envelope(f"max_tokens is wrong ({SECRET})", param="max_tokens", code="bad", extra=1))
    async with FakeOpenAI(always=act) as bad, FakeOpenAI() as good, gateway(tmp_path, policy(bad.url, good.url)) as g:
        answer = await g.chat(stream=True)
        trace = await g.journal.next()
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["param"], error["code"], error["extra"]) == ("max_tokens", "bad", 1)
    assert "[removed]" in error["message"]
    assert SECRET not in answer.text
    assert not good.requests
    assert (trace.status, trace.outcome) == (400, "rejected")


@pytest.mark.parametrize(
    ("code", "body", "message"),
    [
        (422, b'{"detail": "field required"}', "field required"),
        (400, b'{"object": "error", "message": "too long", "code": 400}', "too long"),
        (400, b'{"error": "too long"}', "too long"),
        (400, b'{"error": {"message": "\\ud83d"}}', ""),
        (413, b"<html>too large</html>", "413"),
        (400, b"", "400"),
    ],
)
async def test_error_400_without_envelope(code: int, body: bytes, message: str, tmp_path: Path, policy: Policy) -> None:
    """A refusal in other words becomes OpenAI's envelope with its status; it is no fault of the server's."""
    async with FakeOpenAI(always=status(code, body)) as fake, gateway(tmp_path, policy(fake.url)) as g:
        for _ in range(6):
            answer = await g.chat()
        assert g.runtime.pipeline.stations["u0"].breaker.reason == ""
    assert answer.status_code == code
    assert message in answer.json()["error"]["message"]
    assert "html" not in answer.text
    assert {"message", "type", "param", "code"} <= set(answer.json()["error"])


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ((("retry-after", "7"),), 7, 7),
        ((("retry-after", "0.2"),), 1, 1),
        ((("retry-after-ms", "2500"),), 3, 3),
        ((("retry-after", format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)),), 3000, 3600),
        ((("retry-after-ms", "inf"),), 1, 10**6),
        ((("retry-after", "9" * 400),), 1, 10**6),
    ],
    ids=["seconds", "part of a second", "ms", "date", "infinite", "absurd"],
)
async def test_retry_after_is_passed_on(
    headers: tuple[tuple[str, str], ...], least: int, most: int, tmp_path: Path, policy: Policy
) -> None:
    """What the upstream says about when to come again reaches the client, in whole seconds and never too early."""
    act = status(429, envelope("slow down"), *headers)
    async with FakeOpenAI(always=act) as fake, gateway(tmp_path, policy(fake.url, attempts=1)) as g:
        answer = await g.chat()
    assert answer.status_code == 429
    assert least <= int(answer.headers["retry-after"]) <= most


@pytest.mark.parametrize("value", ["soon", "-5", "nan", "²", "Fri, 99 Foo 2026 99:99:99 GMT", "0"])
async def test_useless_retry_after(value: str, tmp_path: Path, policy: Policy) -> None:
    """A Retry-After that says nothing is passed over."""
    act = status(429, envelope("slow down"), ("retry-after", value))
    async with FakeOpenAI(always=act) as fake, gateway(tmp_path, policy(fake.url, attempts=1)) as g:
        answer = await g.chat()
    assert answer.status_code == 429
    assert answer.headers.get("retry-after", "0") == "0"
