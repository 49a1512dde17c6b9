"""Shared flight: equal calls under way at several gateways share one answer, over Redis.

Of one gateway's equal calls only their leader comes here. One of the gateways gets the lease and asks below, telling
the others what it hears; the others follow. Without Redis, or while it is ill, every gateway asks for itself.

An answer is told as fast as it comes and not as the leader's own client reads it. A call whose client set a deadline
shorter than the rule's may follow, but does not lead: the others, who have more time, would lose the answer with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from time import monotonic, time
from typing import Any

from caching.cache import Cache
from caching.eligibility import Freshness, usable
from caching.errors import StoreUnavailable, Unfaithful
from caching.flight import Flight
from caching.flight import Head as Beginning
from caching.forms import Answer
from caching.guard import Guarded
from caching.identity import Identity
from caching.lease import End, Event, Failed, Follow, Frame, Head, Lead, Leases, Lost, Stored
from gateway.call import Call, Handler, Presence, Reply
from gateway.errors import DeadlinePassed, GatewayError
from gateway.shared import (
    BROKE_OFF,
    LOST,
    broken_event,
    coalesced,
    deadline_passed,
    dump_error,
    hit,
    is_answer_to,
    is_stream,
    load_error,
    maker,
    reply_of,
    unkept_reason,
    with_usage,
)
from gateway.trace import EXACT, Source
from policies.caching import RuleCache

AHEAD = 8 * 1024 * 1024  # bytes that are told ahead of the leader's own client
LOOK_SECONDS = 0.5  # between looks whether others still follow a call whose own caller has left
LATE = "The call's deadline passed in the middle of its answer"
MODEL, UPSTREAM = "x-sluice-model", "x-sluice-upstream"  # who answers, told with the head


class SharedFlight:
    """Have one of several gateways ask, and give all of them its answer."""

    def __init__(
        self, inner: Handler, leases: Leases, guard: Guarded, cache: Cache, rule: RuleCache, longest: int
    ) -> None:
        """`guard` stands before the same Redis; `longest` is the most bytes of an answer that is kept."""
        self._inner = inner
        self._leases = leases
        self._guard = guard
        self._cache = cache
        self._rule = rule
        self._longest = longest
        self._behind: set[asyncio.Task[Any]] = set()

    async def __call__(self, call: Call) -> Reply:
        """Answer as another gateway's call is answered, or else as the layers below do."""
        identity, asked = call.identity, call.wishes.directives
        if identity is None or asked.no_cache or asked.no_store:
            return await self._inner(call)
        unless_stored = self._rule.exact
        if self._rule.exact and self._guard.is_failing:  # as the look for this answer has found: no second deadline
            call.trace.note("shared flight", f"asked by itself: {self._guard.reason}")
            return await self._inner(call)
        while True:
            try:
                turn = await self._acquire(identity, unless_stored=unless_stored)
            except StoreUnavailable as unavailable:
                call.trace.note("shared flight", f"asked by itself: {unavailable}")
                return await self._inner(call)
            if isinstance(turn, Lead):
                if call.is_patient:
                    return await self._lead(call, turn)
                self._do(turn.abandon())
                return await self._inner(call)
            if isinstance(turn, Follow):
                reply = await self._follow(call, turn)
            else:
                reply, unless_stored = await self._stored(call, identity), False
            if reply is not None:
                return reply

    async def _acquire(self, identity: Identity, *, unless_stored: bool) -> Lead | Follow | Stored:
        acquire = self._leases.acquire
        return await self._guard.ask(lambda: acquire(identity.key, check=identity.check, unless_stored=unless_stored))

    async def _stored(self, call: Call, identity: Identity) -> Reply | None:
        """The answer that was stored since we looked, if it may be used."""
        entry = await self._cache.get(identity.key)
        if entry is None or not is_answer_to(entry, identity):
            return None
        use = usable(entry.created, entry.expires, entry.dies, time(), call.wishes.directives, stale_ok=0.0)
        if use.freshness is not Freshness.FRESH:
            return None
        try:
            return hit(entry, call, EXACT, time())
        except Unfaithful:
            return None

    # Leading

    async def _lead(self, call: Call, lead: Lead) -> Reply:
        if call.presence is not None:
            self._hold(call.presence, lead)
        try:
            reply = await self._inner(call)
        except GatewayError as error:
            is_own = isinstance(error, DeadlinePassed)
            self._do(lead.abandon() if is_own else lead.fail(dump_error(error)))
            raise
        except BaseException:
            self._do(lead.abandon())
            raise
        made_by = maker(call.trace)
        lead.begin(reply.status, {**reply.headers, MODEL: made_by.model, UPSTREAM: made_by.upstream})
        if reply.body is not None:
            lead.send(reply.body)
            self._do(self._ending(call, lead, reply.status, [reply.body]))
            return reply

        # Room beyond what is pulled ahead: the leader's own client, its only reader, is never cut off for being slow.
        flight = Flight(window=AHEAD, most=2 * AHEAD)
        head, told = Beginning(reply.status, reply.headers), self._told(call, lead, reply)
        frames = flight.begin(head, told, lambda: reply.status != 200 or call.trace.is_whole, eagerly=True)

        async def release() -> None:
            self._do(lead.abandon())  # also where nothing was pulled yet; after its end it does nothing
            await frames.aclose()
            await flight.close()  # also where nobody has begun to read
            await reply.close()

        return Reply(reply.status, reply.headers, frames, release)

    async def _told(self, call: Call, lead: Lead, reply: Reply) -> AsyncIterator[bytes]:
        """The frames as they are; the other gateways hear them too."""
        frames: list[bytes] = []
        size = 0
        ending: Coroutine[Any, Any, bool] | None = None
        try:
            async for frame in reply.frames:
                lead.send(frame)
                size += len(frame)
                if size <= self._longest:
                    frames.append(frame)
                yield frame
            ending = self._ending(call, lead, reply.status, frames if size <= self._longest else [])
        finally:
            self._do(ending or lead.abandon())

    def _ending(self, call: Call, lead: Lead, status: int, frames: list[bytes]) -> Coroutine[Any, Any, bool]:
        """What is told last of an answer that has ended; of one that is too long to be kept no frames are needed."""
        if status == 200 and not call.trace.is_whole:
            return lead.fail(b"")  # the last frame has said why
        return lead.finish(stored=status == 200 and self._is_kept(call, frames))

    def _is_kept(self, call: Call, frames: list[bytes]) -> bool:
        """Say whether the layers above keep the answer, so that who comes a moment later need not ask."""
        rule = self._rule
        if not rule.exact or call.wishes.directives.ttl == 0:
            return False
        return not unkept_reason(call, rule, frames, is_stream=call.wants_stream)

    def _hold(self, presence: Presence, lead: Lead) -> None:
        """Have the call outlive its caller while other gateways follow."""
        presence.hold(lead)
        presence.when_gone(lambda: self._do(self._watch(presence, lead)))

    async def _watch(self, presence: Presence, lead: Lead) -> None:
        """Hold the call while others follow. Some may come later, while callers of this gateway still wait for it."""
        try:
            while not lead.is_lost and not lead.task.done():
                with suppress(StoreUnavailable):  # a lead over a Redis that is really gone is lost soon
                    if await self._guard.ask(lead.followers):
                        presence.hold(lead)
                    else:
                        presence.release(lead)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            presence.release(lead)

    def _do(self, work: Coroutine[Any, Any, Any]) -> None:
        """Have it done without waiting for it: the leader's own call owes Redis nothing."""
        task = asyncio.get_running_loop().create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    # Following

    async def _follow(self, call: Call, turn: Follow) -> Reply | None:
        """The other gateway's answer in the form this call wants; None if it ended before it had begun."""
        since = monotonic()
        events = self._leases.follow(turn)
        is_taken = False
        try:
            async with asyncio.timeout(max(0.0, call.deadline - since)):
                head = await anext(events, Lost())
                if isinstance(head, Failed):
                    call.trace.note("shared flight", "another gateway's call, whose answer this one waited for, failed")
                    raise load_error(head.data)
                if not isinstance(head, Head):
                    return None
                headers = dict(head.headers)
                source = Source(headers.pop(MODEL, ""), headers.pop(UPSTREAM, ""))
                if head.status == 200 and is_stream(headers) and call.wants_stream:
                    is_taken = True
                    coalesced(call.trace, source)
                    return Reply(200, headers, _followed(events, call), events.aclose)
                return await self._whole(call, head.status, headers, events, source)
        except TimeoutError as error:
            raise deadline_passed() from error
        finally:
            call.trace.waited += monotonic() - since
            if not is_taken:
                await events.aclose()

    async def _whole(
        self, call: Call, status: int, headers: dict[str, str], events: AsyncIterator[Event], source: Source
    ) -> Reply | None:
        """An answer of which nothing has been said before all of it is there."""
        frames: list[bytes] = []
        event: Event = Lost()
        async for event in events:
            if isinstance(event, Frame):
                frames.append(event.data)
        if not isinstance(event, End):
            return None
        body = b"".join(frames)
        source = with_usage(source, body)
        if status != 200 or is_stream(headers) == call.wants_stream:
            coalesced(call.trace, source)
            return Reply(status, headers, body)
        try:
            reply = reply_of(Answer.of_stream(frames) if is_stream(headers) else Answer.of_plain(body), call)
        except Unfaithful as unfaithful:
            call.trace.note("shared flight", f"asked by itself: {unfaithful}")
            return await self._inner(call)
        coalesced(call.trace, source)
        return reply


async def _followed(events: AsyncIterator[Event], call: Call) -> AsyncIterator[bytes]:
    """The frames another gateway tells, to the end of its answer or to one honest error event."""
    event: Event | None = Lost()
    last = event
    told = b""  # the last frames that bear a usage
    try:
        while event is not None:
            last = event
            async with asyncio.timeout(max(0.0, call.deadline - monotonic())):
                event = await anext(events, None)
            if isinstance(event, Frame):
                told = event.data if b'"usage"' in event.data else told
                yield event.data
    except TimeoutError:
        call.trace.broke = "deadline"
        yield broken_event(LATE, call.trace.broke)
        return
    if isinstance(last, Failed):
        call.trace.broke = "cut"  # the last frame has said why
    elif not isinstance(last, End):
        call.trace.broke = LOST
        yield broken_event(BROKE_OFF, call.trace.broke)
    elif told and call.trace.source is not None:
        call.trace.source = with_usage(call.trace.source, told)
