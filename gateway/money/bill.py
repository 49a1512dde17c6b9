"""One call's bill: what it cost, what it would have cost without the gateway, and which technique saved how much.

Laws of this module:

* A price that is not known makes the cost unknown, never 0. An answer that no upstream gave cost 0.
* Every upstream asked for a call is on its bill, those that failed or were cut off as well. A call whose answer came
  from a cache or from another call's flight is billed nothing: the cost stays on the record of who made it.
* The baseline is the model that was asked for, or its `baseline` in the policy, at its first target: the same answer,
  with the prompt as the client sent it and with the price of prompt tokens that the provider would have had in its
  prefix cache. A call that failed or was left by its client saved nothing.
* `saved = baseline - cost - own`, and the lines sum to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from gateway.call import Target
from gateway.money.machine import Machine
from gateway.money.price import price
from gateway.money.tariff import Tariff
from gateway.trace import HITS, Attempt, Bill, Source, Trace, Usage

MEASURED, ESTIMATED, UNKNOWN = "measured", "estimated", "unknown"
OVERHEAD, ITEMS, PRUNE, FAILOVER, ROUTE, REFRESH, RETRY = (
    "overhead", "items", "prune", "failover", "route", "refresh", "retry",
)  # fmt: skip

# Providers keep a prompt's prefix for some minutes, in blocks, if it is long enough: OpenAI's published rule, which is
# about that of the others. Who asks the same again within that time would have paid the cached price.
PREFIX_SECONDS, PREFIX_LEAST, PREFIX_BLOCK = 300, 1024, 128
BYTES_PER_TOKEN = 4  # where an upstream tells no usage

CUT_SHORT = frozenset({"timeout", "deadline", "stall", "cut"})  # faults after which an upstream may have worked on

NOTHING = Bill(0.0, 0.0, 0.0, 0.0, MEASURED)  # of a call that was refused before any upstream could be asked

Line = tuple[str, float, str]
Priced = Tariff | Machine | None


class PriceOf(Protocol):
    """Which price holds for an upstream and a model."""

    def of(self, upstream: str, model: str) -> Priced:
        """The price, or None where none is known."""


class Books:
    """Bills the calls served under one policy."""

    def __init__(self, prices: PriceOf, baselines: Mapping[str, Target], own_usd_per_hour: float = 0.0) -> None:
        """`baselines` are by the name of the model that was asked for."""
        self._prices = prices
        self._baselines = baselines
        self._own = own_usd_per_hour / 3600

    def use(self, prices: PriceOf) -> None:
        """Bill by other prices from now on."""
        self._prices = prices

    def cost(self, trace: Trace) -> float | None:
        """What the upstreams asked for this call cost up to now, in USD; None if a price is not known."""
        return self._spent(trace)[0]

    def bill(self, trace: Trace) -> Bill:
        """The bill of a call whose answer is whole, or has ended otherwise."""
        cost, basis = self._spent(trace)
        own = self._own * _own_seconds(trace)
        if cost is None:
            return Bill(None, self._baseline(trace, None)[0], own, None, UNKNOWN)
        baseline, lines = self._baseline(trace, cost)
        if baseline is None:
            return Bill(cost, None, own, None, basis)
        if own:
            lines = (*lines, (OVERHEAD, -own, ESTIMATED))
        return Bill(cost, baseline, own, baseline - cost - own, basis, lines)

    # What was spent

    def _spent(self, trace: Trace) -> tuple[float | None, str]:
        attempts = trace.attempts
        if len(attempts) == 1:  # nearly always
            return self._cost_of(attempts[0], trace)
        total, basis = 0.0, MEASURED
        for attempt in attempts:
            cost, how = self._cost_of(attempt, trace)
            if cost is None:
                return None, UNKNOWN
            total += cost
            basis = basis if how == MEASURED else how
        return total, basis

    def _cost_of(self, attempt: Attempt, trace: Trace) -> tuple[float | None, str]:
        """What one attempt cost, and how that is known."""
        priced, used = self._prices.of(attempt.upstream, attempt.model), attempt.usage
        if isinstance(priced, Machine) and attempt.seconds is not None:  # its time is gone, whatever came of it
            return price(priced, 0, 0, 0, trace.started, seconds=attempt.seconds), MEASURED
        if used is None:
            if attempt.fault or attempt.first_byte is None or (attempt.status or 0) >= 400:  # it gave no answer
                return 0.0, ESTIMATED if attempt.fault in CUT_SHORT else MEASURED
            used = _guessed(trace)
        cost = _priced(priced, used, trace.started, attempt.seconds)
        if cost is None:
            return None, UNKNOWN
        return cost, ESTIMATED if used.estimated else MEASURED

    # What it would have cost

    def _baseline(self, trace: Trace, cost: float | None) -> tuple[float | None, tuple[Line, ...]]:
        """What the call would have cost without us, and what each technique saved of it."""
        if trace.serves_nobody:  # a refresh behind somebody's back
            return 0.0, ((REFRESH, -(cost or 0.0), MEASURED),)
        is_hit = trace.source is not None and trace.cache in HITS
        if trace.status >= 400 or not (is_hit or (trace.attempts and not trace.attempts[-1].fault)):
            return cost, ()  # it would have had no answer without us, either
        if trace.source is not None and is_hit:
            return self._of_hit(trace, trace.source, cost or 0.0)
        return self._of_made(trace, cost)

    def _of_hit(self, trace: Trace, source: Source, cost: float) -> tuple[float | None, tuple[Line, ...]]:
        target = self._baselines.get(trace.model)
        priced = None if target is None else self._prices.of(target.upstream, target.model)
        if target is None or priced is None or (source.tokens <= 0 and source.usd is None):
            return None, ()
        would, how = _again(priced, target, source, trace)
        if would is None:
            return None, ()
        lines: tuple[Line, ...] = ((trace.cache, would, how),)
        return would, lines if not cost else (*lines, (RETRY, -cost, MEASURED))

    def _of_made(self, trace: Trace, cost: float | None) -> tuple[float | None, tuple[Line, ...]]:
        last = trace.attempts[-1]
        target = self._baselines.get(trace.model)
        used = last.usage or _guessed(trace)
        alike = target is None or (target.upstream == last.upstream and target.model == last.model)
        if alike and len(trace.attempts) == 1 and not (trace.saved or trace.removed):
            return cost, ()  # nothing was done for it
        priced = self._prices.of(last.upstream if target is None else target.upstream, (target or last).model)
        plain = self._plain(priced, used, trace, last if alike else None)
        if plain is None or cost is None:
            return plain, ()
        lines = [*self._added(priced, trace), (self._named(trace, alike=alike), plain - cost, _how(used, alike=alike))]
        kept = tuple(line for line in lines if line[1])
        return plain + sum(line[1] for line in lines[:-1]), kept

    @staticmethod
    def _plain(priced: Priced, used: Usage, trace: Trace, same: Attempt | None) -> float | None:
        """This very answer at the baseline's price."""
        if same is not None:
            return _priced(priced, used, trace.started, same.seconds)
        caches = isinstance(priced, Machine) or (priced is not None and priced.caches_prefixes)
        cached = used.cached if caches else 0
        extra = None if used.extra is None else replace(used.extra, usd=None)
        return price(
            priced, used.prompt - cached, cached, used.completion, trace.started,
            reasoning=used.reasoning, extra=extra,
        )  # fmt: skip

    @staticmethod
    def _added(priced: Priced, trace: Trace) -> list[Line]:
        """What the prompt would have held besides."""
        lines = []
        for name, tokens, how in ((ITEMS, trace.saved, MEASURED), (PRUNE, trace.removed, ESTIMATED)):
            if tokens > 0:
                lines.append((name, price(priced, tokens, 0, 0, trace.started) or 0.0, how))
        return lines

    def _named(self, trace: Trace, *, alike: bool) -> str:
        """What made the cost another than the baseline's."""
        if alike:
            return RETRY
        return FAILOVER if len(trace.attempts) > 1 else ROUTE


def usd(amount: float | None) -> str:
    """An amount as a header tells it."""
    return "unknown" if amount is None else f"{amount:.10f}"


def _priced(priced: Priced, used: Usage, now: float, seconds: float | None) -> float | None:
    if isinstance(priced, Machine) and seconds is None:
        return None
    return price(
        priced, used.prompt - used.cached, used.cached, used.completion, now,
        reasoning=used.reasoning, extra=used.extra, seconds=seconds,
    )  # fmt: skip


def _again(priced: Tariff | Machine, target: Target, source: Source, trace: Trace) -> tuple[float | None, str]:
    """What asking for a kept answer anew would have cost, and how that is known."""
    prompt = max(0, source.tokens - source.completion)
    cached = min(source.cached, prompt)
    warm = cached
    if isinstance(priced, Tariff) and priced.caches_prefixes and _would_be_warm(prompt, trace):
        warm = max(cached, prompt // PREFIX_BLOCK * PREFIX_BLOCK)
    if source.usd is None or (source.upstream, source.model) != (target.upstream, target.model):
        return price(priced, prompt - warm, warm, source.completion, trace.started), ESTIMATED
    if warm == cached or not isinstance(priced, Tariff):
        return source.usd, ESTIMATED if source.is_estimated else MEASURED
    # What it cost, less what warm tokens would have cost less. Of a tier of service or a price told by the upstream the
    # lines are not known here, but no more can be taken off than if all of it had been prompt.
    lines = priced.standard.at(prompt)
    less = (warm - cached) * (lines.input - lines.cached_input)
    return max(source.usd - less, source.usd * lines.cached_input / lines.input), ESTIMATED


def _would_be_warm(prompt: int, trace: Trace) -> bool:
    return prompt >= PREFIX_LEAST and (trace.age or 0) < PREFIX_SECONDS


def _guessed(trace: Trace) -> Usage:
    """What an answer took of which no usage was told."""
    answer = 0 if trace.endpoint == "embeddings" else trace.response_bytes // BYTES_PER_TOKEN
    return Usage(trace.request_bytes // BYTES_PER_TOKEN, answer, estimated=True)


def _how(used: Usage, *, alike: bool) -> str:
    return MEASURED if alike and not used.estimated else ESTIMATED


def _own_seconds(trace: Trace) -> float:
    """How long the gateway itself worked on the call, up to the first byte of its answer."""
    until = trace.first_byte or trace.ended
    return 0.0 if until is None else max(0.0, until - trace.started - trace.upstream_seconds(until))
