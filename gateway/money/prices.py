"""Which price holds for an upstream and a model of the policy in force."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gateway.money.lists import caches_unasked, list_of
from gateway.money.machine import Machine, Meter, of_policy
from gateway.money.table import Table
from gateway.money.tariff import MILLION, NAMES, Lines, Scale, Tariff, of_price
from policies.model import Policy, Price
from policies.scalars import fits

MOST_KEPT = 10_000  # prices by upstream and model; more names than that are no names of a policy
MOST_TOLD = 500  # prices described; nobody reads more, and workers write them down again and again
_Stated = Sequence[tuple[Callable[[str], object], Price]]


class Prices:
    """The prices of one policy: its own first, then those of its machines, then the table's."""

    def __init__(self, policy: Policy, table: Table, meters: Mapping[str, Meter]) -> None:
        """`meters` are by upstream; a machine without one has no price."""
        self._policy = policy
        self._table = table
        self._machines = {
            name: of_policy(upstream.machine, meters[name])
            for name, upstream in policy.upstreams.items()
            if upstream.machine is not None and name in meters
        }
        self._known: dict[tuple[str, str], Tariff | Machine | None] = {}
        self._globs: dict[str, _Stated] = {}  # by upstream, ready to be asked

    def of(self, upstream: str, model: str) -> Tariff | Machine | None:
        """What a model costs at an upstream, by the name that the upstream knows it by; None where nobody knows."""
        asked = (upstream, model)
        try:
            return self._known[asked]
        except KeyError:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            return self._known.setdefault(asked, self._found(upstream, model))

    def _found(self, upstream: str, model: str) -> Tariff | Machine | None:
        stated = self._policy.upstreams.get(upstream)
        if stated is None:
            return None
        provider = list_of(stated)
        for is_meant, price in self._stated(upstream):
            if is_meant(model):
                return of_price(price, caches_unasked=caches_unasked(provider, model))
        if stated.machine is not None:
            return self._machines.get(upstream)
        return None if provider is None else self._table.lookup(provider, model)

    def _stated(self, upstream: str) -> _Stated:
        """The policy's own prices of an upstream, their globs compiled once."""
        if upstream not in self._globs:
            prices = self._policy.upstreams[upstream].prices
            self._globs[upstream] = [(fits(glob), price) for glob, price in prices.items()]
        return self._globs[upstream]

    def describe(self, now: float) -> list[dict[str, Any]]:
        """The policy's prices, for people: by upstream and model their kind, lines and where they are from.

        Of more than MOST_TOLD the first are told, then one of kind "more" that says how many are left out. Any thread
        may ask, while others do too: what is kept here is only ever put in whole.
        """
        asked = sorted(set(self._targets()))
        told = [self._described(upstream, model, now) for upstream, model in asked[:MOST_TOLD]]
        return [*told, _more(len(asked) - MOST_TOLD)] if len(asked) > MOST_TOLD else told

    def _targets(self) -> Iterator[tuple[str, str]]:
        for name, model in self._policy.models.items():
            for target in model.targets:
                yield target.upstream, target.model or name

    def _described(self, upstream: str, model: str, now: float) -> dict[str, Any]:
        priced = self.of(upstream, model)
        told: dict[str, Any] = {"upstream": upstream, "model": model, "kind": "unknown", "source": "", "date": None}
        if isinstance(priced, Machine):
            return told | {"kind": "machine", "source": "policy", "machine": _machine(priced, now)}
        if isinstance(priced, Tariff):
            is_table = priced.source.startswith("table ")
            dated = self._table.date if is_table else None
            kind = "table" if is_table else "policy"
            return told | {"kind": kind, "source": priced.source, "date": dated, **described(priced)}
        return told


def _more(count: int) -> dict[str, Any]:
    return {"upstream": "", "model": f"and {count:,} more", "kind": "more", "source": "", "date": None}


def described(tariff: Tariff) -> dict[str, Any]:
    """A tariff's lines in USD per million tokens: the standard ones, those of tiers, and of long prompts in each."""
    tiers = {name: _scale(scale) for name, scale in tariff.tiers.items()}
    return {**_scale(tariff.standard), "tiers": tiers, "caches_prefixes": tariff.caches_prefixes}


def _scale(scale: Scale) -> dict[str, Any]:
    steps = [{"above": above, "lines": _per_million(lines)} for above, lines in reversed(scale.steps)]
    return {"lines": _per_million(scale.lines), "steps": steps}


def _per_million(lines: Lines) -> dict[str, float]:
    """Rounded to what a table of prices is written with, as 0.3 rather than 0.30000000000000004."""
    return {name: round(getattr(lines, name) * (1 if name == "request" else MILLION), 9) for name in NAMES}


def _machine(machine: Machine, now: float) -> dict[str, Any]:
    meter = machine.meter
    return {
        "usd_per_hour": machine.usd_per_hour,
        "account": "amortized" if machine.is_amortized else "marginal",
        "utilization": meter.utilization(now),
        "under_way": meter.under_way,
        "prefill": machine.prefill,
        "decode": machine.decode,
        "learned": {
            "prefill": machine.given_prefill is None and meter.prefill.value is not None,
            "decode": machine.given_decode is None and meter.decode.value is not None,
        },
    }
