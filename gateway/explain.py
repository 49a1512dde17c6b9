"""Explain: the layers that a given call would pass under a policy, and why, without making the call.

With the call's body, also whether it could share an answer with an equal one, and whether one is kept now.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from caching import items
from caching.directives import NONE
from caching.eligibility import Freshness, usable
from caching.entry import Entry
from caching.errors import StoreUnavailable, Unkeyable
from caching.guard import Guarded
from caching.identity import Identifier, Identity
from caching.misses import FIRST, explained, nearest
from caching.stores import Store
from gateway import wire, wishes
from gateway.admin.caches import opened, where
from gateway.build import Kind, Step, plan
from gateway.call import Call, Caller, Reply
from gateway.errors import GatewayError, NotCached
from gateway.runtime import Pipeline, Runtime, Way
from gateway.settings import WEIGHTS
from gateway.trace import Trace
from policies.loader import LoadedPolicy
from policies.model import ENDPOINTS, Rule
from routing.budget import RetryBudget

LOOKED_AT = 10_000  # entries, in search of the nearest
SHOWN = 5  # inputs of an embeddings call told of one by one
EQUAL = "equal"  # the layer that says which calls are
EQUALS = "cache  it may share an answer with equal calls"
NO_NAME = "-"  # of an upstream or a model that an entry does not tell


@dataclass(frozen=True, slots=True)
class Asked:
    """A call's body as a client would send it, and where its answer would be kept."""

    body: bytes
    namespace: str = ""
    state: Path | None = Path(".sluice")  # None: workers keep answers in memory only


def explain(
    loaded: LoadedPolicy, model: str, tenant: str, endpoint: str, asked: Asked | None = None, redis_url: str = ""
) -> str:
    """The pipeline of one kind of call, a layer a line, as it is with workers on this Redis.

    Only with `asked` are stores looked into. Raises ValueError with the reason if the call would be refused.
    """
    if endpoint not in ENDPOINTS:
        raise ValueError(f"There is no endpoint '{endpoint}'; there are {', '.join(ENDPOINTS)}.")
    if asked is not None and not loaded.policy.cache.disk and not redis_url:
        asked = replace(asked, state=None)
    try:
        return asyncio.run(_explain(_without_store(loaded), Kind(model, tenant, endpoint), asked, redis_url))
    except GatewayError as error:
        raise ValueError(error.message) from error


def _without_store(loaded: LoadedPolicy) -> LoadedPolicy:
    """The policy for a pipeline that serves nobody: it opens no store."""
    policy = loaded.policy
    cache = policy.cache.model_copy(update={"disk": 0})
    return replace(loaded, policy=policy.model_copy(update={"cache": cache}))


async def _explain(loaded: LoadedPolicy, kind: Kind, asked: Asked | None, redis_url: str) -> str:
    with TemporaryDirectory() as state:
        runtime = Runtime(Path(state), WEIGHTS)
        await runtime.load(loaded)
        try:
            way = runtime.pipeline.way(Caller(kind.tenant), kind.model, kind.endpoint)
            if redis_url:
                way = replace(way, steps=_steps_over_redis(runtime.pipeline, way.rule, kind, redis_url))
            told = _layers(loaded, way)
            if asked is not None:
                told += ["", *await _cached(way, _call(kind, asked), asked, redis_url)]
        finally:
            await runtime.aclose()
    return "\n".join(told)


def _steps_over_redis(pipeline: Pipeline, rule: Rule, kind: Kind, url: str) -> list[Step]:
    """The layers with those over Redis among them. Clients connect when first used, and these never are.

    Raises ValueError if the URL is none.
    """
    # Imported here: only a gateway with Redis should pay for loading its client.
    from caching.connection import connect  # noqa: PLC0415
    from caching.lease import Leases  # noqa: PLC0415
    from caching.stores.redis import RedisStore  # noqa: PLC0415

    client = connect(url)
    policy = pipeline.loaded.policy
    guard = Guarded(RedisStore(client), deadline=policy.cache.deadline)
    caches = replace(pipeline.caches, leases=Leases(client), guard=guard)
    budgets = {rule.name: RetryBudget(rule.retry.budget)}
    return plan(policy, rule, kind, replace(pipeline.tools(), caches=caches, budgets=budgets))


def _layers(loaded: LoadedPolicy, way: Way) -> list[str]:
    width = max(len(step.name) for step in way.steps)
    return [
        f"policy {loaded.version} ({loaded.path})",
        f"rule   {way.rule.name}: at most {way.rule.timeouts.total:g} s for the whole call",
        "",
        *(f"  {number}. {step.name:<{width}}  {step.why}" for number, step in enumerate(way.steps, 1)),
        f"  {len(way.steps) + 1}. {'upstream':<{width}}  asked, judged, and passed on",
    ]


def _call(kind: Kind, asked: Asked) -> Call:
    """The call as it would come down from the edge. Raises BadRequest, or ValueError if it names another model."""
    model, endpoint = kind.model, kind.endpoint
    fields = wire.parse_body(asked.body)
    named = wire.check(endpoint, {"model": model, **fields})
    if named != model:
        raise ValueError(f"The body names the model '{named[:200]}', not '{model}'.")
    headers = {wishes.NAMESPACE: asked.namespace.encode()} if asked.namespace else {}
    wished = wishes.read(headers, fields)
    body = asked.body
    if "model" not in fields or wishes.LITELLM in fields:
        fields = wishes.without_litellm({"model": model, **fields})
        body = wire.dumps(fields)
    now = time.monotonic()
    trace = Trace("explain", time.time(), now, endpoint, kind.tenant, model=model)
    return Call(endpoint, model, body, fields, Caller(kind.tenant), trace, deadline=now, wishes=wished)


async def _cached(way: Way, call: Call, asked: Asked, redis_url: str) -> list[str]:
    """What the cache has to do with this call."""
    try:
        identities = await _identities(way, call)
    except Unkeyable as unkeyable:
        return [f"cache  {unkeyable}"]
    if not way.rule.cache.exact:
        return ["cache  it may share the answer of an equal call under way; no answer is kept"]
    if asked.state is None:
        return [EQUALS, "store  none: answers are kept in the workers' memory only, which cannot be looked into"]
    try:
        return [EQUALS, *await _stored(identities, asked.state, redis_url, way.rule.cache.stale_while_revalidate)]
    except StoreUnavailable as error:
        return [EQUALS, f"store  {where(asked.state, redis_url)} cannot be had: {error}"]


async def _stored(identities: Sequence[Identity], state: Path, redis_url: str, stale_ok: float) -> list[str]:
    """What the store has for these. Raises StoreUnavailable."""
    async with opened(state, redis_url) as store:
        found = await _look_up(store, identities)
        near = await _nearest(store, identities[0]) if found[0] is None else []
    lines = [_entry(entry, time.time(), stale_ok) for entry in found]
    if len(found) > 1:
        kept = sum(entry is not None for entry in found)
        rest = [f"       and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        lines = [f"{kept} of {len(found)} inputs are kept", *(f"       {line}" for line in lines[:SHOWN]), *rest]
    return [f"store  {where(state, redis_url)}: {lines[0]}", *lines[1:], *near]


@dataclass(slots=True)
class _Below:
    """Stands where the layers below would, and takes note of the call that comes down."""

    calls: list[Call] = field(default_factory=list)

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        return Reply(204, {}, _nothing())


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def _identities(way: Way, call: Call) -> Sequence[Identity]:
    """What the gateway's own layer tells this call apart by; one for each input of an embeddings call.

    Raises Unkeyable with the reason if the call has no equal.
    """
    below = _Below()
    for step in way.steps:
        if step.name == EQUAL:
            try:
                await step.layer(below)(call)
            except NotCached as error:  # asked for with only-if-cached
                raise Unkeyable(error.message) from error
    identity = below.calls[0].identity if below.calls else None
    if identity is None:
        raise Unkeyable(next((why for layer, why in call.trace.notes if layer == "cache"), "no layer keeps answers"))
    if call.endpoint != "embeddings":
        return [identity]
    identifier = Identifier(identity.scope)
    bodies = (items.body_of(call.json, item) for item in items.split(call.json))
    return [identifier.identify(body, wire.dumps(body)) for body in bodies]


async def _look_up(store: Store, identities: Sequence[Identity]) -> list[Entry | None]:
    found = [await store.get(identity.key) for identity in identities]
    return [
        entry if entry and (entry.check, entry.tenant) == (identity.check, identity.scope.tenant) else None
        for entry, identity in zip(found, identities, strict=True)
    ]


async def _nearest(store: Store, identity: Identity) -> list[str]:
    """In what the call differs from that of this tenant's kept ones that is most like it."""
    entries = {entry.parts: entry for entry in await store.newest(LOOKED_AT)}
    near = nearest(identity.parts(), entries)
    if near is None:
        return ["       nothing is kept for this tenant"]
    words = explained(identity.parts(), near)
    if words == FIRST:
        return ["       nothing that is kept for this tenant is like it"]
    age = max(0, int(time.time() - entries[near].created))
    return [f"       {words}; that one is {age} s old"]


def _entry(entry: Entry | None, now: float, stale_ok: float) -> str:
    if entry is None:
        return "no entry"
    use = usable(entry.created, entry.expires, entry.dies, now, NONE, stale_ok=stale_ok)
    if use.freshness is Freshness.FRESH:
        state = f"fresh for {int(entry.expires - now)} s"
    elif use.freshness is Freshness.STALE:
        state = f"stale since {int(now - entry.expires)} s, serves while a new one is fetched"
    else:
        state = f"not used: {use.reason}"
    return f"an entry, {use.age} s old, {state}, answered by {_maker(entry)}"


def _maker(entry: Entry) -> str:
    return f"{entry.model or NO_NAME} ({entry.upstream or NO_NAME})"
