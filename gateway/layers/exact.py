"""Exact: answer a call from the cache where an equal one was answered before, and keep the answers of the others.

An answer is kept when it has come to its end, and only if it is worth keeping (`caching.eligibility`). A caller's
`Cache-Control` can forbid either; nothing a caller sends makes the cache serve more than the policy allows.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time

from caching.cache import Cache
from caching.documents import tight
from caching.eligibility import Freshness, usable
from caching.entry import Entry
from caching.errors import Unfaithful
from caching.forms import Answer
from caching.identity import Identity
from gateway.call import Call, Handler, Reply
from gateway.errors import DeadlinePassed, NotCached, UpstreamFailed
from gateway.shared import Cost, entry_of, hit, is_answer_to, maker, may_keep, spent, unkept_reason
from gateway.trace import EXACT, STALE
from policies.caching import RuleCache

Refresh = Callable[[Call, Handler], None]
"""Run a call once more behind its caller's back."""


class Exact:
    """Answer from the cache, or have it answered and keep that."""

    def __init__(
        self,
        inner: Handler,
        cache: Cache,
        rule: RuleCache,
        longest: int,
        refresh: Refresh,
        cost: Cost,
        clock: Callable[[], float] = time,
    ) -> None:
        """`longest` is the most bytes of an answer that is kept; `cost` says what making one has cost."""
        self._inner = inner
        self._cache = cache
        self._rule = rule
        self.longest = longest
        self._refresh = refresh
        self._cost = cost
        self._clock = clock

    async def __call__(self, call: Call) -> Reply:
        """Answer from the cache or as the layers below do. Raises NotCached."""
        identity = call.identity
        if identity is None:
            return await self._inner(call)
        stale: Entry | None = None
        entry = await self._looked_up(identity, call)
        if entry is not None:
            reply, stale = self._from(entry, call)
            if reply is not None:
                return reply
        if call.wishes.directives.only_if_cached:
            raise NotCached("The cache has no answer to this call that may be used.")
        if stale is None:
            return await self._fetch(call)
        try:
            return await self._fetch(call)
        except (UpstreamFailed, DeadlinePassed) as failure:
            reply = self._hit(stale, call, STALE)
            if reply is None:
                raise
            why = failure.fault if isinstance(failure, UpstreamFailed) else failure.code
            call.trace.note("cache", f"stale: the upstream failed ({why})")
            return reply

    async def _looked_up(self, identity: Identity, call: Call) -> Entry | None:
        if not call.wishes.directives.no_cache:
            return await self._find(identity)
        call.trace.note("cache", "miss: the caller wants a new answer")
        return None

    async def _find(self, identity: Identity) -> Entry | None:
        entry = self._cache.peek(identity.key)
        if entry is None and self._cache.may_hold(identity.key):
            entry = await self._cache.get(identity.key)
        if entry is not None and not is_answer_to(entry, identity):
            self._cache.drop(identity.key)  # another call under the same key
            return None
        return entry

    def _from(self, entry: Entry, call: Call) -> tuple[Reply | None, Entry | None]:
        """The answer this entry gives now, or else the entry if it may serve should the upstream fail."""
        rule, now = self._rule, self._clock()
        asked = call.wishes.directives
        use = usable(entry.created, entry.expires, entry.dies, now, asked, stale_ok=rule.stale_while_revalidate)
        if use.freshness is Freshness.FRESH:
            return self._hit(entry, call, EXACT), None
        if use.freshness is Freshness.STALE:
            reply = self._hit(entry, call, STALE)
            if reply is not None and may_keep(call):
                self._refresh(call, self._fetch)
            return reply, None
        call.trace.note("cache", f"miss: the answer that is kept is {use.reason}")
        last_resort = usable(entry.created, entry.expires, entry.dies, now, asked, stale_ok=rule.stale_if_error)
        return None, entry if last_resort.freshness is Freshness.STALE else None

    def _hit(self, entry: Entry, call: Call, kind: str) -> Reply | None:
        """The entry as an answer; None if it cannot be given in the form asked for."""
        try:
            return hit(entry, call, kind, self._clock(), usage=call.wants_usage)
        except Unfaithful as unfaithful:
            self._cache.drop(entry.key)
            call.trace.note("cache", f"miss: the answer that was kept cannot be told again: {unfaithful}")
            return None

    async def _fetch(self, call: Call) -> Reply:
        """Have it answered below, and keep what is worth it."""
        reply = await self._inner(call)
        if reply.status != 200 or not may_keep(call) or call.trace.source is not None:  # made for another call
            return reply
        keeper = _Keeper(self, call, is_stream=reply.is_stream)
        return reply.tapped(keeper.see, keeper.end)

    def keep(self, call: Call, frames: list[bytes], *, is_stream: bool) -> str:
        """Keep an answer that has ended; the reason if it is not kept."""
        trace, identity = call.trace, call.identity
        if identity is None or not trace.is_whole:
            return "it did not come to its end"
        if reason := unkept_reason(call, self._rule, frames, is_stream=is_stream):
            return reason
        answer = Answer.of_stream(frames) if is_stream else Answer.of_plain(tight(b"".join(frames)))
        grace = max(self._rule.stale_while_revalidate, self._rule.stale_if_error)
        if not is_stream:
            trace.response_bytes = len(frames[0])  # an answer without a usage is priced by its bytes
        made_by, seconds = maker(trace, self._cost(trace)), spent(trace)
        entry = entry_of(
            call, identity, self._rule, answer, now=self._clock(), grace=grace, made_by=made_by, seconds=seconds
        )
        self._cache.put(entry, identity.parts)
        return ""


class _Keeper:
    """Sees one answer pass, and has it kept at its end."""

    __slots__ = ("_call", "_exact", "_frames", "_is_stream", "_room")

    def __init__(self, exact: Exact, call: Call, *, is_stream: bool) -> None:
        self._exact = exact
        self._call = call
        self._is_stream = is_stream
        self._frames: list[bytes] = []
        self._room = exact.longest

    def see(self, frame: bytes) -> None:
        """Note the frame, unless the answer has grown too long."""
        self._room -= len(frame)
        if self._room >= 0:
            self._frames.append(frame)
        else:
            self._frames.clear()

    def end(self) -> None:
        """Have the answer kept."""
        is_too_long = self._room < 0
        reason = (
            "it is too long" if is_too_long else self._exact.keep(self._call, self._frames, is_stream=self._is_stream)
        )
        if reason:
            self._call.trace.note("cache", f"not kept: {reason}")
