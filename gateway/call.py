"""The three types that carry everything: a Call on its way down, a Reply on its way up, and the Handler between them.

Laws of this module:

* A Call is frozen. A layer that changes one passes on a changed copy (`dataclasses.replace`).
* `body` is the client's JSON as bytes and `json` the same parsed, never edited in place. A body that no layer changed
  goes to the upstream as the very bytes that came.
* A Reply is a status, headers and a stream of frames; a plain answer is a stream of one. Each frame of an event stream
  is one or more *whole* server-sent events, so a layer may stop after any frame without harm.
* Whoever takes a Reply reads it to its end or closes it. Closing early cancels the upstream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.trace import Trace

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the tenant whose bytes these are, and the key that proved it (its name, never its value)."""

    tenant: str
    key: str = ""
    models: frozenset[str] | None = None  # None: every model of the policy

    def may_use(self, model: str) -> bool:
        """Say whether the caller's key allows this model."""
        return self.models is None or model in self.models


@dataclass(frozen=True, slots=True)
class Target:
    """One place that can answer: an upstream and the name by which it knows the model."""

    upstream: str
    model: str


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way down. Times are seconds of `time.monotonic()`."""

    endpoint: str  # "chat", "completions" or "embeddings"
    model: str  # as the client named it
    body: bytes
    json: Json
    caller: Caller
    trace: Trace
    deadline: float  # when the whole call must have ended
    targets: tuple[Target, ...] = ()

    def aimed_at(self, targets: tuple[Target, ...]) -> Call:
        """The same call with other targets; made by hand, since every call is aimed at least once."""
        return Call(
            self.endpoint,
            self.model,
            self.body,
            self.json,
            self.caller,
            self.trace,
            self.deadline,
            targets,
        )

    @property
    def wants_stream(self) -> bool:
        """Say whether the client asked for server-sent events."""
        return self.json.get("stream") is True


async def _released() -> None:
    """Release nothing."""


class Reply:
    """One answer on its way up: status, headers, and frames with their release."""

    __slots__ = ("_release", "frames", "headers", "status")

    def __init__(
        self,
        status: int,
        headers: dict[str, str],
        frames: AsyncIterator[bytes],
        release: Callable[[], Awaitable[None]] = _released,
    ) -> None:
        self.status = status
        self.headers = headers
        self.frames = frames
        self._release = release

    @property
    def is_stream(self) -> bool:
        """Say whether the frames are server-sent events rather than one JSON document."""
        return self.headers.get("content-type", "").startswith("text/event-stream")

    async def close(self) -> None:
        """Give back what the answer holds; an upstream that is still sending is cut off. Safe to call twice."""
        await self._release()


class Handler(Protocol):
    """Whatever answers a call: a layer, an upstream, a whole pipeline."""

    def __call__(self, call: Call, /) -> Awaitable[Reply]:
        """Answer the call or raise a `gateway.errors.GatewayError`."""


Layer = Callable[[Handler], Handler]
