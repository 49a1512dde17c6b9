"""Failover: ask the targets in order until one begins to answer; the client sees only that one.

A target whose breaker is open is passed over. Going on to the next target is free: it moves load, and a healthy one
must not be refused because others fail. When all have failed they are asked again, after a short random wait, as long
as attempts and the retry budget allow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from random import random
from time import monotonic

from gateway.call import Call, Handler, Reply, Target
from gateway.errors import UpstreamFailed
from routing.breaker import Breaker
from routing.budget import RetryBudget

FIRST_WAIT = 0.1  # seconds; doubled at each round over the same targets, times a random share ("full jitter")
LONGEST_WAIT = 2.0
CANNOT_HELP = frozenset({"auth", "wrong_model", "redirect", "tls"})  # asking the same target again changes nothing


class Failover:
    """Ask one target after another, before the first byte."""

    def __init__(
        self,
        inner: Handler,
        breakers: Mapping[str, Breaker],
        budget: RetryBudget,
        attempts: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._inner = inner
        self._breakers = breakers
        self._budget = budget
        self._attempts = attempts
        self._sleep = sleep

    async def __call__(self, call: Call) -> Reply:
        """Answer from the first target that can. Raises the first target's UpstreamFailed when none can."""
        first: UpstreamFailed | None = None
        asked = 0
        hopeless: set[Target] = set()
        for target, wait in self._order(call):
            breaker = self._breakers[target.upstream]
            if asked >= self._attempts or len(hopeless) == len(call.targets):
                break
            if target in hopeless:
                continue
            if wait and first is not None:
                pause = self._pause(wait, first, call)
                call.trace.waited += pause  # it is no work of ours
                await self._sleep(pause)
            if not breaker.admit(monotonic()):
                call.trace.note("failover", f"passed over {target.upstream}: {breaker.reason or 'half-open'}")
                continue
            if wait and asked and not self._budget.take():
                breaker.abandoned()
                call.trace.note("failover", "the retry budget is spent")
                break
            asked += 1
            try:
                reply = await self._inner(call if len(call.targets) == 1 else call.aimed_at((target,)))
            except UpstreamFailed as failure:
                call.trace.note("failover", f"{target.upstream} failed: {failure.fault}")
                first = first or failure
                if failure.fault in CANNOT_HELP:
                    hopeless.add(target)
                continue
            self._budget.succeeded()
            return reply
        raise first or self._all_open(call, monotonic())

    def _order(self, call: Call) -> Iterator[tuple[Target, float]]:
        """The targets, round after round, with the wait in seconds before each."""
        wait = 0.0
        for round_ in range(self._attempts):
            for target in call.targets:
                yield target, wait
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2**round_)

    @staticmethod
    def _pause(wait: float, first: UpstreamFailed, call: Call) -> float:
        """A random share of `wait`, or what the upstream asked for; rather than wait long, tell the client."""
        pause = max(wait * random(), first.retry_after or 0.0)
        if pause > LONGEST_WAIT or monotonic() + pause >= call.deadline:
            raise first
        return pause

    def _all_open(self, call: Call, now: float) -> UpstreamFailed:
        rest = min(self._breakers[target.upstream].opens_again(now) for target in call.targets)
        names = ", ".join(dict.fromkeys(target.upstream for target in call.targets))
        throttled = all(self._breakers[target.upstream].reason == "throttled" for target in call.targets)
        return UpstreamFailed(
            f"No upstream for this model takes calls at present ({names}).",
            fault="breaker_open",
            status=429 if throttled else 503,
            retry_after=max(rest, 1.0),
        )
