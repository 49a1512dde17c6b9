"""Signing in with a browser: a form takes the token and gives a cookie, which ends by itself and cannot be made up.

The cookie holds a code made from the token, not the token; who changes the token ends every session. Nothing is kept of
a session but, until its time is over, that somebody signed out of it; that is kept over a restart, too.

A cookie that is SameSite=Strict does not come with a link that was clicked on another site, as in a chat. The browser
says so, and then gets a page that leads it to the same address once more, now from here: with its cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, urlsplit

from gateway.admin.ended import Ended

SESSION_SECONDS = 12 * 3600
TRIES, TRY_SECONDS = 5, 60.0  # wrong tokens in the form from one address in that time
GUESSES = 20  # wrong tokens in headers
ADDRESSES = 1000  # remembered at once
FORM_BYTES = 4096
COOKIE = "sluice-admin"

_STYLE = (
    "html{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;"
    "min-height:90vh;margin:0;padding:0 16px}main{width:100%;max-width:22rem}h1{font-size:1.3rem}"
    "label{display:block;margin:1rem 0 .3rem}input,button{font:inherit;width:100%;box-sizing:border-box;padding:.5rem}"
    "button{margin-top:1rem}code{font-size:.9em}[role=alert]{border-left:3px solid #e03131;padding-left:.7rem}"
)


@dataclass
class Sessions:
    """Who is signed in, told by the cookies alone."""

    token: bytes
    clock: Callable[[], float]
    ended: Ended = field(default_factory=Ended)

    def begin(self) -> str:
        """A new cookie's value."""
        told = f"{int(self.clock()) + SESSION_SECONDS}.{secrets.token_urlsafe(16)}"
        return f"{told}.{self._code(told)}"

    def holds(self, cookie: str) -> bool:
        """Whether this cookie is one of ours whose time is not over."""
        told, _, code = cookie.rpartition(".")
        if not hmac.compare_digest(code.encode(), self._code(told).encode()) or cookie in self.ended:
            return False
        return _end(cookie) > self.clock()

    def end(self, cookie: str) -> None:
        """Sign out."""
        if self.holds(cookie):
            self.ended.add(cookie, _end(cookie), self.clock())

    def _code(self, told: str) -> str:
        return hmac.digest(self.token, b"sluice admin session " + told.encode(), hashlib.sha256).hex()


def _end(cookie: str) -> float:
    """When a cookie of ours ends by itself."""
    return float(cookie.partition(".")[0])


@dataclass
class Tries:
    """Wrong tokens by address, so that nobody can try many."""

    clock: Callable[[], float]
    most: int = TRIES
    seen: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def wrong(self, address: str) -> int:
        """Seconds until this address may try again, one wrong token later; 0 if it may now."""
        wait = self._wait(address)
        if not wait:
            self._note(address)
        return wait

    def _wait(self, address: str) -> int:
        wrong = self.seen.get(address)
        if wrong is None or len(wrong) < self.most:
            return 0
        left = wrong[0] + TRY_SECONDS - self.clock()
        return int(left) + 1 if left > 0 else 0

    def _note(self, address: str) -> None:
        self.seen.setdefault(address, deque(maxlen=self.most)).append(self.clock())
        self.seen.move_to_end(address)
        while len(self.seen) > ADDRESSES:
            self.seen.popitem(last=False)


def is_page(path: str, accept: str) -> bool:
    """Whether a browser wants to show what is there: then it is led to the form, where others are told 401."""
    return "text/html" in accept and not path.startswith(("/api", "/metrics", "/_", "/export"))


def form_of(body: bytes) -> tuple[str, str]:
    """The token and where to go from a form that was sent."""
    try:
        given = parse_qs(body.decode("utf-8"), max_num_fields=10)
    except ValueError:
        return "", "/"
    return given.get("token", [""])[0].strip(), safe_next(given.get("next", ["/"])[0])


def safe_next(asked: str) -> str:
    """Where to go after signing in: a place of ours, whatever was asked."""
    try:
        parts = urlsplit(asked) if asked.isprintable() and "\\" not in asked else urlsplit("/")
    except ValueError:  # a bracket that opens no address
        return "/"
    if parts.scheme or parts.netloc or not parts.path.startswith("/") or asked.startswith("//"):
        return "/"
    return (parts.path + (f"?{parts.query}" if parts.query else ""))[:2000]


def login_path(path: str, query: str) -> str:
    """Where the form is for someone who wanted to go there."""
    wanted = path + (f"?{query}" if query else "")
    return "/login" if wanted == "/" else f"/login?next={quote(wanted, safe='')}"


def form(wanted: str, trouble: str = "") -> bytes:
    """The page with the form. It runs no script."""
    told = f'<p role="alert" id="trouble">{html.escape(trouble)}</p>' if trouble else ""
    described = ' aria-describedby="trouble" aria-invalid="true"' if trouble else ""
    return _document(
        "Sign in · Sluice",
        f"<main><h1>Sluice</h1>{told}"
        '<form method="post" action="/login">'
        f'<input type="hidden" name="next" value="{html.escape(wanted)}">'
        '<label for="token">Admin token</label>'
        f'<input id="token" name="token" type="password" autocomplete="current-password" required autofocus{described}>'
        "<button>Sign in</button></form>"
        "<p>It lies in <code>admin.token</code> in the state folder; <code>sluice serve</code> prints it.</p></main>",
    )


def again(wanted: str) -> bytes:
    """The page that leads a browser that came from another site to the same address, from here."""
    return _document(
        "Sluice",
        f'<p><a href="{html.escape(wanted)}">Go on</a></p>',
        f'<meta http-equiv="refresh" content="0;url={html.escape(wanted)}">',
    )


def missing() -> bytes:
    """The page where there is none."""
    return _document(
        "No such page · Sluice",
        '<main><h1>There is no such page.</h1><p><a href="/">To the overview</a></p>'
        '<p><a href="/api">What the admin plane answers</a></p></main>',
    )


def _document(title: str, body: str, head: str = "") -> bytes:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{title}</title>{head}'
        '<link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head><body>{body}</body></html>"
    ).encode()
