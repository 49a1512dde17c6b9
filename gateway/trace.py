"""What happened to one call, written down while it happens; it becomes one record in the ledger.

A Trace holds no prompt, no answer and no secret: names, counts, times and reasons only.
Times are seconds of `time.monotonic()`, which is the event loop's clock too; `at` is Unix time.
"""

from __future__ import annotations

from dataclasses import dataclass, field


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

    def note(self, layer: str, decision: str) -> None:
        """Write down what a layer decided, in words an operator reads."""
        self.notes.append((layer, decision))

    @property
    def answered_by(self) -> Attempt | None:
        """The attempt whose bytes the client got, if any upstream answered."""
        return self.attempts[-1] if self.attempts and not self.attempts[-1].fault else None

    def upstream_seconds(self, now: float) -> float:
        """Seconds, up to `now`, in which the call waited for the first byte of upstreams."""
        return sum((a.first_byte or a.ended or now) - a.started for a in self.attempts)
