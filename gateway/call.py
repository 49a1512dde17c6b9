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

from caching.directives import NONE, Directives
from caching.identity import Identity
from gateway.trace import Trace

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the tenant whose bytes these are, and the key that proved it (its name, never its value)."""

    tenant: str
    key: str = ""
    models: frozenset[str] | None = None  # None: every model of the policy
    team: str = ""
    tags: tuple[str, ...] = ()

    def may_use(self, model: str) -> bool:
        """Say whether the caller's key allows this model."""
        return self.models is None or model in self.models


@dataclass(frozen=True, slots=True)
class Target:
    """One place that can answer: an upstream and the name by which it knows the model."""

    upstream: str
    model: str


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a caller asks of the gateway itself. Stricter than the policy, never looser."""

    directives: Directives = NONE
    namespace: str = ""  # subdivides the caller's own tenant
    quality: str = ""
    tags: tuple[str, ...] = ()


NO_WISHES = Wishes()


class Presence(Protocol):
    """The caller at the other end. When it leaves the call is cancelled, unless somebody else waits for the answer."""

    def hold(self, token: object) -> None:
        """Have the call go on without its caller for as long as this token is not released."""

    def release(self, token: object) -> None:
        """Give a token back; a call that nobody waits for any more is cancelled. Safe to call twice."""

    def when_gone(self, tell: Callable[[], None]) -> None:
        """Have `tell` called when the caller leaves; what it holds then, counts."""


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
    wishes: Wishes = NO_WISHES
    presence: Presence | None = None  # None: nobody waits, as behind a refresh
    is_patient: bool = True  # the deadline is the rule's own; a client's shorter one must not end others' waiting
    identity: Identity | None = None  # what makes two calls equal; None: this one has no equal
    keeps_usage: bool = False  # a stream's usage event is passed up even if the client did not ask for it

    def known_as(self, identity: Identity) -> Call:
        """The same call with its identity, for the layers that deal in equal calls; by hand, as `aimed_at`."""
        return Call(
            self.endpoint,
            self.model,
            self.body,
            self.json,
            self.caller,
            self.trace,
            self.deadline,
            self.targets,
            self.wishes,
            self.presence,
            self.is_patient,
            identity,
            keeps_usage=True,
        )

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
            self.wishes,
            self.presence,
            self.is_patient,
            self.identity,
            self.keeps_usage,
        )

    @property
    def wants_stream(self) -> bool:
        """Say whether the client asked for server-sent events."""
        return self.json.get("stream") is True

    @property
    def wants_usage(self) -> bool:
        """Say whether the client asked for a usage event at the end of its stream."""
        options = self.json.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True


async def _released() -> None:
    """Release nothing."""


class Reply:
    """One answer on its way up: status, headers, and frames with their release.

    An answer that is whole already is given as its bytes: the stream of one that it is costs nothing until it is read.
    """

    __slots__ = ("_frames", "_release", "body", "headers", "status")

    def __init__(
        self,
        status: int,
        headers: dict[str, str],
        frames: AsyncIterator[bytes] | bytes,
        release: Callable[[], Awaitable[None]] = _released,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = frames if isinstance(frames, bytes) else None
        self._frames = None if isinstance(frames, bytes) else frames
        self._release = release

    @property
    def frames(self) -> AsyncIterator[bytes]:
        """The frames, to be read once."""
        return _one(self.body or b"") if self._frames is None else self._frames

    def tapped(self, each: Callable[[bytes], None], after: Callable[[], None]) -> Reply:
        """The same answer; `each` sees every frame, and `after` is called when it has come to its end."""
        if self.body is not None:
            each(self.body)
            after()
            return self
        return Reply(self.status, self.headers, _tapped(self.frames, each, after), self._release)

    @property
    def is_stream(self) -> bool:
        """Say whether the frames are server-sent events rather than one JSON document."""
        return self.headers.get("content-type", "").startswith("text/event-stream")

    async def close(self) -> None:
        """Give back what the answer holds; an upstream that is still sending is cut off. Safe to call twice."""
        await self._release()


async def _one(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _tapped(
    frames: AsyncIterator[bytes], each: Callable[[bytes], None], after: Callable[[], None]
) -> AsyncIterator[bytes]:
    async for frame in frames:
        each(frame)
        yield frame
    after()


class Handler(Protocol):
    """Whatever answers a call: a layer, an upstream, a whole pipeline."""

    def __call__(self, call: Call, /) -> Awaitable[Reply]:
        """Answer the call or raise a `gateway.errors.GatewayError`."""


Layer = Callable[[Handler], Handler]
