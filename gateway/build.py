"""The order of layers, written once. Read `plan` from top to bottom and you have read the architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from caching.identity import Scope
from gateway.background import Background
from gateway.caches import Caches
from gateway.call import Call, Handler, Layer, Reply, Target
from gateway.layers.equal import Equal, fingerprint
from gateway.layers.exact import Exact
from gateway.layers.failover import Failover
from gateway.layers.health import Health
from gateway.layers.items import Items
from gateway.layers.meter import Metered
from gateway.layers.route import Route
from gateway.layers.single_flight import SingleFlight
from gateway.money.bill import Books
from gateway.money.machine import Meter
from gateway.upstreams.catalog import Station
from policies.caching import RuleCache
from policies.model import Policy, Rule
from routing.budget import RetryBudget


@dataclass(frozen=True, slots=True)
class Step:
    """One layer of a pipeline: its name, why it stands there, and how to put it over a handler."""

    name: str
    why: str
    layer: Layer
    saves: bool = False  # calls that are held out pass it by


@dataclass(frozen=True, slots=True)
class Kind:
    """What calls that pass the same layers have in common."""

    model: str
    tenant: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class Tools:
    """What outlives a pipeline, or belongs to the whole of one."""

    stations: Mapping[str, Station]
    caches: Caches
    budgets: Mapping[str, RetryBudget]
    background: Background
    books: Books
    meters: Mapping[str, Meter]
    weights: Mapping[str, str]  # digests of the files that engines serve, by upstream


def plan(policy: Policy, rule: Rule, kind: Kind, tools: Tools) -> list[Step]:
    """The layers that a call of this kind passes under `rule`, outermost first."""
    targets = targets_of(policy, kind.model)
    breakers = {name: station.breaker for name, station in tools.stations.items()}
    names = ", then ".join(f"{target.upstream} ({target.model})" for target in targets)
    retry = rule.retry
    return [
        *_cache(policy, rule, kind, tools),
        Step("route", f"may be answered by {names}", partial(Route, targets=targets)),
        Step(
            "failover",
            f"at most {retry.attempts} upstreams asked, {retry.budget:g} times per success the same again",
            partial(Failover, breakers=breakers, budget=tools.budgets[rule.name], attempts=retry.attempts),
        ),
        Step("health", "each upstream's breaker hears how it went", partial(Health, breakers=breakers)),
        *_meter(targets, tools),
    ]


def _meter(targets: tuple[Target, ...], tools: Tools) -> list[Step]:
    """Where a machine of our own answers, its time is shared among the calls it works on."""
    if not any(target.upstream in tools.meters for target in targets):
        return []
    return [Step("meter", "a call bears its share of its machine's time", partial(Metered, meters=tools.meters))]


def _cache(policy: Policy, rule: Rule, kind: Kind, tools: Tools) -> list[Step]:
    """The layers that answer equal calls once."""
    asked = within(rule.cache, policy.cache.retention)
    caches = tools.caches
    does = fingerprint(asked, targets_of(policy, kind.model), policy.upstreams, tools.weights)
    scope = Scope(kind.tenant, "", kind.endpoint, kind.model, "", does)
    which = "every call" if asked.sampling == "any" else "calls at temperature 0 or top_k 1"
    if kind.endpoint == "embeddings":
        which = "every input"
    steps = [
        Step(
            "equal",
            f"{which} may share an answer with equal ones of {kind.tenant}",
            partial(Equal, rule=asked, scope=scope),
            saves=True,
        )
    ]
    if asked.exact and kind.endpoint == "embeddings":
        why = f"each input's answer is kept for {asked.ttl:g} s"
        kept = partial(Items, cache=caches.cache, rule=asked, longest=policy.cache.entry, cost=tools.books.cost)
        steps.append(Step("items", why, kept, saves=True))
    elif asked.exact:
        refresh = tools.background.refresh
        exact = partial(
            Exact,
            cache=caches.cache,
            rule=asked,
            longest=policy.cache.entry,
            refresh=refresh,
            cost=tools.books.cost,
        )
        steps.append(Step("exact", f"answers are kept for {asked.ttl:g} s", exact, saves=True))
    if asked.coalesce:
        flight = partial(SingleFlight, flights=caches.flights, finish=asked.finish)
        steps.append(Step("single flight", "equal calls under way share one answer", flight, saves=True))
    if asked.coalesce and caches.leases is not None and caches.guard is not None:
        from gateway.layers.shared_flight import SharedFlight  # noqa: PLC0415 - loads the Redis client

        shared = partial(
            SharedFlight,
            leases=caches.leases,
            guard=caches.guard,
            cache=caches.cache,
            rule=asked,
            longest=policy.cache.entry,
        )
        steps.append(Step("shared flight", "with those of other gateways too", shared, saves=True))
    return steps


def within(rule: RuleCache, retention: float) -> RuleCache:
    """The rule, with no answer used for longer than answers are kept."""
    ttl = min(rule.ttl, retention)
    graces = {name: min(getattr(rule, name), retention - ttl) for name in ("stale_while_revalidate", "stale_if_error")}
    return rule.model_copy(update={"ttl": ttl, **graces})


def targets_of(policy: Policy, model: str) -> tuple[Target, ...]:
    """Who may answer a model's calls, best first."""
    return tuple(Target(target.upstream, target.model or model) for target in policy.models[model].targets)


def baselines_of(policy: Policy) -> dict[str, Target]:
    """By each model's name: who would have answered its calls without the gateway."""
    return {name: targets_of(policy, model.baseline or name)[0] for name, model in policy.models.items()}


class Dispatch:
    """The innermost handler: hand the call to the upstream of its first target."""

    def __init__(self, stations: Mapping[str, Station]) -> None:
        self._handlers: dict[str, Handler] = {name: station.handler for name, station in stations.items()}

    async def __call__(self, call: Call) -> Reply:
        """Answer as the upstream does."""
        return await self._handlers[call.targets[0].upstream](call)
