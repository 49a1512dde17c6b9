"""What the guard reads and sends by itself: short bodies, refusals in the envelope, pages, headers on everything."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Send

from gateway.errors import GatewayError, Unauthorized

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


async def body_of(receive: Receive, most: int) -> bytes | None:
    """The request's body; None if it is longer than that."""
    body = bytearray()
    while len(body) <= most:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return bytes(body) if len(body) <= most else None
    return None


def replayed(body: bytes, receive: Receive) -> Receive:
    """A body that was read already, for whoever reads it next; then what comes after it."""
    is_told = False

    async def told() -> Message:
        nonlocal is_told
        if is_told:
            return await receive()
        is_told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return told


async def redirect(send: Send, where: str, *headers: tuple[bytes, bytes]) -> None:
    """Lead a browser to another path of ours."""
    sent = [(b"location", where.encode("ascii", "replace")), (b"content-length", b"0"), *headers]
    await send({"type": "http.response.start", "status": 303, "headers": sent})
    await send({"type": "http.response.body", "body": b""})


async def show(send: Send, page: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    """Send a page."""
    kind = (b"content-type", b"text/html; charset=utf-8")
    sent = [kind, (b"content-length", str(len(page)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": page})


async def refuse(refusal: GatewayError, path: str, send: Send) -> None:
    """Answer in the envelope; a 401 says which ways in there are, but to a page's script only that it is not in.

    A browser would ask for a password then, on top of the page, and the page itself knows better where to sign in.
    """
    body = refusal.envelope()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
    if isinstance(refusal, Unauthorized) and not path.startswith("/_"):
        headers.append((b"www-authenticate", b'Basic realm="sluice admin", charset="UTF-8"'))
    if isinstance(refusal, Unauthorized):
        headers.append((b"www-authenticate", b'Bearer realm="sluice admin"'))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def with_headers(send: Send, path: str) -> Send:
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


def without_body(send: Send) -> Send:
    """The answer to HEAD: that of GET, without what it is about."""

    async def wrapped(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return wrapped


def with_page(send: Send, page: bytes) -> Send:
    """Show this page in the place of an envelope that says that there is nothing."""
    is_missing = False

    async def wrapped(message: Message) -> None:
        nonlocal is_missing
        if message["type"] == "http.response.start":
            kind = MutableHeaders(scope=message).get("content-type", "")
            is_missing = message["status"] == 404 and kind.startswith("application/json")
        if not is_missing:
            await send(message)
        elif not message.get("more_body") and message["type"] == "http.response.body":
            await show(send, page, 404)

    return wrapped
