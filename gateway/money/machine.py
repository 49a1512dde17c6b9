"""An own machine: its busy time shared among the calls it works on, and the rates it was seen to work at.

Laws of this module:

* While n calls are under way each of them is charged 1/n of every second (processor sharing), so the seconds of all
  calls sum to the seconds in which the machine was busy. Calls of other workers count in n and pay for themselves.
* A call costs O(1): one integral of dt/n grows while anybody is served, and a call is charged its growth.
* A clock that goes back adds nothing. Who only asks may ask about a moment that is past.
* `marginal` prices charge busy time only. `amortized` ones charge idle time too: marginal price / utilization, where
  utilization is the share of busy time, each moment weighing less by e for every hour that it is past.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf

from policies import money

MEMORY = 3600.0  # seconds after which a moment weighs 1/e in the utilization
LEAST_UTILIZATION = 0.01
HOUR = 3600.0
FORGET = 0.98  # of what was learned, at each further answer: about the last fifty count
UNTIL_BOUNDED = 8  # answers after which one alone may not move a rate far
BOUND = 10.0  # times faster or slower than expected that one answer may be taken for
MOST_RATE = 1e9  # tokens a second


class Rate:
    """Tokens a second, learned from what passes: tokens over seconds, both of the latest answers."""

    __slots__ = ("_seconds", "_seen", "_tokens", "_weight")

    def __init__(self) -> None:
        self._tokens = 0.0
        self._seconds = 0.0
        self._weight = 0.0  # of all that was seen, in answers
        self._seen = 0

    @property
    def value(self) -> float | None:
        """The rate; None before anything was seen."""
        return self._tokens / self._seconds if self._seconds > 0 else None

    def learn(self, tokens: float, seconds: float) -> None:
        """Take one more answer into account; what cannot be is left out, and what is far off counts as less so."""
        if not (0 < tokens < inf and tokens / MOST_RATE <= seconds < inf):
            return
        if self._seen >= UNTIL_BOUNDED:
            expected, usual = tokens * self._seconds / self._tokens, self._seconds / self._weight
            # A short prompt is slow for its length and nothing is wrong with it: only what is long, too, is far off.
            seconds = min(max(seconds, expected / BOUND), max(expected, usual) * BOUND)
        self._weight = self._weight * FORGET + 1
        self._tokens = self._tokens * FORGET + tokens
        self._seconds = self._seconds * FORGET + seconds
        self._seen += 1


class Meter:
    """Who keeps one machine busy, and since when. `now` is always seconds of a monotonic clock."""

    __slots__ = ("_at", "_busy", "_others", "_own", "_served", "_weight", "decode", "prefill", "whole")

    def __init__(self, now: float) -> None:
        self._at = now
        self._own = 0
        self._others = 0.0
        self._served = 0.0  # the integral of dt/n
        self._busy = 0.0  # time in which anybody was served, and
        self._weight = 0.0  # all the time there was, both forgotten as MEMORY says
        self.prefill = Rate()  # prompt tokens a second of the machine's own
        self.decode = Rate()  # tokens of an answer a second, once it has begun
        self.whole = Rate()  # tokens of an answer a second, from the call's beginning on

    def begin(self, now: float) -> float:
        """A call begins; what it gets is given back to `end`."""
        self._advance(now)
        self._own += 1
        return self._served

    def end(self, begun: float, now: float) -> float:
        """A call has ended; the seconds of the machine that fell to it."""
        self._advance(now)
        seconds = self._served - begun
        self._own = max(self._own - 1, 0)
        if not self._own:
            self._served = 0.0  # nobody is under way: begin anew, so that years do not wear down the digits
        return max(seconds, 0.0)

    def so_far(self, begun: float, now: float) -> float:
        """The seconds of the machine that fell to a call up to now."""
        self._advance(now)
        return max(self._served - begun, 0.0)

    def hear(self, others: float, now: float) -> None:
        """Other workers have so many calls under way at this machine, from now on."""
        self._advance(now)
        self._others = others if 0 <= others < inf else 0.0

    @property
    def own(self) -> int:
        """Calls of this worker that are under way."""
        return self._own

    @property
    def under_way(self) -> float:
        """Calls of all workers that are under way."""
        return self._own + self._others

    def utilization(self, now: float) -> float | None:
        """The share of time in which the machine was busy, of late; None before any time has passed."""
        busy, weight = self._remembered(now - self._at)
        return busy / weight if weight > 0 else None

    def _remembered(self, elapsed: float) -> tuple[float, float]:
        """Busy time and all time, with so many seconds more of what is under way."""
        if elapsed <= 0:
            return self._busy, self._weight
        kept = exp(-elapsed / MEMORY)
        busy = self._busy * kept + (1 - kept) * min(self.under_way, 1.0)
        return busy, self._weight * kept + (1 - kept)

    def close(self) -> None:
        """Nothing is held that must be given back."""

    def _advance(self, now: float) -> None:
        elapsed = now - self._at
        self._at = now
        if elapsed <= 0:
            return
        if self._own:
            self._served += elapsed / self.under_way
        self._busy, self._weight = self._remembered(elapsed)


@dataclass(frozen=True, slots=True)
class Machine:
    """What an own machine costs."""

    usd_per_hour: float
    is_amortized: bool
    given_prefill: float | None
    given_decode: float | None
    meter: Meter

    @property
    def prefill(self) -> float | None:
        """Prompt tokens that it reads a second."""
        return self.given_prefill or self.meter.prefill.value

    @property
    def decode(self) -> float | None:
        """Tokens that it writes a second for one call."""
        return self.given_decode or self.meter.decode.value

    def usd(self, seconds: float, now: float) -> float:
        """What so many of its seconds cost."""
        marginal = self.usd_per_hour / HOUR * seconds
        if not self.is_amortized:
            return marginal
        utilization = self.meter.utilization(now)
        return marginal if utilization is None else marginal / max(utilization, LEAST_UTILIZATION)

    def seconds(self, uncached: float, output: float) -> float | None:
        """The seconds of the machine that a call will take which begins now; None where that cannot be known yet.

        Reading the prompt takes the machine whole: uncached / prefill. Writing is shared with the n - 1 calls that are
        under way: output / decode / n. Where no streams told the two apart, plain answers from their beginning to
        their end stand for both: output / whole / n.
        """
        sharing = self.meter.under_way + 1
        prefill, decode = self.prefill, self.decode
        if (prefill or uncached <= 0) and (decode or output <= 0):
            reading = uncached / prefill if prefill and uncached > 0 else 0.0
            return reading + (output / decode / sharing if decode and output > 0 else 0.0)
        whole = self.meter.whole.value
        return output / whole / sharing if whole and output > 0 else None


def of_policy(machine: money.Machine, meter: Meter) -> Machine:
    """The machine that a policy states, with its meter."""
    return Machine(machine.usd_per_hour, machine.account == "amortized", machine.prefill, machine.decode, meter)
