"""The admin plane's token, asked before anything else is looked at, so that no route can be forgotten.

The token comes as `Authorization: Bearer TOKEN`, or as the password of HTTP Basic, with any user name, so that a
browser can ask for it. Requests of another site cannot use it: there are no CORS headers to read an answer with, and a
name rebound to this address is another origin to which the browser sends no password.

A browser that knows the password would still send it with a form that another site posts here. So a POST must be JSON,
for which a browser asks leave first and gets none, and must not come from another site's page.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import Forbidden, GatewayError, NotJsonType, Unauthorized

OPEN = frozenset({"/healthz"})  # says only that the process lives

_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """Lets through what bears the token; answers 401 to the rest."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        if not token:
            raise ValueError("an empty token would open the admin plane to everybody")
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal is None:
                await self._app(scope, receive, _with_headers(send))
            else:
                await _refuse(refusal, _with_headers(send))
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _refusal(self, scope: Scope) -> GatewayError | None:
        """Why this request goes no further."""
        if scope["path"] not in OPEN and not self._bears_token(scope):
            return Unauthorized("The admin plane wants its token: Authorization: Bearer TOKEN.")
        return _post_refusal(Headers(scope=scope)) if scope["method"] == "POST" else None

    def _bears_token(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(_secret(given[0]), self._token)


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


def _post_refusal(headers: Headers) -> GatewayError | None:
    """Why this POST may be another site's doing."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return NotJsonType("A POST to the admin plane has the content type application/json.")
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is None:  # an old browser, or none at all
        is_ours = origin is None or urlsplit(origin).netloc == headers.get("host")
    else:
        is_ours = site in {"same-origin", "none"}
    return None if is_ours else Forbidden("The admin plane takes no POST from another site's page.")


async def _refuse(refusal: GatewayError, send: Send) -> None:
    """Answer in the envelope; a 401 says which ways in there are."""
    body = refusal.envelope()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if isinstance(refusal, Unauthorized):
        headers.append((b"www-authenticate", b'Basic realm="sluice admin", charset="UTF-8"'))
        headers.append((b"www-authenticate", b'Bearer realm="sluice admin"'))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    """Keep answers out of caches, frames and scripts."""

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return wrapped
