"""Tests of gateway.admin.guard: nothing is reached without the token."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.admin.guard import BODY_BYTES, Guard
from gateway.admin.login import GUESSES
from gateway.errors import NoSuchPath

TOKEN = "token-of-the-test"


async def ask(path: str = "/x", **headers: str) -> httpx.Response:
    """What a guarded application answers."""
    transport = httpx.ASGITransport(Guard(PlainTextResponse("inside"), TOKEN))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        return await client.get(path, headers=headers)


def basic(user: str, password: str) -> str:
    """The header a browser sends."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("value", [f"Bearer {TOKEN}", f"bearer {TOKEN}", basic("", TOKEN), basic("anyone", TOKEN)])
async def test_the_token_opens(value: str) -> None:
    """As a bearer token or as Basic's password, whatever the user name."""
    answer = await ask(authorization=value)
    assert (answer.status_code, answer.text) == (200, "inside")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        TOKEN,
        f"Digest {TOKEN}",
        basic(TOKEN, ""),
        basic("", ""),
        "Basic !!!",
        "Basic " + base64.b64encode(TOKEN.encode()).decode(),
    ],
)
async def test_anything_else_does_not(value: str) -> None:
    """The answer is 401 in the envelope, names both ways in, and does not show the token."""
    answer = await ask(authorization=value)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert [v.split()[0] for v in answer.headers.get_list("www-authenticate")] == ["Basic", "Bearer"]
    assert TOKEN not in answer.text


async def test_no_header_at_all() -> None:
    """Without the header every path is closed, unknown ones too; only /healthz is open."""
    assert (await ask("/")).status_code == 401
    assert (await ask("/healthz/../api/stats")).status_code == 401
    assert (await ask("/healthz")).status_code == 200


async def test_two_headers_are_refused() -> None:
    """Two Authorization headers are somebody's trick: a proxy may have checked the other one."""
    transport = httpx.ASGITransport(Guard(PlainTextResponse("inside"), TOKEN))
    twice = [("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer other")]
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        assert (await client.get("/x", headers=twice)).status_code == 401


async def test_answers_stay_out_of_caches_and_frames() -> None:
    """Every answer says that it may not be stored, framed or read as another type."""
    for answer in (await ask(), await ask(authorization=f"Bearer {TOKEN}")):
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers


async def post(*, token: str = TOKEN, **headers: str) -> httpx.Response:
    """What a guarded application answers to a POST with these headers."""
    transport = httpx.ASGITransport(Guard(PlainTextResponse("inside"), TOKEN))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.post("/x", content=b"{}", headers={"authorization": basic("me", token), **sent})


JSON = "application/json"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content_type": "text/plain"},
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_type": "multipart/form-data; boundary=application/json"},
        {"content_type": "text/plain; a=application/json"},
    ],
)
async def test_what_a_form_can_post_is_refused(headers: dict[str, str]) -> None:
    """A browser that knows the password sends it with another site's form; a form cannot send JSON."""
    answer = await post(**headers)
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "unsupported_content_type"


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "https://elsewhere.example"},
        {"origin": "null"},
        {"origin": "http://admin.elsewhere.example"},
        {"origin": "http://["},
    ],
)
async def test_another_sites_page_may_not_post(headers: dict[str, str]) -> None:
    """Even one that got around the content type is refused by where the browser says it stands."""
    answer = await post(content_type=JSON, **headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["type"] == "permission_error"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "same-origin", "origin": "http://admin"},
        {"sec_fetch_site": "none"},
        {"origin": "http://admin"},
    ],
)
async def test_a_program_and_our_own_page_may_post(headers: dict[str, str]) -> None:
    """A program sends no origin; our own page sends ours."""
    assert (await post(content_type=f"{JSON}; charset=utf-8", **headers)).status_code == 200


async def test_a_post_needs_the_token_first() -> None:
    """Who does not bear it learns nothing of what else a POST needs."""
    assert (await post(token="guess", content_type=JSON)).status_code == 401


def test_an_empty_token_is_refused() -> None:
    """A guard without a token would let everybody in."""
    with pytest.raises(ValueError, match="empty token"):
        Guard(PlainTextResponse("inside"), "")


def client(app: ASGIApp, **headers: str) -> httpx.AsyncClient:
    """One who bears the token, before this application."""
    sent = {"authorization": f"Bearer {TOKEN}", **headers}
    return httpx.AsyncClient(transport=httpx.ASGITransport(Guard(app, TOKEN)), base_url="http://admin", headers=sent)


async def test_guesses_in_headers_are_counted() -> None:
    """After many within a minute wrong ones are told to wait; the right one is let in all the same."""
    async with client(PlainTextResponse("inside")) as guessing:
        for number in range(GUESSES):
            value = basic("me", f"guess {number}") if number % 2 else f"Bearer guess-{number}"
            assert (await guessing.get("/x", headers={"authorization": value})).status_code == 401
        waiting = await guessing.get("/x", headers={"authorization": "Bearer guess"})
        assert (waiting.status_code, waiting.headers["retry-after"]) == (429, "60")
        assert waiting.json()["error"]["code"] == "too_many_tries"
        assert (await guessing.get("/x")).status_code == 200


async def test_a_fault_of_ours_has_the_headers_too() -> None:
    """What nobody thought of is told in the envelope, as safe from caches and frames as everything else."""

    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("nobody thought of this")

    async with client(failing) as asking:
        answer = await asking.get("/x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert answer.headers["cache-control"] == "no-store"
    assert "nobody" not in answer.text


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was asked and sent."""
    request = Request(scope, receive)
    text = f"{request.method} {len(await request.body())}"
    await PlainTextResponse(text)(scope, receive, send)


@pytest.mark.parametrize(("length", "status"), [(BODY_BYTES, 200), (BODY_BYTES + 1, 413)])
async def test_no_route_takes_a_long_body(length: int, status: int) -> None:
    """Whatever the path; one that does not say how long it is is read no further than the limit."""

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(length // 1000):
            yield b"x" * 1000
        yield b"x" * (length % 1000)

    async with client(echo, **{"content-type": JSON}) as sending:
        whole = await sending.post("/x", content=b"x" * length)
        streamed = await sending.post("/x", content=parts())
    assert (whole.status_code, streamed.status_code) == (status, status)
    if status == 200:
        assert whole.text == streamed.text == f"POST {length}"
    else:
        assert whole.json()["error"]["code"] == "request_too_large"


async def test_head_is_get_without_the_body() -> None:
    """Every route that answers GET answers HEAD."""
    async with client(echo) as asking:
        answer = await asking.head("/x")
    assert (answer.status_code, answer.text) == (200, "")
    assert answer.headers["content-length"] == str(len("GET 0"))


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers that there is no such path."""
    answer = Response(NoSuchPath("There is no such path.").envelope(), 404, media_type="application/json")
    await answer(scope, receive, send)


async def test_a_browser_sees_a_page_where_there_is_none() -> None:
    """It has a link home; a program, and whoever asks for data, gets the envelope."""
    page = {"accept": "text/html,*/*"}
    async with client(nothing) as asking:
        shown = await asking.get("/nowhere", headers=page)
        told = [await asking.get("/nowhere"), await asking.get("/api/nowhere", headers=page)]
    assert shown.status_code == 404
    assert '<a href="/">' in shown.text
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert [answer.json()["error"]["code"] for answer in told] == ["unknown_url", "unknown_url"]
