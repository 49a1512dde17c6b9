"""Tests of gateway.admin.guard: nothing is reached without the token."""

from __future__ import annotations

import base64

import httpx
import pytest
from starlette.responses import PlainTextResponse

from gateway.admin.guard import Guard

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
