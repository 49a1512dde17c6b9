"""The admin plane's token, asked before anything else is looked at, so that no route can be forgotten.

The token comes as `Authorization: Bearer TOKEN`, as the password of HTTP Basic with any user name, or, once, in the
form at /login, which gives a cookie for it. Requests of another site cannot use any of these: there are no CORS headers
to read an answer with, a name rebound to this address is another origin to which the browser sends nothing, and the
cookie stays at home when another site leads here.

A browser that knows the password would still send it with a form that another site posts here. So a POST must be JSON,
for which a browser asks leave first and gets none, and must not come from another site's page. The two forms of our
own, /login and /logout, must come from a page of ours.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import cast
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.admin import login
from gateway.admin.ended import Ended
from gateway.admin.sending import (
    body_of,
    redirect,
    refuse,
    replayed,
    show,
    with_headers,
    with_page,
    without_body,
)
from gateway.errors import Forbidden, GatewayError, NoSuchMethod, NotJsonType, TooLarge, Unauthorized
from gateway.state import State

_log = logging.getLogger(__name__)

OPEN = frozenset({"/healthz"})  # says only that the process lives
LOGIN, LOGOUT = "/login", "/logout"
METHODS = frozenset({"GET", "HEAD", "POST"})
BODY_BYTES = 1_000_000  # of any request; the longest sensible one is a purge with every field


class TooManyTries(GatewayError):
    """Too many wrong tokens came from this address."""

    status, code, type = 429, "too_many_tries", "rate_limit_error"

    def __init__(self, wait: int) -> None:
        super().__init__(f"Too many wrong tokens came from this address. Try again in {wait} seconds.")
        self.headers["retry-after"] = str(wait)


class Guard:
    """Lets through what bears the token; answers 401 to the rest, and shows browsers the form."""

    def __init__(
        self, app: ASGIApp, token: str, clock: Callable[[], float] = time.time, state: State | None = None
    ) -> None:
        """`state` is where it is kept who signed out; without it that is forgotten when the process ends."""
        if not token:
            raise ValueError("an empty token would open the admin plane to everybody")
        self._app = app
        self._token = token.encode()
        self._sessions = login.Sessions(self._token, clock, Ended(state))
        self._tries = login.Tries(clock)
        self._guesses = login.Tries(clock, login.GUESSES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await self._safely(scope, receive, with_headers(send, scope["path"]))
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _safely(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, whatever happens: what the framework says of a fault would come without our headers."""
        is_begun = False

        async def noting(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await self._answer(scope, receive, noting)
        except Exception:
            # Any route may fail in a way that nobody thought of. Whoever asked is told; once an answer has begun that
            # is too late, and the server cuts it off.
            if is_begun:
                raise
            _log.exception("the admin plane failed at a request")
            await refuse(GatewayError("The admin plane failed at this; its log says why."), scope["path"], send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if scope["path"] in {LOGIN, LOGOUT}:
            await self._sign(scope, headers, receive, send)
            return
        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self._pass(scope, headers, receive, send)
        elif isinstance(refusal, Unauthorized) and _shows(scope, headers):
            await redirect(send, login.login_path(scope["path"], scope["query_string"].decode("latin-1")))
        else:
            await refuse(refusal, scope["path"], send)

    async def _pass(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        """Have the application answer, to HEAD as to GET. A body is read here first: no route takes a long one."""
        if "content-length" in headers or "transfer-encoding" in headers:
            body = await body_of(receive, BODY_BYTES) if _announced(headers) <= BODY_BYTES else None
            if body is None:
                await refuse(TooLarge(f"The body is over {BODY_BYTES:,} bytes."), scope["path"], send)
                return
            receive = replayed(body, receive)
        if scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, without_body(send)
        await self._app(scope, receive, with_page(send, login.missing()) if _shows(scope, headers) else send)

    def _refusal(self, scope: Scope, headers: Headers) -> GatewayError | None:
        """Why this request goes no further."""
        stranger = None if scope["path"] in OPEN else self._stranger(scope, headers)
        if stranger is not None:
            return stranger
        if scope["method"] not in METHODS:
            return NoSuchMethod("The admin plane answers GET, HEAD and POST.")
        return _post_refusal(headers) if scope["method"] == "POST" else None

    def _stranger(self, scope: Scope, headers: Headers) -> GatewayError | None:
        """Why this one is not let in. The right token always is, however many wrong ones came from its address."""
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) == 1 and hmac.compare_digest(_secret(given[0]), self._token):
            return None
        if not given and self._sessions.holds(_cookie(scope, headers)):
            return None
        wait = self._guesses.wrong(_address(scope)) if given else 0
        if wait:
            return TooManyTries(wait)
        return Unauthorized("The admin plane wants its token: Authorization: Bearer TOKEN.")

    # The forms

    async def _sign(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        """Answer /login and /logout."""
        if scope["method"] == "POST":
            refusal = _form_refusal(headers)
            if refusal is not None:
                await refuse(refusal, scope["path"], send)
            elif scope["path"] == LOGOUT:
                self._sessions.end(_cookie(scope, headers))
                await redirect(send, LOGIN, _set_cookie(scope, "", 0))
            else:
                await self._sign_in(scope, await body_of(receive, login.FORM_BYTES), send)
        elif scope["path"] == LOGIN and scope["method"] in METHODS:
            wanted = login.safe_next(parse_qs(scope["query_string"].decode("latin-1")).get("next", ["/"])[0])
            is_foreign = headers.get("sec-fetch-site") in {"cross-site", "same-site"}
            await show(send, login.again(wanted) if is_foreign else login.form(wanted))
        else:
            await refuse(NoSuchMethod("This path does not answer this method."), scope["path"], send)

    async def _sign_in(self, scope: Scope, body: bytes | None, send: Send) -> None:
        if body is None:
            await refuse(TooLarge("The form is too long."), scope["path"], send)
            return
        token, wanted = login.form_of(body)
        if hmac.compare_digest(token.encode(), self._token):
            await redirect(send, wanted, _set_cookie(scope, self._sessions.begin(), login.SESSION_SECONDS))
            return
        wait = self._tries.wrong(_address(scope))
        if wait:
            trouble = f"Too many wrong tokens. Try again in {wait} seconds."
            await show(send, login.form(wanted, trouble), 429, (b"retry-after", str(wait).encode()))
        else:
            await show(send, login.form(wanted, "This is not the token."), 401)


def _address(scope: Scope) -> str:
    client = cast("tuple[str, int] | None", scope.get("client"))
    return client[0] if client else ""


def _announced(headers: Headers) -> int:
    """How long the body says it is."""
    length = headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else 0


def _shows(scope: Scope, headers: Headers) -> bool:
    """Whether this is a browser on its way to a page."""
    return scope["method"] in {"GET", "HEAD"} and login.is_page(scope["path"], headers.get("accept", ""))


def _secret(authorization: bytes) -> bytes:
    """The token in the header's value; empty where there is none."""
    scheme, _, rest = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return rest.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""


def _cookie_name(scope: Scope) -> str:
    """By port: cookies know none, and two gateways on one machine would sign each other out."""
    server = cast("tuple[str, int | None] | None", scope.get("server"))
    return f"{login.COOKIE}-{server[1]}" if server else login.COOKIE


def _cookie(scope: Scope, headers: Headers) -> str:
    """Our cookie's value; empty where there is none."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(_cookie_name(scope))
    except CookieError:
        return ""
    return found.value if found else ""


def _set_cookie(scope: Scope, value: str, seconds: int) -> tuple[bytes, bytes]:
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    text = f"{_cookie_name(scope)}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict{secure}"
    return b"set-cookie", text.encode()


def _post_refusal(headers: Headers) -> GatewayError | None:
    """Why this POST may be another site's doing."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return NotJsonType("A POST to the admin plane has the content type application/json.")
    return None if _is_ours(headers) else Forbidden("The admin plane takes no POST from another site's page.")


def _form_refusal(headers: Headers) -> GatewayError | None:
    """Why this form may be another site's doing."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return NotJsonType("This path takes the form that it shows.")
    return None if _is_ours(headers) else Forbidden("The admin plane takes no form from another site's page.")


def _is_ours(headers: Headers) -> bool:
    """Whether a page of ours, or no page at all, sends this."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is None:  # an old browser, one that came here without https, or none at all
        return origin is None or _host(origin) == headers.get("host")
    return site in {"same-origin", "none"}


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # a bracket that opens no address
        return None
