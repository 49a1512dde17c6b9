"""The order of layers, written once. Read `plan` from top to bottom and you have read the architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from gateway.call import Call, Handler, Layer, Reply, Target
from gateway.layers.failover import Failover
from gateway.layers.health import Health
from gateway.layers.route import Route
from gateway.upstreams.catalog import Station
from policies.model import Rule
from routing.budget import RetryBudget


@dataclass(frozen=True, slots=True)
class Step:
    """One layer of a pipeline: its name, why it stands there, and how to put it over a handler."""

    name: str
    why: str
    layer: Layer


def plan(
    rule: Rule, targets: tuple[Target, ...], stations: Mapping[str, Station], budgets: Mapping[str, RetryBudget]
) -> list[Step]:
    """The layers that a call under `rule` passes, outermost first."""
    breakers = {name: station.breaker for name, station in stations.items()}
    names = ", then ".join(f"{target.upstream} ({target.model})" for target in targets)
    retry = rule.retry
    return [
        Step("route", f"may be answered by {names}", partial(Route, targets=targets)),
        Step(
            "failover",
            f"at most {retry.attempts} upstreams asked, {retry.budget:g} times per success the same again",
            partial(Failover, breakers=breakers, budget=budgets[rule.name], attempts=retry.attempts),
        ),
        Step("health", "each upstream's breaker hears how it went", partial(Health, breakers=breakers)),
    ]


class Dispatch:
    """The innermost handler: hand the call to the upstream of its first target."""

    def __init__(self, stations: Mapping[str, Station]) -> None:
        self._handlers: dict[str, Handler] = {name: station.handler for name, station in stations.items()}

    async def __call__(self, call: Call) -> Reply:
        """Answer as the upstream does."""
        return await self._handlers[call.targets[0].upstream](call)
