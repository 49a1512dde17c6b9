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
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import cast
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.admin import login
from gateway.errors import Forbidden, GatewayError, NoSuchMethod, NotJsonType, TooLarge, Unauthorized

OPEN = frozenset({"/healthz"})  # says only that the process lives
LOGIN, LOGOUT = "/login", "/logout"
METHODS = frozenset({"GET", "HEAD", "POST"})

# What pages may do: run scripts of our own files, and style what they draw; nothing inline, nothing from elsewhere.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": _POLICY,
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",  # with none at all a browser would not say where a form of ours comes from
    "x-content-type-options": "nosniff",
}
_KEPT = ("/_assets/", "/_dash-component-suites/")  # scripts and styles, which hold no figures: a browser may keep them


class Guard:
    """Lets through what bears the token; answers 401 to the rest, and shows browsers the form."""

    def __init__(self, app: ASGIApp, token: str, clock: Callable[[], float] = time.time) -> None:
        if not token:
            raise ValueError("an empty token would open the admin plane to everybody")
        self._app = app
        self._token = token.encode()
        self._sessions = login.Sessions(self._token, clock)
        self._tries = login.Tries(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await self._answer(scope, receive, _with_headers(send, scope["path"]))
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if scope["path"] in {LOGIN, LOGOUT}:
            await self._sign(scope, headers, receive, send)
            return
        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self._app(scope, receive, send)
        elif isinstance(refusal, Unauthorized) and _shows(scope, headers):
            await _redirect(send, login.login_path(scope["path"], scope["query_string"].decode("latin-1")))
        else:
            await _refuse(refusal, scope["path"], send)

    def _refusal(self, scope: Scope, headers: Headers) -> GatewayError | None:
        """Why this request goes no further."""
        if scope["path"] not in OPEN and not self._bears_token(scope, headers):
            return Unauthorized("The admin plane wants its token: Authorization: Bearer TOKEN.")
        if scope["method"] not in METHODS:
            return NoSuchMethod("The admin plane answers GET, HEAD and POST.")
        return _post_refusal(headers) if scope["method"] == "POST" else None

    def _bears_token(self, scope: Scope, headers: Headers) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if given:
            return len(given) == 1 and hmac.compare_digest(_secret(given[0]), self._token)
        return self._sessions.holds(_cookie(scope, headers))

    # The forms

    async def _sign(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        """Answer /login and /logout."""
        if scope["method"] == "POST":
            refusal = _form_refusal(headers)
            if refusal is not None:
                await _refuse(refusal, scope["path"], send)
            elif scope["path"] == LOGOUT:
                self._sessions.end(_cookie(scope, headers))
                await _redirect(send, LOGIN, _set_cookie(scope, "", 0))
            else:
                await self._sign_in(scope, await _body(receive), send)
        elif scope["path"] == LOGIN and scope["method"] in METHODS:
            wanted = login.safe_next(parse_qs(scope["query_string"].decode("latin-1")).get("next", ["/"])[0])
            is_foreign = headers.get("sec-fetch-site") in {"cross-site", "same-site"}
            await _show(send, login.again(wanted) if is_foreign else login.form(wanted))
        else:
            await _refuse(NoSuchMethod("This path does not answer this method."), scope["path"], send)

    async def _sign_in(self, scope: Scope, body: bytes | None, send: Send) -> None:
        if body is None:
            await _refuse(TooLarge("The form is too long."), scope["path"], send)
            return
        address = (scope.get("client") or ("", 0))[0]
        token, wanted = login.form_of(body)
        wait = self._tries.wait(address)
        if wait:
            trouble = f"Too many wrong tokens. Try again in {wait} seconds."
            await _show(send, login.form(wanted, trouble), 429, (b"retry-after", str(wait).encode()))
        elif hmac.compare_digest(token.encode(), self._token):
            await _redirect(send, wanted, _set_cookie(scope, self._sessions.begin(), login.SESSION_SECONDS))
        else:
            self._tries.note(address)
            await _show(send, login.form(wanted, "This is not the token."), 401)


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
        return origin is None or urlsplit(origin).netloc == headers.get("host")
    return site in {"same-origin", "none"}


async def _body(receive: Receive) -> bytes | None:
    """The form's body; None if it is longer than any form of ours."""
    body = b""
    while len(body) <= login.FORM_BYTES:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return body if len(body) <= login.FORM_BYTES else None
    return None


async def _redirect(send: Send, where: str, *headers: tuple[bytes, bytes]) -> None:
    sent = [(b"location", where.encode("ascii", "replace")), (b"content-length", b"0"), *headers]
    await send({"type": "http.response.start", "status": 303, "headers": sent})
    await send({"type": "http.response.body", "body": b""})


async def _show(send: Send, page: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    kind = (b"content-type", b"text/html; charset=utf-8")
    sent = [kind, (b"content-length", str(len(page)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": page})


async def _refuse(refusal: GatewayError, path: str, send: Send) -> None:
    """Answer in the envelope; a 401 says which ways in there are, but to a page's script only that it is not in.

    A browser would ask for a password then, on top of the page, and the page itself knows better where to sign in.
    """
    body = refusal.envelope()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if isinstance(refusal, Unauthorized) and not path.startswith("/_"):
        headers.append((b"www-authenticate", b'Basic realm="sluice admin", charset="UTF-8"'))
    if isinstance(refusal, Unauthorized):
        headers.append((b"www-authenticate", b'Bearer realm="sluice admin"'))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send, path: str) -> Send:
    """Keep answers out of caches, frames and other sites' pages."""

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            is_kept = message["status"] in {200, 304} and path.startswith(_KEPT)
            for name, value in _HEADERS.items():
                if not (is_kept and name == "cache-control"):
                    headers[name] = value
        await send(message)

    return wrapped
