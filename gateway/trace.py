"""What happened to one call, written down while it happens; it becomes one record in the ledger.

A Trace holds no prompt, no answer and no secret: names, counts, times and reasons only.
Times are seconds of `time.monotonic()`, which is the event loop's clock too; `at` is Unix time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from gateway.telemetry.context import SpanIds


@dataclass(frozen=True, slots=True)
class Extra:
    """What few answers have and prices tell apart. Tokens, but for `tier` and `usd`."""

    cache_write: int = 0  # of the uncached prompt: written to the provider's prefix cache
    cache_write_1h: int = 0  # of the uncached prompt: written there for an hour; not counted in `cache_write`
    audio_input: int = 0  # of the uncached prompt
    image_input: int = 0  # of the uncached prompt
    audio_output: int = 0  # of the completion
    image_output: int = 0  # of the completion
    tier: str = ""  # service tier that answered, where it is not the standard one: "batch", "flex", "priority"
    usd: float | None = None  # what the upstream itself says the call cost


@dataclass(slots=True)
class Usage:
    """Tokens of one answer. `estimated` marks counts of ours where the upstream gave none."""

    prompt: int = 0  # all of them, cached ones included
    completion: int = 0  # all of them, reasoning included
    cached: int = 0  # prompt tokens the upstream read from its prefix cache
    reasoning: int = 0  # completion tokens spent on reasoning
    estimated: bool = False
    extra: Extra | None = None


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
    seconds: float | None = None  # of a machine of one's own: its time that fell to this call while it was shared


@dataclass(frozen=True, slots=True)
class Bill:
    """What one call cost and saved, in USD. None where a price is not known: never 0."""

    cost: float | None  # of every upstream asked for it
    baseline: float | None  # what it would have cost without the gateway
    own: float  # of the gateway's own compute
    saved: float | None  # baseline - cost - own
    basis: str  # of the cost: "measured", "estimated" or "unknown"
    lines: tuple[tuple[str, float, str], ...] = ()  # (technique, USD saved, "measured" | "estimated"); sum to `saved`


class Parts(Protocol):
    """What a cache tells calls apart by: (field, digest) pairs, made when somebody asks; see `caching.identity`."""

    def parts(self) -> tuple[tuple[str, str], ...]:
        """Every field that counts, with a digest of its value."""


# What the caches had to do with a call. The first three are hits: no upstream was asked for this call.
EXACT, STALE, COALESCED, MISS, BYPASS = "exact", "stale", "coalesced", "miss", "bypass"
REFRESH = "refresh"  # nobody's call: an answer was fetched behind somebody's back
HITS = frozenset({EXACT, STALE, COALESCED})

# The part of a call in measuring savings, where its rule holds some out: passed untouched, or not.
NO_PART, HELD_OUT, TREATED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Source:
    """Who made an answer that came from a cache or from another call's flight, and what a hit on it saves."""

    model: str
    upstream: str
    tokens: int = 0  # prompt and completion
    completion: int = 0  # of them
    cached: int = 0  # of the prompt, read from the upstream's prefix cache when the answer was made
    usd: float | None = None  # what making it cost, where that is known
    is_estimated: bool = False  # the tokens and the cost are counts of ours


@dataclass(slots=True)
class Trace:
    """The story of one call."""

    id: str
    at: float
    started: float
    endpoint: str = ""
    tenant: str = ""
    key: str = ""
    team: str = ""
    tags: tuple[str, ...] = ()
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
    serves_nobody: bool = False  # made behind a caller's back, for the next ones
    holdout: int = 0  # part in measuring savings: NO_PART, HELD_OUT or TREATED
    removed: int = 0  # prompt tokens that layers took out before an upstream saw them
    bill: Bill | None = None
    span: SpanIds | None = None  # ids of its spans, where calls are traced
    content: tuple[bytes, bytes] | None = None  # request and answer, cut to length, where a policy records them
    identity: Parts | None = None  # what the cache tells this call apart by, where it could have had an equal

    def note(self, layer: str, decision: str) -> None:
        """Write down what a layer decided, in words an operator reads."""
        self.notes.append((layer, decision))

    @property
    def answered_by(self) -> Attempt | None:
        """The attempt whose bytes the client got, if any upstream answered."""
        return self.attempts[-1] if self.attempts and not self.attempts[-1].fault else None

    @property
    def is_held_out(self) -> bool:
        """Say whether it passed untouched, so that savings can be measured against it."""
        return self.holdout == HELD_OUT

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
