"""Who may call the data plane.

With keys, in the policy or issued, a caller shows one as `Authorization: Bearer`. Without any, only this machine is
served, as tenant `local`. Loopback alone proves nothing: a browser here can be made to post, and a proxy looks local.
So the keyless mode also wants a local `Host` (DNS rebinding), a JSON content type (a browser must then ask first and is
never told yes), and no sign of having been forwarded.
"""

from __future__ import annotations

import hashlib
import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from gateway.call import Caller
from gateway.errors import Forbidden, NotJsonType, Unauthorized
from gateway.keys.record import IssuedKey
from policies.model import LOCAL_TENANT, Key

FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"via")
Headers = Mapping[bytes, bytes]
MOST_KNOWN = 10_000


class Gate:
    """Tells callers apart, or turns them away. It never changes: other keys need another gate."""

    def __init__(
        self,
        keys: Sequence[Key],
        models: Sequence[str],
        issued: Sequence[IssuedKey] = (),
        *,
        had_keys: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`keys` and `models` are the policy's, whose keys win: an issued one of the same name opens nothing.

        `had_keys` says that keys were issued or cannot be read: then nobody is served without one, even if none is
        left. `clock` gives Unix seconds.
        """
        self._models = models
        self._clock = clock
        named = {key.name for key in keys}
        open_to = [key for key in issued if key.revoked is None and key.name not in named]
        self.shadowed = tuple(key.name for key in issued if key.revoked is None and key.name in named)
        # Digests, so that finding a key takes the same time however much of it a guess has right.
        every: tuple[Key | IssuedKey, ...] = (*open_to, *keys)
        self._keys = {_digest_of(key): key for key in every}
        self._callers: dict[bytes, Caller] = {}  # by digest; made when a key is first shown, for there may be many
        # By the whole header, as callers show it again and again.
        self._known: dict[bytes, Caller] = {}
        self._known_until: dict[bytes, tuple[Caller, float]] = {}
        self._is_keyless = not self._keys and not had_keys and not issued

    @property
    def is_keyless(self) -> bool:
        """Say whether no key exists, so that only this machine is served."""
        return self._is_keyless

    def admit(self, headers: Headers) -> Caller:
        """The caller, or Unauthorized or Forbidden."""
        if self._is_keyless:
            check_local(headers)
            return Caller(LOCAL_TENANT)
        shown = headers.get(b"authorization", b"")
        known = self._known.get(shown)
        if known is not None:
            return known
        for_a_time = self._known_until.get(shown)
        if for_a_time is not None and self._clock() < for_a_time[1]:
            return for_a_time[0]
        return self._recognised(shown)

    def _recognised(self, shown: bytes) -> Caller:
        """The caller behind a header that was not shown before, or whose time is over."""
        scheme, _, secret = shown.partition(b" ")
        if scheme.lower() != b"bearer" or not secret:
            raise Unauthorized("Show a key: 'Authorization: Bearer KEY'.")
        digest = _digest(secret.strip())
        key = self._keys.get(digest)
        if key is None:
            raise Unauthorized("This key is not known: there is none like it, or it was revoked.")
        expires = key.expires if isinstance(key, IssuedKey) else None
        if expires is not None and expires <= self._clock():
            raise Unauthorized("This key has expired.")
        caller = self._callers.get(digest)
        if caller is None:
            caller = self._callers[digest] = _caller(key, self._models)
        self._remember(shown, caller, expires)
        return caller

    def _remember(self, shown: bytes, caller: Caller, expires: float | None) -> None:
        if len(self._known) + len(self._known_until) >= MOST_KNOWN:
            return
        if expires is None:
            self._known[shown] = caller
        else:
            self._known_until[shown] = caller, expires


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


def _digest_of(key: Key | IssuedKey) -> bytes:
    if isinstance(key, Key) and key.key is not None:
        return _digest(key.key.get_secret_value().encode())
    return bytes.fromhex((key.hash or "").removeprefix("sha256:"))


def _caller(key: Key | IssuedKey, models: Sequence[str]) -> Caller:
    allowed = frozenset(name for name in models if any(fnmatchcase(name, glob) for glob in key.models))
    return Caller(key.tenant, key.name, allowed if key.models else None, key.team or "", tuple(key.tags))
