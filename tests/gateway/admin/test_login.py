"""Tests of gateway.admin.login and the guard's forms: a browser signs in once, and no other site can make it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from starlette.responses import PlainTextResponse

from gateway.admin.guard import Guard
from gateway.admin.login import ADDRESSES, SESSION_SECONDS, TRIES, TRY_SECONDS, Sessions, Tries, safe_next
from gateway.state import State

TOKEN = "token-of-the-test"
HTML = {"accept": "text/html,application/xhtml+xml"}


class Clock:
    """A clock that stands until it is moved."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def browser(
    clock: Clock | None = None, base_url: str = "http://admin:8081", state: State | None = None
) -> httpx.AsyncClient:
    """One who keeps cookies and follows nothing by itself."""
    transport = httpx.ASGITransport(Guard(PlainTextResponse("inside"), TOKEN, clock or Clock(), state))
    return httpx.AsyncClient(transport=transport, base_url=base_url)


async def sign_in(client: httpx.AsyncClient, token: str = TOKEN, wanted: str = "/", **headers: str) -> httpx.Response:
    """Send the form."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/login", data={"token": token, "next": wanted}, headers=sent)


async def test_a_browser_is_led_to_the_form_and_back() -> None:
    """A page without a session leads to the form, the form to the page; then the cookie opens it."""
    async with browser() as client:
        first = await client.get("/requests?model=a", headers=HTML)
        assert (first.status_code, first.headers["location"]) == (303, "/login?next=%2Frequests%3Fmodel%3Da")
        form = await client.get(first.headers["location"])
        assert 'name="next" value="/requests?model=a"' in form.text
        signed = await sign_in(client, wanted="/requests?model=a")
        assert (signed.status_code, signed.headers["location"]) == (303, "/requests?model=a")
        assert (await client.get("/requests", headers=HTML)).text == "inside"


@pytest.mark.parametrize("path", ["/api/stats", "/metrics", "/_dash-layout", "/export/requests.csv"])
async def test_programs_are_told_401(path: str) -> None:
    """What is no page answers 401 to a browser, too; a page's script is not made to ask for a password."""
    async with browser() as client:
        answer = await client.get(path, headers=HTML)
    assert answer.status_code == 401
    ways = [value.split()[0] for value in answer.headers.get_list("www-authenticate")]
    assert ways == (["Bearer"] if path.startswith("/_") else ["Basic", "Bearer"])


async def test_the_cookie_is_not_the_token() -> None:
    """It is HttpOnly, SameSite=Strict, ends, and does not hold the token; Secure over https."""
    async with browser() as client:
        said = (await sign_in(client)).headers["set-cookie"]
    assert TOKEN not in said
    assert {"HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={SESSION_SECONDS}"} <= set(said.split("; "))
    assert "Secure" not in said
    async with browser(base_url="https://admin") as client:
        assert "Secure" in (await sign_in(client)).headers["set-cookie"].split("; ")


async def test_a_session_ends() -> None:
    """By itself after its time, and at once when one signs out, even for who copied the cookie."""
    clock = Clock()
    async with browser(clock) as client:
        cookie = (await sign_in(client)).headers["set-cookie"].split(";")[0]
        clock.now += SESSION_SECONDS - 1
        assert (await client.get("/")).status_code == 200
        clock.now += 2
        assert (await client.get("/", headers={"cookie": cookie})).status_code == 401
        cookie = (await sign_in(client)).headers["set-cookie"].split(";")[0]
        form = {"content-type": "application/x-www-form-urlencoded"}
        assert (await client.post("/logout", headers=form)).headers["location"] == "/login"
        assert (await client.get("/", headers={"cookie": cookie})).status_code == 401


@pytest.mark.parametrize(
    "cookie",
    ["", "x", "9999999999.abc.", "9999999999.abc." + "0" * 64, "..", "nan.x." + "0" * 64, "\u00e9.\u00e9.\u00e9"],
)
async def test_a_made_up_cookie_opens_nothing(cookie: str) -> None:
    """Whatever it says."""
    assert not Sessions(b"token", Clock()).holds(cookie)
    async with browser() as client:
        sent = f"sluice-admin-8081={cookie}".encode()
        assert (await client.get("/", headers=[(b"cookie", sent)])).status_code == 401


def test_a_cookie_of_another_token_opens_nothing() -> None:
    """Who changes the token ends every session."""
    cookie = Sessions(b"one", Clock()).begin()
    assert Sessions(b"one", Clock()).holds(cookie)
    assert not Sessions(b"other", Clock()).holds(cookie)


async def test_wrong_tokens_are_counted() -> None:
    """After a few within a minute wrong ones wait; the right one never does."""
    clock = Clock()
    async with browser(clock) as client:
        for _ in range(TRIES):
            assert (await sign_in(client, "guess")).status_code == 401
        waiting = await sign_in(client, "guess")
        assert (waiting.status_code, waiting.headers["retry-after"]) == (429, "61")
        assert "Too many wrong tokens" in waiting.text
        assert (await sign_in(client)).status_code == 303
        clock.now += TRY_SECONDS + 1
        assert (await sign_in(client, "guess")).status_code == 401


def test_addresses_are_forgotten() -> None:
    """A flood of addresses fills no memory."""
    tries = Tries(Clock())
    for number in range(ADDRESSES + 5):
        tries.wrong(str(number))
    assert len(tries.seen) == ADDRESSES


async def test_signed_out_is_signed_out_after_a_restart(tmp_path: Path) -> None:
    """A new process knows which cookies somebody signed out of, and takes the others."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    async with browser(state=State(tmp_path)) as client:
        kept = (await sign_in(client)).headers["set-cookie"].split(";")[0]
        ended = (await sign_in(client)).headers["set-cookie"].split(";")[0]
        await client.post("/logout", headers=form)
    async with browser(state=State(tmp_path)) as client:
        assert (await client.get("/", headers={"cookie": kept})).status_code == 200
        assert (await client.get("/", headers={"cookie": ended})).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
async def test_another_site_cannot_sign_in_or_out(headers: dict[str, str]) -> None:
    """Its form is refused before the token is looked at."""
    async with browser() as client:
        assert (await sign_in(client, **headers)).status_code == 403
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        assert (await client.post("/logout", data={}, headers=sent)).status_code in {403, 415}


async def test_a_form_is_short_and_a_form() -> None:
    """A long body is not read to its end, and JSON is no form."""
    async with browser() as client:
        assert (await sign_in(client, "x" * 5000)).status_code == 413
        assert (await client.post("/login", json={"token": TOKEN})).status_code == 415
        assert (await client.put("/login")).status_code == 405
        assert (await client.get("/logout")).status_code == 405


async def test_from_another_site_the_same_address_is_asked_for_once_more() -> None:
    """A Strict cookie does not come with a link in a chat: such a browser is led on from here, where it does."""
    async with browser() as client:
        answer = await client.get("/login?next=%2Frequests%2Fa", headers={"sec-fetch-site": "cross-site"})
        assert 'content="0;url=/requests/a"' in answer.text
        assert "<form" not in answer.text


@pytest.mark.parametrize(
    ("asked", "leads"),
    [
        ("/requests?model=a", "/requests?model=a"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("", "/"),
        ("/a\r\nset-cookie: x", "/"),
        ("//", "/"),
        ("http:x", "/"),
        ("http://[", "/"),
        ("//[::1", "/"),
    ],
)
def test_the_form_leads_nowhere_else(asked: str, leads: str) -> None:
    """Only to paths of ours."""
    assert safe_next(asked) == leads


async def test_the_form_shows_no_markup_of_others() -> None:
    """What the URL says is text in the form."""
    async with browser() as client:
        answer = await client.get("/login?next=/%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert "<script" not in answer.text


async def test_methods() -> None:
    """Who is in may GET, HEAD and POST."""
    async with browser() as client:
        answer = await client.request("TRACE", "/", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 405
