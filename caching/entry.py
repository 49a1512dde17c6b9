"""One kept answer with what must be known about it, and its bytes: versioned, checksummed, safe to read back.

The bytes, integers in network order:

    magic (4)  version (1)  length of the header (4)  header, JSON  body, the plain answer  checksum (16)

The checksum is BLAKE2b over all before it with the entry's key as its key, so a value that lies under another key is as
wrong as one with a flipped bit. A reader takes its own version and nothing else: what another release wrote is a miss.
"""

from __future__ import annotations

import math
import struct
import sys
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from caching.errors import Unfaithful
from caching.forms import Answer

MAGIC = b"SLCE"
VERSION = 2
USD_PER_SECOND = 1 / 3600  # a second of upstream time where no price is known: a machine at a dollar an hour
CLOCK_SLACK = 60.0  # seconds two machines' clocks may differ; an entry from further ahead has outlived a clock jump

_FRAME = struct.Struct(">4sBI")
_SUM_BYTES = 16
_SHORTEST = _FRAME.size + _SUM_BYTES


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer under its key. `check` is a second digest of the call: a caller compares it before it serves."""

    key: bytes
    check: bytes
    tenant: str
    namespace: str
    tags: tuple[str, ...]
    model: str
    upstream: str
    created: float  # Unix seconds
    expires: float  # fresh until
    dies: float  # never used after; not before `expires`
    seconds: float  # upstream time that making it took
    tokens: int  # that a hit saves, prompt and answer
    parts: tuple[tuple[str, str], ...]  # of its identity: (field path, short digest)
    answer: Answer
    completion: int = 0  # of the tokens, those of the answer
    cached: int = 0  # of the prompt's, those that the upstream had in its prefix cache
    usd: float | None = None  # what making it cost; None if no price is known
    is_estimated: bool = False  # its tokens and cost were not told by who made it

    @property
    def cost(self) -> float:
        """What making it anew costs, in USD, by which stores weigh what to keep."""
        return self.seconds * USD_PER_SECOND if self.usd is None else self.usd

    def usable(self, now: float) -> bool:
        """Say whether it may be used at all, fresh or stale."""
        return self.created - CLOCK_SLACK <= now <= self.dies

    def dumps(self) -> bytes:
        """Its bytes, the answer in its plain form. Raises Unfaithful."""
        if not all(map(math.isfinite, (self.created, self.expires, self.dies, self.seconds, self.usd or 0.0))):
            raise Unfaithful("one of the entry's times, or its cost, is not a number")
        body = self.answer.plain()
        try:
            header = orjson.dumps(self._header())
        except orjson.JSONEncodeError as error:  # a lone surrogate in a name
            raise Unfaithful(f"the entry's header has no bytes: {error}") from error
        start = _FRAME.pack(MAGIC, VERSION, len(header)) + header
        return b"".join((start, body, _checksum(self.key, start, body)))

    def _header(self) -> dict[str, Any]:
        return {
            "check": self.check.hex(),
            "tenant": self.tenant,
            "namespace": self.namespace,
            "tags": self.tags,
            "model": self.model,
            "upstream": self.upstream,
            "created": self.created,
            "expires": self.expires,
            "dies": self.dies,
            "seconds": self.seconds,
            "tokens": self.tokens,
            "parts": self.parts,
            "completion": self.completion,
            "cached": self.cached,
            "usd": self.usd,
            "is_estimated": self.is_estimated,
        }

    @staticmethod
    def loads(key: bytes, data: bytes) -> Entry | None:
        """The entry these bytes hold under this key; None if they are anything but whole and of this version."""
        if len(data) < _SHORTEST or data[:4] != MAGIC or data[4] != VERSION:
            return None
        end, body = len(data) - _SUM_BYTES, _FRAME.size + _FRAME.unpack_from(data)[2]
        if body > end or _checksum(key, memoryview(data)[:end]) != data[end:]:
            return None
        try:
            header = orjson.loads(data[_FRAME.size : body])
            return _entry(key, header, data[body:end])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return None


def _checksum(key: bytes, *pieces: bytes | memoryview) -> bytes:
    digest = blake2b(digest_size=_SUM_BYTES, key=key)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def _entry(key: bytes, header: dict[str, Any], body: bytes) -> Entry:
    """Raises KeyError, TypeError or ValueError for a header that no entry has."""
    created, expires, dies = (_quantity(header[name]) for name in ("created", "expires", "dies"))
    if expires > dies:
        raise ValueError("dies before it expires")
    usd = header["usd"]
    return Entry(
        key=key,
        check=bytes.fromhex(header["check"]),
        tenant=sys.intern(header["tenant"]),  # one copy for all entries that say the same; a TypeError for no string
        namespace=sys.intern(header["namespace"]),
        tags=tuple(sys.intern(tag) for tag in header["tags"]),
        model=sys.intern(header["model"]),
        upstream=sys.intern(header["upstream"]),
        created=created,
        expires=expires,
        dies=dies,
        seconds=_quantity(header["seconds"]),
        tokens=_count(header["tokens"]),
        parts=tuple(_part(*part) for part in header["parts"]),
        answer=Answer.of_plain(body),
        completion=_count(header["completion"]),
        cached=_count(header["cached"]),
        usd=None if usd is None else _quantity(usd),
        is_estimated=header["is_estimated"] is True,
    )


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("no count of tokens")
    return value


def _quantity(value: object) -> float:
    if type(value) not in (float, int):
        raise TypeError("not a number")
    number = float(value)  # type: ignore[arg-type]  # a float or an int, as just seen
    if not math.isfinite(number) or number < 0:
        raise ValueError("no time and no duration")
    return number


def _part(path: str, digest: str) -> tuple[str, str]:
    if type(digest) is not str:
        raise TypeError("not a digest")
    return sys.intern(path), digest
