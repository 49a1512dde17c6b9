"""W3C Trace Context: the ids of a call's spans, and what its upstreams are told of them.

Ids are chosen when a call begins, since its upstreams must be told; the spans are made when it has ended. Only the
header `traceparent` is read and written: `tracestate` is other people's, and nobody's loss where we drop it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import getrandbits

HEADER = b"traceparent"
MOST_ATTEMPTS = 0xFFFF  # told apart in the low bits of a span's id
_SAMPLED = 0x01
_FORM = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parent:
    """The span of whoever called."""

    trace: int
    span: int
    is_sampled: bool


@dataclass(frozen=True, slots=True)
class SpanIds:
    """The ids of one call's span and of those of its attempts."""

    trace: int  # 128 bits
    span: int  # 64 bits; the low 16 are 0
    parent: Parent | None
    is_sampled: bool

    def attempt(self, number: int) -> int:
        """The id of the span of the attempt of this number, counted from 1."""
        return self.span | min(number, MOST_ATTEMPTS)

    def header(self, number: int) -> bytes:
        """The value of `traceparent` that the attempt's upstream gets."""
        return b"00-%032x-%016x-%02x" % (self.trace, self.attempt(number), _SAMPLED if self.is_sampled else 0)


def read(header: bytes) -> Parent | None:
    """Who called, by the value of `traceparent`; None where it is absent or malformed."""
    found = _FORM.fullmatch(header.strip(b" \t")) if header else None
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == b"00" and more is not None:
        return None
    parent = Parent(int(trace, 16), int(span, 16), bool(int(flags, 16) & _SAMPLED))
    return parent if parent.trace and parent.span else None


def new_trace() -> int:
    """The id of a trace that begins here."""
    return getrandbits(128) or 1


def new_span() -> int:
    """The id of a call's span."""
    return (getrandbits(48) or 1) << 16
