"""What happened to one call, written down while it happens; it becomes one record in the ledger.

A Trace holds no prompt, no answer and no secret: names, counts, times and reasons only.
Times are seconds of `time.monotonic()`, which is the event loop's clock too; `at` is Unix time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class Usage:
    """Tokens of one answer. `estimated` marks counts of ours where the upstream gave none."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0  # prompt tokens the upstream read from its prefix cache
    reasoning: int = 0  # completion tokens spent on reasoning
    estimated: bool = False


@dataclass(slots=True)
class Attempt:
    """One upstream asked: when, how it went, what it used."""

    upstream: str
    model: str
    started: float
    first_byte: float | None = None
    ended: float | None = None
    status: int | None = None
    fault: str = ""  # why this attempt counts as failed: "connect", "timeout", "http_500", "garbage", ...
    usage: Usage | None = None


class Parts(Protocol):
    """What a cache tells calls apart by: (field, digest) pairs, made when somebody asks; see `caching.identity`."""

    def parts(self) -> tuple[tuple[str, str], ...]:
        """Every field that counts, with a digest of its value."""


# What the caches had to do with a call. The first three are hits: no upstream was asked for this call.
EXACT, STALE, COALESCED, MISS, BYPASS = "exact", "stale", "coalesced", "miss", "bypass"
HITS = frozenset({EXACT, STALE, COALESCED})


@dataclass(frozen=True, slots=True)
class Source:
    """Who made an answer that came from a cache or from another call's flight, and what a hit on it saves."""

    model: str
    upstream: str
    tokens: int = 0


@dataclass(slots=True)
class Trace:
    """The story of one call."""

    id: str
    at: float
    started: float
    endpoint: str = ""
    tenant: str = ""
    key: str = ""
    model: str = ""
    rule: str = ""
    policy: str = ""  # version of the policy that served the call
    streamed: bool = False
    request_bytes: int = 0
    response_bytes: int = 0
    first_byte: float | None = None  # when the first byte of the answer went to the client
    ended: float | None = None
    status: int = 0  # as the client saw it; 499 when the client left first
    outcome: str = ""  # "ok", or an error code such as "upstream_failed", "client_left", "cut"
    usage: Usage | None = None  # of the answer the client got
    attempts: list[Attempt] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)  # (layer, what it decided and why)
    cache: str = BYPASS
    age: int | None = None  # seconds since the answer was made, where it came from a cache
    source: Source | None = None  # who made it
    saved: int = 0  # tokens of parts that were kept, in an answer that was partly new
    waited: float = 0.0  # seconds in which another call's flight was waited for
    broke: str = ""  # why an answer that came from another call's flight broke off after it had begun
    identity: Parts | None = None  # what the cache tells this call apart by, where it could have had an equal

    def note(self, layer: str, decision: str) -> None:
        """Write down what a layer decided, in words an operator reads."""
        self.notes.append((layer, decision))

    @property
    def answered_by(self) -> Attempt | None:
        """The attempt whose bytes the client got, if any upstream answered."""
        return self.attempts[-1] if self.attempts and not self.attempts[-1].fault else None

    @property
    def saved_tokens(self) -> int:
        """Tokens that this call did not cost, because the answer or parts of it were there already."""
        return self.saved + (self.source.tokens if self.source is not None and self.cache in HITS else 0)

    @property
    def is_whole(self) -> bool:
        """Say whether the answer, whoever gave it, came to its end. Only its last frame makes this certain."""
        return not self.broke and (self.source is not None or self.answered_by is not None)

    def upstream_seconds(self, now: float) -> float:
        """Seconds, up to `now`, in which the call waited for the first byte of upstreams or of another's flight."""
        return self.waited + sum((a.first_byte or a.ended or now) - a.started for a in self.attempts)
