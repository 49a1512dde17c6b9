"""Items: embeddings are kept one input at a time. The upstream is asked only for those that are new."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import time

from caching import items
from caching.cache import Cache
from caching.eligibility import Freshness, usable
from caching.entry import Entry
from caching.errors import Unfaithful, Unkeyable
from caching.forms import Answer
from caching.identity import Identifier, Identity
from caching.items import Item, Part
from gateway import wire
from gateway.call import Call, Handler, Reply
from gateway.errors import NotCached
from gateway.shared import JSON, Cost, entry_of, is_answer_to, maker, may_keep, spent, whole
from gateway.trace import BYPASS, EXACT, MISS, Source
from policies.caching import RuleCache

BREATH = 64  # items made out before the other calls have their turn


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer to one item that was kept."""

    part: Part
    entry: Entry


class Items:
    """Answer each input from the cache, or have it answered and keep that."""

    def __init__(
        self,
        inner: Handler,
        cache: Cache,
        rule: RuleCache,
        longest: int,
        cost: Cost,
        clock: Callable[[], float] = time,
    ) -> None:
        """`longest` is the most bytes of one item's answer that are kept; `cost` says what making them has cost."""
        self._inner = inner
        self._cache = cache
        self._rule = rule
        self._longest = longest
        self._cost = cost
        self._clock = clock

    async def __call__(self, call: Call) -> Reply:
        """Answer with every item in its order. Raises NotCached."""
        if call.identity is None:
            return await self._inner(call)
        identifier = Identifier(call.identity.scope)
        try:
            asked = items.split(call.json)
            identities = await self._identities(call, identifier, asked)
        except Unkeyable as unkeyable:
            return await self._bypass(call, str(unkeyable))
        kept = await self._kept(call, identities)
        if None not in kept:
            if (reply := self._from(kept, call)) is not None:
                return reply
            kept = [None] * len(asked)  # made by different models, so that all must be made anew
        if call.wishes.directives.only_if_cached:
            raise NotCached("The cache has no answer for every item of this call.")
        return await self._fetch(call, identifier, asked, identities, kept)

    async def _bypass(self, call: Call, reason: str) -> Reply:
        call.trace.note("cache", f"bypass: {reason}")
        call.trace.cache = BYPASS
        if call.wishes.directives.only_if_cached:
            raise NotCached(f"This call is not answered from the cache: {reason}.")
        return await self._inner(replace(call, identity=None))

    @staticmethod
    async def _identities(call: Call, identifier: Identifier, asked: Sequence[Item]) -> list[Identity]:
        found: list[Identity] = []
        for item in asked:
            found.append(_identity(identifier, items.body_of(call.json, item)))
            if len(found) % BREATH == 0:
                await asyncio.sleep(0)  # a call may bring thousands; the others have their turn
        return found

    # What is known

    async def _kept(self, call: Call, identities: Sequence[Identity]) -> list[Kept | None]:
        if call.wishes.directives.no_cache:
            call.trace.note("cache", "miss: the caller wants a new answer")
            return [None] * len(identities)
        cache = self._cache
        found = [cache.peek(identity.key) for identity in identities]
        behind = [at for at, entry in enumerate(found) if entry is None and cache.may_hold(identities[at].key)]
        for at, entry in zip(
            behind, await asyncio.gather(*(cache.get(identities[at].key) for at in behind)), strict=True
        ):
            found[at] = entry
        return [self._usable(call, identity, entry) for identity, entry in zip(identities, found, strict=True)]

    def _usable(self, call: Call, identity: Identity, entry: Entry | None) -> Kept | None:
        if entry is None:
            return None
        use = usable(entry.created, entry.expires, entry.dies, self._clock(), call.wishes.directives, stale_ok=0.0)
        if use.freshness is not Freshness.FRESH:
            note = ("cache", f"miss: the answer that is kept to an item is {use.reason}")
            if call.trace.notes[-1:] != [note]:  # once for all that come one after the other
                call.trace.notes.append(note)
            return None
        try:
            if is_answer_to(entry, identity):
                return Kept(Part.loads(entry.answer.plain()), entry)
        except Unfaithful as unfaithful:
            call.trace.note("cache", f"miss: {unfaithful}")
        self._cache.drop(identity.key)
        return None

    def _from(self, kept: Sequence[Kept | None], call: Call) -> Reply | None:
        """An answer made of nothing but what was kept; None if its parts do not go together."""
        known = [each for each in kept if each is not None]
        try:
            body = items.assemble([each.part for each in known], known[0].part.model)
        except Unfaithful:
            return None
        trace = call.trace
        trace.cache = EXACT
        trace.age = max(0, int(self._clock() - min(each.entry.created for each in known)))
        first = known[0].entry
        dollars = [each.entry.usd for each in known if each.entry.usd is not None]
        usd = sum(dollars) if len(dollars) == len(known) else None
        trace.source = Source(first.model, first.upstream, sum(each.part.tokens for each in known), usd=usd)
        return Reply(200, JSON, body)

    # What is not

    async def _fetch(
        self,
        call: Call,
        identifier: Identifier,
        asked: Sequence[Item],
        identities: Sequence[Identity],
        kept: Sequence[Kept | None],
    ) -> Reply:
        """Ask for the missing items, keep them, and answer with all."""
        missing = items.unique([item for item, known in zip(asked, kept, strict=True) if known is None])
        part_of_it = call if len(missing) == len(asked) else _asking_for(call, identifier, missing)
        reply = await self._inner(part_of_it)
        if reply.status != 200:
            return reply
        body = await whole(reply)
        try:
            parts = items.parse(body, missing)
            answer = self._put_together(asked, kept, dict(zip(map(_hashable, missing), parts, strict=True)))
        except Unfaithful as unfaithful:
            call.trace.note("cache", f"not kept: {unfaithful}")
            if part_of_it is call:
                return Reply(reply.status, reply.headers, body)
            call.trace.cache, call.trace.source = MISS, None  # as if it had not been asked, or shared, before
            if any(kept):  # what was kept and what is new do not go together: all must be made anew
                return await self._fetch(call, identifier, asked, identities, [None] * len(asked))
            return await self._inner(call)
        if len(missing) < len(asked):
            call.trace.saved = sum(known.part.tokens for known in kept if known is not None)
            call.trace.note("cache", f"asked for {len(missing)} of {len(asked)} items")
        self._keep(call, asked, identities, dict(zip(map(_hashable, missing), parts, strict=True)))
        return Reply(reply.status, reply.headers, body if part_of_it is call else answer)

    @staticmethod
    def _put_together(asked: Sequence[Item], kept: Sequence[Kept | None], new: dict[object, Part]) -> bytes:
        parts = [new[_hashable(item)] if known is None else known.part for item, known in zip(asked, kept, strict=True)]
        return items.assemble(parts, parts[0].model)

    def _keep(self, call: Call, asked: Sequence[Item], identities: Sequence[Identity], new: dict[object, Part]) -> None:
        if not may_keep(call) or call.trace.source is not None or not call.trace.is_whole:
            return
        now, usd, seconds = self._clock(), self._cost(call.trace), spent(call.trace)
        made_by, tokens = maker(call.trace), sum(part.tokens for part in new.values())
        for item, identity in zip(asked, identities, strict=True):
            part = new.pop(_hashable(item), None)
            if part is None or len(part.embedding) > self._longest:
                continue
            answer = Answer.of_plain(part.dumps())
            share = part.tokens / tokens if tokens else 0.0
            price = None if usd is None else usd * share
            made = replace(made_by, tokens=part.tokens, completion=0, cached=0, usd=price)
            entry = entry_of(
                call, identity, self._rule, answer, now=now, grace=0.0, made_by=made, seconds=seconds * share
            )
            self._cache.put(entry, identity.parts)


def _identity(identifier: Identifier, body: dict[str, object]) -> Identity:
    return identifier.identify(body, wire.dumps(body))


def _asking_for(call: Call, identifier: Identifier, missing: Sequence[Item]) -> Call:
    """The call for the missing items alone, which has equals of its own."""
    body = items.body_for(call.json, missing)
    return replace(call, json=body, body=wire.dumps(body), identity=_identity(identifier, body))


def _hashable(item: Item) -> object:
    return item if isinstance(item, str) else tuple(item)
