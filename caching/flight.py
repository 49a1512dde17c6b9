"""Single flight in one process: one answer under way, and all who wait for it.

The first caller leads: it asks and passes on what it gets. Whoever comes with an equal call while that lasts joins,
gets what has been said so far, then the rest as it comes.

Laws of this module:

* While nobody has joined, the leader pulls the frames itself and a flight costs no task. With the first reader a task
  of the flight's own takes over, so that a leader who reads slowly holds nobody up.
* A leader that others elsewhere listen to may have the task from the beginning (`eagerly`).
* What is pulled waits for the fastest reader, so an answer is never read faster than someone takes it. A reader that
  falls more than `most` bytes behind is cut off; it neither holds the others up nor makes memory grow.
* A flight that has said more than `most` bytes takes no new readers: its beginning is forgotten. Its last frame never
  is, so an answer of one frame is whole for all, however long.
* A flight ends in exactly one way: whole, broken (after it had begun), failed (before), or abandoned.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum

WINDOW = 1024 * 1024  # bytes pulled ahead of the fastest reader
MOST = 8 * 1024 * 1024  # bytes a reader may be behind
LINGER = 5.0  # seconds after its end in which a whole answer still takes readers, until its leader has read it


class End(Enum):
    """How a flight ended."""

    WHOLE = "whole"
    BROKEN = "broken"
    FAILED = "failed"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Head:
    """How an answer began, and who gives it."""

    status: int
    headers: Mapping[str, str]
    source: object = None


class Overtaken(Exception):
    """This reader fell too far behind and was cut off."""


class Reader:
    """One who reads: how far it has come."""

    __slots__ = ("at", "bytes_read", "has_joined", "is_late", "woken")

    def __init__(self) -> None:
        self.at = 0  # frames
        self.bytes_read = 0
        self.has_joined = False  # and not left
        self.is_late = False  # its own time is over
        self.woken: asyncio.Future[None] | None = None  # while it waits

    def hurry(self) -> None:
        """Its time is over."""
        self.is_late = True
        if self.woken is not None and not self.woken.done():
            self.woken.set_result(None)


class Flight:
    """One answer under way. All methods belong to the event loop's thread."""

    __slots__ = (
        "_base", "_base_bytes", "_ended", "_frames", "_furthest", "_is_pulling", "_is_whole", "_leader", "_linger",
        "_on_change", "_pump", "_room", "_source", "_waiting", "deadline", "end", "error", "head", "most", "others",
        "size", "window",
    )  # fmt: skip

    def __init__(
        self,
        *,
        most: int = MOST,
        window: int = WINDOW,
        linger: float = LINGER,
        on_change: Callable[[int], None] | None = None,
        deadline: float = math.inf,
    ) -> None:
        """`on_change` is told how many others wait for the answer whenever that has changed, until the end.

        `deadline` is when the leader gives up, by the clock of `time.monotonic()`, for those who may join to look at.
        """
        self.deadline = deadline
        self.most = most
        self.window = window
        self.head: Head | None = None
        self.end: End | None = None
        self.error: Exception | None = None
        self.size = 0  # bytes said
        self.others = 0  # how many have joined and not left
        self._linger = linger
        self._ended = 0.0  # when, by the loop's clock
        self._frames: deque[bytes] = deque()
        self._base = 0  # frames forgotten
        self._base_bytes = 0
        self._leader = Reader()
        self._furthest = 0  # bytes the fastest reader has read
        self._source: AsyncIterator[bytes] | None = None
        self._is_whole: Callable[[], bool] = bool
        self._is_pulling = False
        self._pump: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []  # for something to be said, or for the end
        self._room: asyncio.Future[None] | None = None  # somebody has read
        self._on_change = on_change

    @property
    def takes_readers(self) -> bool:
        """Say whether one who comes now would get the answer from its beginning, and not an old one."""
        if self._base or self.end is None:
            return not self._base
        return self.end is End.WHOLE and asyncio.get_running_loop().time() < self._ended + self._linger

    # The leader's side

    def begin(
        self, head: Head, source: AsyncIterator[bytes], is_whole: Callable[[], bool], *, eagerly: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """The answer begins; the frames for the leader itself. Whoever closes them early abandons the flight.

        `eagerly` pulls at once and up to `window` ahead of a slow leader, whether or not anybody has joined.

        `is_whole` is asked when the source has ended: a stream may end with words about its failure. A source that is
        a generator is closed when it is not read any more. The leader's frames may raise Overtaken, as others' may, but
        only when the flight has ended or nobody else waits for it.
        """
        self.head = head
        self._source = source
        self._is_whole = is_whole
        self._notify()
        if self.others or eagerly:
            self._start_pump()
        return self._led()

    def tell(self, head: Head, body: bytes, *, is_whole: bool) -> None:
        """The answer is there as one piece: nothing is left to wait for."""
        self.head = head
        self._say(body)
        self.finish(End.WHOLE if is_whole else End.BROKEN)

    def finish(self, end: End, error: Exception | None = None) -> None:
        """End it, the first time this is called."""
        if self.end is not None:
            return
        self.end, self.error = end, error
        self._ended = asyncio.get_running_loop().time()
        self._notify()
        self._make_room()
        if self._pump is not None and not self._pump.done() and self._pump is not asyncio.current_task():
            self._pump.cancel()

    async def _led(self) -> AsyncGenerator[bytes, None]:
        """The leader's own frames: pulled by itself at first, read like everyone's once others have joined."""
        try:
            while self._pump is None:
                frame = await self._pull()
                if frame is None:
                    self._conclude()
                    return
                self._count(self._leader, frame)
                if self.others:  # they joined while we were pulling
                    self._start_pump()
                yield frame
            async with aclosing(self.read(self._leader)) as told:
                async for frame in told:
                    yield frame
        except Overtaken:
            while self.end is None and self.others:  # too slow for its own answer, which the others still read
                await self._news()
            raise
        except Exception as error:
            self.finish(End.BROKEN, error)
            raise
        finally:
            await self.close()

    async def close(self) -> None:
        """Abandon it unless it has ended, and wait until its source is closed. For the leader; safe to call twice."""
        self.finish(End.ABANDONED)
        if self._pump is None:
            await self._close_source()
        elif not self._pump.done():  # what the source does at its end must be done before the leader's call is over
            await asyncio.wait({self._pump})

    async def _pull(self) -> bytes | None:
        """The next frame out of the source, noted for all; None at the end, which only the caller can judge."""
        if self._source is None:
            raise RuntimeError("the flight has not begun")
        self._is_pulling = True
        try:
            frame = await anext(self._source, None)
        finally:
            self._is_pulling = False
        if frame is not None:
            self._say(frame)
        return frame

    def _conclude(self) -> None:
        self.finish(End.WHOLE if self._is_whole() else End.BROKEN)

    def _start_pump(self) -> None:
        if self._pump is None and self.end is None:
            self._pump = asyncio.get_running_loop().create_task(self._run_pump())

    async def _run_pump(self) -> None:
        try:
            while await self._pull() is not None:
                await self._wait_for_room()
            self._conclude()
        except Exception as error:  # noqa: BLE001 - whatever the source raises is told to every reader
            self.finish(End.BROKEN, error)
        finally:
            self.finish(End.ABANDONED)  # cancelled, by whomever
            await self._close_source()

    async def _close_source(self) -> None:
        if isinstance(self._source, AsyncGenerator):
            await self._source.aclose()

    def _say(self, frame: bytes) -> None:
        self._frames.append(frame)
        self.size += len(frame)
        if self.size > self.most:
            self._forget()
        self._notify()

    def _forget(self) -> None:
        """Drop the beginning that nobody may read any more."""
        while len(self._frames) > 1 and self.size - self._base_bytes > self.most:
            self._base_bytes += len(self._frames.popleft())
            self._base += 1

    async def _wait_for_room(self) -> None:
        while self.end is None and self.size - self._furthest > self.window:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    # The others' side

    def join(self) -> Reader:
        """Wait with the others; `leave` must follow."""
        reader = Reader()
        reader.has_joined = True
        self._changed_by(1)
        if self.head is not None and not self._is_pulling:
            self._start_pump()
        return reader

    def leave(self, reader: Reader) -> None:
        """Wait no more. Safe to call twice."""
        if reader.has_joined:
            reader.has_joined = False
            self._changed_by(-1)

    async def until_begun(self) -> Head | None:
        """How it begins; None if it ended before."""
        while self.head is None and self.end is None:
            await self._news()
        return self.head

    async def read(self, reader: Reader, deadline: float | None = None) -> AsyncGenerator[bytes, None]:
        """Every frame from where the reader stands to the end; then it has left.

        Raises Overtaken, what broke the answer, or TimeoutError when the next frame is not there by `deadline`, a time
        of the event loop's clock.
        """
        timer = None if deadline is None else asyncio.get_running_loop().call_at(deadline, reader.hurry)
        try:
            while True:
                while reader.at < self._base + len(self._frames):
                    yield self._next(reader)
                if self.end is not None:
                    break
                if reader.is_late:
                    raise TimeoutError
                reader.woken = self._news()
                await reader.woken
            if self.error is not None:
                raise self.error.with_traceback(None)  # one error for all: else each would add its own way to it
        finally:
            if timer is not None:
                timer.cancel()
            self.leave(reader)

    def _next(self, reader: Reader) -> bytes:
        if reader.at < self._base:
            raise Overtaken
        frame = self._frames[reader.at - self._base]
        self._count(reader, frame)
        return frame

    def _count(self, reader: Reader, frame: bytes) -> None:
        """The reader has this frame."""
        reader.at += 1
        reader.bytes_read += len(frame)
        if reader.bytes_read > self._furthest:
            self._furthest = reader.bytes_read
            self._make_room()

    def _changed_by(self, joined: int) -> None:
        self.others += joined
        if self.end is not None:
            return  # all there is has been said: nobody's staying or going matters
        if self._on_change is not None:
            self._on_change(self.others)
        if not self.others:
            self._notify()  # a leader that was overtaken need not wait

    def _news(self) -> asyncio.Future[None]:
        """What to wait for until something is said. Each has its own, so that one who is cancelled wakes nobody."""
        woken = asyncio.get_running_loop().create_future()
        self._waiting.append(woken)
        return woken

    def _notify(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for woken in waiting:
            if not woken.done():
                woken.set_result(None)

    def _make_room(self) -> None:
        if self._room is not None:
            if not self._room.done():
                self._room.set_result(None)
            self._room = None
