"""Single flight: equal calls that come while one is under way share its answer.

The first one leads and asks below; those that come later follow. A leader that ends before its answer has begun is
replaced by one who waits. Once it has begun a failure is told, once, to all who have heard of it; who waits for the
whole answer has not, and has it asked for anew, once.

Whose client set a deadline shorter than the rule's leads those who have little more time than it. One who has more does
not depend on it: it leads anew, and who comes then follows that one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from math import inf
from time import monotonic

from caching.errors import Unfaithful
from caching.flight import End, Flight, Head, Overtaken, Reader
from caching.forms import Answer
from gateway.call import Call, Handler, Presence, Reply
from gateway.errors import DeadlinePassed, GatewayError, UpstreamFailed
from gateway.shared import (
    BROKE_OFF,
    LOST,
    broken_event,
    coalesced,
    deadline_passed,
    is_stream,
    maker,
    reply_of,
)
from gateway.trace import Source, Trace

TOO_SLOW = "This client reads too slowly to share an answer."
SLACK_SHARE, SLACK_SECONDS = 0.05, 1.0  # how much sooner than its own deadline a leader's may be: of its time, at least
Flights = MutableMapping[bytes, Flight]


class SingleFlight:
    """Have one of several equal calls answered, and give all of them its answer."""

    def __init__(self, inner: Handler, flights: Flights, finish: float = 0.0) -> None:
        """`finish` is how many seconds a call may go on that nobody waits for any more."""
        self._inner = inner
        self._flights = flights
        self._finish = finish

    async def __call__(self, call: Call) -> Reply:
        """Answer as another call under way is answered, or else as the layers below do."""
        identity = call.identity
        if identity is None or call.wishes.directives.no_cache or call.wishes.directives.no_store:
            return await self._inner(call)
        key = identity.key + identity.check
        try:
            return await self._share(call, key)
        except Unfaithful as unfaithful:
            # The answer has no other form. Those who want that one share another answer.
            call.trace.note("single flight", f"asked for in this form: {unfaithful}")
            return await self._share(call, key + (b"s" if call.wants_stream else b"p"))

    async def _share(self, call: Call, key: bytes) -> Reply:
        """Lead or follow. Raises Unfaithful if the answer cannot be told in the form that this call wants."""
        may_ask_anew = True
        while True:
            flight = self._flights.get(key)
            if flight is None or not flight.takes_readers or not _lasts(flight, call):
                return await self._lead(call, key)
            reply = await self._follow(flight, call, may_ask_anew=may_ask_anew)
            if reply is not None:
                return reply
            may_ask_anew = may_ask_anew and flight.end is not End.BROKEN  # an upstream that always cuts is left alone

    # Leading

    async def _lead(self, call: Call, key: bytes) -> Reply:
        flight = Flight(
            on_change=_Holding(call.presence, self._finish) if call.presence is not None else None,
            deadline=inf if call.is_patient else call.deadline,
        )
        self._flights[key] = flight  # one that lasts less long goes on for those who have joined it
        try:
            reply = await self._inner(call)
        except DeadlinePassed:
            self._end(key, flight, End.ABANDONED)
            raise
        except GatewayError as error:
            self._end(key, flight, End.FAILED, error)
            raise
        except BaseException:
            self._end(key, flight, End.ABANDONED)
            raise
        if reply.body is not None and not flight.others:  # nobody has come, and there is nothing left to wait for
            self._forget(key, flight)
            return reply
        head = Head(reply.status, reply.headers, call.trace)
        if reply.body is not None:
            flight.tell(head, reply.body, is_whole=_is_whole(call, reply))
            self._end(key, flight, End.WHOLE)
            return reply
        frames = flight.begin(head, reply.frames, lambda: _is_whole(call, reply))

        async def release() -> None:
            self._end(key, flight, End.ABANDONED)
            await frames.aclose()
            await flight.close()
            await reply.close()

        return Reply(reply.status, reply.headers, self._led(key, flight, frames, call.trace), release)

    async def _led(
        self, key: bytes, flight: Flight, frames: AsyncIterator[bytes], trace: Trace
    ) -> AsyncIterator[bytes]:
        """The leader's frames. The flight is over when they are, so that by then the answer is in the cache."""
        try:
            async for frame in frames:
                yield frame
        except Overtaken:
            trace.broke = "overtaken"
            yield broken_event(TOO_SLOW, trace.broke)
        finally:
            self._end(key, flight, End.ABANDONED)

    def _end(self, key: bytes, flight: Flight, end: End, error: Exception | None = None) -> None:
        self._forget(key, flight)
        flight.finish(end, error)

    def _forget(self, key: bytes, flight: Flight) -> None:
        if self._flights.get(key) is flight:  # and not one that has replaced it
            del self._flights[key]

    # Following

    async def _follow(self, flight: Flight, call: Call, *, may_ask_anew: bool) -> Reply | None:
        """The flight's answer in the form this call wants; None if it is to be asked for anew."""
        trace = call.trace
        reader = flight.join()
        since = monotonic()
        is_live = False
        try:
            async with asyncio.timeout(max(0.0, call.deadline - since)):
                head = await flight.until_begun()
                if head is None:
                    if flight.error is None:
                        return None
                    trace.note("single flight", "the call whose answer this one waited for failed")
                    raise flight.error.with_traceback(None)
                is_live = head.status == 200 and call.wants_stream and is_stream(head.headers)
                if not is_live:
                    return await self._whole(flight, reader, head, call, may_ask_anew=may_ask_anew)
        except TimeoutError as error:
            raise deadline_passed() from error
        finally:
            trace.waited += monotonic() - since
            if not is_live:
                flight.leave(reader)
        coalesced(trace, _source(head))
        return Reply(head.status, dict(head.headers), _followed(flight, reader, head, call), _leaving(flight, reader))

    async def _whole(
        self, flight: Flight, reader: Reader, head: Head, call: Call, *, may_ask_anew: bool
    ) -> Reply | None:
        """An answer of which nothing has been said before all of it is there, in the form this call wants."""
        try:
            frames = await _read(flight, reader)
            if flight.end is End.ABANDONED or _is_lost(head):
                return None
            if head.status == 200 and flight.end is not End.WHOLE:
                raise UpstreamFailed(BROKE_OFF, fault="cut")
        except GatewayError:
            if may_ask_anew and monotonic() < call.deadline:
                call.trace.note("single flight", "asked anew: the answer this call waited for broke off")
                return None
            raise
        if head.status != 200 or is_stream(head.headers) == call.wants_stream:
            reply = Reply(head.status, dict(head.headers), b"".join(frames))
        else:
            answer = Answer.of_plain(b"".join(frames)) if call.wants_stream else Answer.of_stream(frames)
            reply = reply_of(answer, call)
        coalesced(call.trace, _source(head))
        return reply


class _Holding:
    """Keeps the leader's call going without its caller while others wait for it, and a while longer if so wished."""

    __slots__ = ("_finish", "_has_left", "_others", "_presence", "_timer")

    def __init__(self, presence: Presence, finish: float) -> None:
        self._presence = presence
        self._finish = finish
        self._others = 0
        self._has_left = False  # the caller
        self._timer: asyncio.TimerHandle | None = None
        if finish:
            presence.hold(self)
            presence.when_gone(self._gone)

    def __call__(self, others: int) -> None:
        """So many others wait now."""
        self._others = others
        if others:
            self._presence.hold(self)
        elif not self._finish:
            self._presence.release(self)
        self._look()

    def _gone(self) -> None:
        self._has_left = True
        self._look()

    def _look(self) -> None:
        """Nobody waits any more: give up when the time to finish is over. Somebody does again: do not."""
        is_alone = self._has_left and not self._others
        if self._timer is not None and not is_alone:
            self._timer.cancel()
            self._timer = None
        elif self._timer is None and is_alone and self._finish:
            self._timer = asyncio.get_running_loop().call_later(self._finish, self._presence.release, self)


def _lasts(flight: Flight, call: Call) -> bool:
    """Say whether the flight goes on for about as long as this call may wait."""
    if flight.end is not None:
        return True  # all of it is there
    slack = max(SLACK_SECONDS, SLACK_SHARE * (call.deadline - monotonic()))
    return flight.deadline + slack >= call.deadline


async def _read(flight: Flight, reader: Reader) -> list[bytes]:
    """All frames of an answer. Raises Unfaithful for a stream that is too long, and what broke the answer."""
    frames: list[bytes] = []
    async with aclosing(flight.read(reader)) as told:
        async for frame in told:
            frames.append(frame)
            if len(frames) > 1 and flight.size > flight.most:
                raise Unfaithful("the stream is too long to be told in one piece")
    return frames


def _is_whole(call: Call, reply: Reply) -> bool:
    return reply.status != 200 or call.trace.is_whole


def _is_lost(head: Head) -> bool:
    """Say whether the leader itself followed another gateway that went away: the call is still to be made."""
    return isinstance(head.source, Trace) and head.source.broke == LOST


def _source(head: Head) -> Source:
    return maker(head.source) if isinstance(head.source, Trace) else Source("", "")


def _leaving(flight: Flight, reader: Reader) -> Callable[[], Awaitable[None]]:
    async def leave() -> None:
        flight.leave(reader)

    return leave


async def _followed(flight: Flight, reader: Reader, head: Head, call: Call) -> AsyncIterator[bytes]:
    """The frames of another call's stream, to its end or to one honest error event."""
    trace = call.trace
    words = BROKE_OFF
    try:
        async with aclosing(flight.read(reader, call.deadline)) as frames:
            async for frame in frames:
                yield frame
    except Overtaken:
        trace.broke, words = "overtaken", TOO_SLOW
    except TimeoutError:
        trace.broke, words = "deadline", "The call's deadline passed in the middle of its answer"
    except GatewayError as error:
        trace.broke = error.code
    if flight.end is End.ABANDONED or trace.broke:
        trace.broke = trace.broke or "cut"
        yield broken_event(words, trace.broke)
    elif flight.end is End.BROKEN:
        trace.broke = "cut"  # the last frame has said so
    else:
        trace.source = _source(head)  # only now its tokens are known
