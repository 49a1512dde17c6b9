"""Equal: may this call share an answer with others, and if so, what makes two such calls equal?

The layers below answer or share a call that bears an identity, and pass on one that bears none. Streams come up to here
with their usage event, because the next caller may want it; who did not ask for it does not see it.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import orjson

from caching.eligibility import request_reason
from caching.errors import Unkeyable
from caching.forms import without_usage
from caching.identity import Identifier, Identity, Scope
from gateway.call import NO_WISHES, Call, Handler, Reply, Target
from gateway.errors import NotCached
from gateway.trace import EXACT, MISS
from policies.caching import RuleCache
from policies.model import Upstream

MOST_SCOPES = 1000  # identifiers kept for callers' own namespaces
MOST_KNOWN = 512  # bodies that were answered by a hit, whose identity is kept; a further one of theirs is likely
LONGEST_KNOWN = 16_384  # bytes


def fingerprint(
    rule: RuleCache, targets: Sequence[Target], upstreams: Mapping[str, Upstream], weights: Mapping[str, str]
) -> str:
    """What a rule does to answers, in short: who may give them. A comment or a timeout changes nothing here.

    `weights` are digests of the files that engines serve, by upstream: another file under the same name answers anew.
    """
    who = [[target.model, *_place(upstreams[target.upstream]), weights.get(target.upstream, "")] for target in targets]
    told = orjson.dumps([who, rule.truncated])
    return hashlib.blake2b(told, digest_size=12).hexdigest()


def _place(upstream: Upstream) -> list[str | None]:
    return [upstream.url, upstream.provider, upstream.base, upstream.engine, upstream.gguf]


class Equal:
    """Give calls that may share an answer their identity."""

    def __init__(self, inner: Handler, rule: RuleCache, scope: Scope) -> None:
        """`scope` is that of a caller who names neither namespace nor quality."""
        self._inner = inner
        self._sampling = rule.sampling
        self._is_on = rule.exact or rule.coalesce
        self._keeps = rule.exact
        self._scope = scope
        self._identifier = Identifier(scope)
        self._others: dict[tuple[str, str], Identifier] = {}
        self._known: dict[bytes, Identity] = {}  # by body, in the scope of who names neither

    async def __call__(self, call: Call) -> Reply:
        """Answer as the layers below do. Raises NotCached where only a cached answer is wanted and none can be."""
        # Where nothing is known the body need not be hashed; of a long one that would take as long as its identity.
        knows = self._known and call.wishes is NO_WISHES and len(call.body) <= LONGEST_KNOWN
        identity = self._known.get(call.body) if knows else None
        if identity is None:
            try:
                identity = self._identify(call)
            except Unkeyable as reason:
                call.trace.note("cache", f"bypass: {reason}")
                if call.wishes.directives.only_if_cached:
                    raise NotCached(f"This call is not answered from the cache: {reason}.") from reason
                return await self._inner(call)
        trace = call.trace
        trace.cache = MISS
        trace.identity = identity
        reply = await self._inner(call.known_as(identity))
        if trace.cache == EXACT and call.wishes is NO_WISHES:
            self._remember(call.body, identity)
        if reply.is_stream and not call.wants_usage:
            return Reply(reply.status, reply.headers, _without_usage(reply.frames), reply.close)
        return reply

    def _identify(self, call: Call) -> Identity:
        if not self._is_on:
            raise Unkeyable("the rule neither keeps nor shares answers")
        if call.wishes.directives.only_if_cached and not self._keeps:
            raise Unkeyable("the rule keeps no answers")
        if reason := request_reason(call.endpoint, call.json, sampling=self._sampling):
            raise Unkeyable(reason)
        return self._identifier_of(call).identify(call.json, call.body)

    def _remember(self, body: bytes, identity: Identity) -> None:
        """The very same bytes will come again: then their identity need not be made out anew."""
        if len(body) <= LONGEST_KNOWN and body not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[body] = identity

    def _identifier_of(self, call: Call) -> Identifier:
        wishes = call.wishes
        if not wishes.namespace and not wishes.quality:
            return self._identifier
        key = (wishes.namespace, wishes.quality)
        found = self._others.get(key)
        if found is None:
            if len(self._others) >= MOST_SCOPES:
                self._others.clear()
            found = self._others[key] = Identifier(
                replace(self._scope, namespace=wishes.namespace, quality=wishes.quality)
            )
        return found


async def _without_usage(frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for frame in frames:
        if kept := without_usage(frame):
            yield kept
