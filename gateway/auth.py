"""Who may call the data plane.

With keys in the policy, a caller shows one as `Authorization: Bearer`. Without any, only this machine is served, as
tenant `local`. Loopback alone proves nothing: a browser here can be made to post, and a proxy looks local. So the
keyless mode also wants a local `Host` (DNS rebinding), a JSON content type (a browser must then ask first and is never
told yes), and no sign of having been forwarded.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from gateway.call import Caller
from gateway.errors import Forbidden, NotJsonType, Unauthorized
from policies.model import LOCAL_TENANT, Key

FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"via")
Headers = Mapping[bytes, bytes]
MOST_KNOWN = 10_000


class Gate:
    """Tells callers apart, or turns them away."""

    def __init__(self, keys: Sequence[Key], models: Sequence[str]) -> None:
        # Digests, so that finding a key takes the same time however much of it a guess has right.
        self._callers = {_digest_of(key): _caller(key, models) for key in keys}
        self._known: dict[bytes, Caller] = {}  # by the whole header, as callers show it again and again

    @property
    def is_keyless(self) -> bool:
        """Say whether no key exists, so that only this machine is served."""
        return not self._callers

    def admit(self, headers: Headers) -> Caller:
        """The caller, or Unauthorized or Forbidden."""
        if self.is_keyless:
            check_local(headers)
            return Caller(LOCAL_TENANT)
        shown = headers.get(b"authorization", b"")
        known = self._known.get(shown)
        if known is not None:
            return known
        scheme, _, key = shown.partition(b" ")
        if scheme.lower() != b"bearer" or not key:
            raise Unauthorized("Show a key: 'Authorization: Bearer KEY'.")
        caller = self._callers.get(_digest(key.strip()))
        if caller is None:
            raise Unauthorized("This key is not known.")
        if len(self._known) < MOST_KNOWN:
            self._known[shown] = caller
        return caller


def check_local(headers: Headers) -> None:
    """Refuse what does not come from this machine on purpose."""
    if not is_local_name(_hostname(headers.get(b"host", b""))):
        raise Forbidden(
            "Without keys only this machine is served: the Host header must name it (localhost, 127.0.0.1)."
        )
    for name in FORWARDED:
        if name in headers:
            raise Forbidden(f"Without keys forwarded requests are refused ('{name.decode()}'). Configure keys.")


def check_json_type(headers: Headers) -> None:
    """Refuse a body that does not say it is JSON."""
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if kind != b"application/json" and not kind.endswith(b"+json"):
        raise NotJsonType("The content type must be application/json.")


def check_plain_encoding(headers: Headers) -> None:
    """Refuse a compressed body: what it unpacks to has no limit of ours."""
    encoding = headers.get(b"content-encoding", b"identity").lower()
    if encoding not in (b"", b"identity"):
        raise NotJsonType("The body must not be compressed; send it without a Content-Encoding.")


def is_local_name(host: str) -> bool:
    """Say whether a host name or address means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hostname(host: bytes) -> str:
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _digest_of(key: Key) -> bytes:
    if key.key is not None:
        return _digest(key.key.get_secret_value().encode())
    return bytes.fromhex((key.hash or "").removeprefix("sha256:"))


def _caller(key: Key, models: Sequence[str]) -> Caller:
    allowed = frozenset(name for name in models if any(fnmatchcase(name, glob) for glob in key.models))
    return Caller(key.tenant, key.name, allowed if key.models else None, key.team or "", tuple(key.tags))
