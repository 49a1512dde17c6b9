"""One call's bill: what it cost, its baseline, and what each technique saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.call import Target
from gateway.money.bill import Books, Priced, usd
from gateway.money.machine import Machine, Meter
from gateway.money.tariff import of_price
from gateway.trace import COALESCED, EXACT, Attempt, Bill, Extra, Source, Trace, Usage
from policies.money import Price

DEAR = of_price(Price(input=10, cached_input=1, output=40))
CHEAP = of_price(Price(input=1, output=4))
OWN = Machine(3.6, False, None, None, Meter(0.0))  # a thousandth of a dollar a second


class Known:
    """Prices by upstream."""

    def __init__(self, prices: Mapping[str, Priced]) -> None:
        self._prices = prices

    def of(self, upstream: str, model: str) -> Priced:
        """The upstream's price, whatever the model."""
        return self._prices.get(upstream)


def books(own: float = 0.0) -> Books:
    """Books in which `big` is answered by `dear`, and `mine` by a machine."""
    baselines = {"big": Target("dear", "big-1"), "mine": Target("gpu", "m"), "odd": Target("nobody", "odd")}
    return Books(Known({"dear": DEAR, "cheap": CHEAP, "gpu": OWN}), baselines, own)


def asked(*attempts: Attempt, model: str = "big", status: int = 200) -> Trace:
    """A call that these attempts were made for."""
    return Trace("r", 0.0, 100.0, "chat", model=model, status=status, attempts=list(attempts), ended=101.0)


def attempt(upstream: str = "dear", model: str = "big-1", **fields: object) -> Attempt:
    """An attempt that answered with 1,000 tokens in, 200 of them cached, and 100 out."""
    values = {"status": 200, "usage": Usage(1000, 100, 200), **fields}
    return Attempt(upstream, model, 100.0, 100.5, 101.0, **values)  # type: ignore[arg-type]


def near(value: Any) -> Any:
    """What equals this but for the last digits."""
    return pytest.approx(value)


COST = (800 * 10 + 200 * 1 + 100 * 40) / 1e6


def adds_up(bill: Bill) -> bool:
    """Say whether the lines sum to what was saved, and that to the rest."""
    assert bill.saved is not None
    assert bill.baseline is not None
    assert bill.cost is not None
    total = sum(line[1] for line in bill.lines)
    return bool(total == near(bill.saved) == near(bill.baseline - bill.cost - bill.own))


def test_passed_through() -> None:
    """A call for which nothing was done cost its price and saved nothing."""
    bill = books().bill(asked(attempt()))
    assert bill == Bill(near(COST), near(COST), 0.0, near(0.0), "measured", ())


def test_own_compute() -> None:
    """The gateway's own time, up to the first byte and less the wait for upstreams, is taken off."""
    trace = asked(attempt())
    trace.first_byte = 101.0  # the attempt's first byte was half a second before
    bill = books(own=7.2).bill(trace)
    assert bill.own == near(0.001)
    assert bill.lines == (("overhead", near(-0.001), "estimated"),)
    assert adds_up(bill)


def test_hit() -> None:
    """A hit costs nothing, and saves what making its answer had cost."""
    trace = asked()
    trace.cache, trace.source, trace.age = EXACT, Source("big-1", "dear", 1100, 100, 200, COST), 900
    bill = books().bill(trace)
    assert (bill.cost, bill.baseline, bill.saved, bill.basis) == (0.0, COST, COST, "measured")
    assert bill.lines == (("exact", COST, "measured"),)


def test_hit_on_a_warm_prefix() -> None:
    """Who asks for a long prompt again within minutes would have paid the cached price for its whole blocks."""
    trace = asked()
    trace.cache, trace.source, trace.age = EXACT, Source("big-1", "dear", 2100, 100, 0, 0.024), 60
    bill = books().bill(trace)
    assert bill.baseline == near(((2000 - 1920) * 10 + 1920 * 1 + 100 * 40) / 1e6)
    assert bill.lines[0][2] == "estimated"


def test_hit_made_elsewhere() -> None:
    """What a hit saves is the price of the model that was asked for, not of the upstream that happened to make it."""
    trace = asked()
    trace.cache, trace.source = COALESCED, Source("small", "cheap", 600, 100, 0, 0.0009)
    bill = books().bill(trace)
    assert bill.saved == near((500 * 10 + 100 * 40) / 1e6)
    assert bill.lines == (("coalesced", near(bill.saved), "estimated"),)


def test_hit_of_unknown_tokens() -> None:
    """A hit of which nobody knows what it took costs 0 and saves nobody knows what."""
    trace = asked()
    trace.cache, trace.source = COALESCED, Source("", "")
    assert books().bill(trace) == Bill(0.0, None, 0.0, None, "measured")


def test_failed_over() -> None:
    """An answer by the next target is measured against the first; the failed attempt cost nothing."""
    bill = books().bill(asked(attempt(fault="http_500", usage=None), attempt("cheap", "other")))
    assert bill.cost == near((1000 * 1 + 100 * 4) / 1e6)
    assert bill.baseline == near(COST)
    assert bill.lines == (("failover", near(COST - 0.0014), "estimated"),)
    assert adds_up(bill)


def test_double_spend() -> None:
    """What a broken attempt used is on the bill of the call that was then answered by another."""
    bill = books().bill(asked(attempt(fault="cut"), attempt()))
    assert bill.cost == near(2 * COST)
    assert bill.baseline == near(COST)
    assert bill.lines == (("retry", near(-COST), "measured"),)


def test_unknown_price() -> None:
    """An unknown price makes cost and saving unknown, never 0."""
    bill = books().bill(asked(attempt("nobody", "odd"), model="odd"))
    assert (bill.cost, bill.saved, bill.basis) == (None, None, "unknown")


def test_price_told_by_the_upstream() -> None:
    """Where nobody else knows a price, what the upstream says it cost is the cost."""
    told = attempt("nobody", "odd", usage=Usage(10, 5, extra=Extra(usd=0.25)))
    assert books().bill(asked(told, model="odd")).cost == 0.25


def test_own_machine() -> None:
    """A machine of one's own is paid for by the time that fell to the call."""
    bill = books().bill(asked(attempt("gpu", "m", seconds=2.5), model="mine"))
    assert (bill.cost, bill.basis) == (near(0.0025), "measured")


def test_items() -> None:
    """Kept items of a call that was partly new are counted at the baseline's price."""
    trace = asked(attempt())
    trace.saved = 500
    bill = books().bill(trace)
    assert bill.lines == (("items", near(0.005), "measured"),)
    assert bill.baseline == near(COST + 0.005)
    assert adds_up(bill)


def test_removed_tokens() -> None:
    """The baseline holds the prompt as the client sent it."""
    trace = asked(attempt())
    trace.removed = 300
    assert books().bill(trace).lines == (("prune", near(0.003), "estimated"),)


def test_refresh() -> None:
    """What is fetched behind a caller's back is a cost that nobody would have had."""
    trace = asked(attempt())
    trace.serves_nobody = True
    bill = books().bill(trace)
    assert (bill.baseline, bill.saved) == (0.0, near(-COST))
    assert adds_up(bill)


@pytest.mark.parametrize("status", [499, 502])
def test_no_answer(status: int) -> None:
    """A call without an answer saved nothing, whatever it cost."""
    bill = books().bill(asked(attempt(fault="cut"), status=status))
    assert bill.cost == bill.baseline == near(COST)


def test_no_usage_told() -> None:
    """Where an upstream tells no usage it is judged by bytes, and marked as estimated."""
    trace = asked(attempt(usage=None))
    trace.request_bytes, trace.response_bytes = 4000, 400
    bill = books().bill(trace)
    assert bill.cost == near((1000 * 10 + 100 * 40) / 1e6)
    assert bill.basis == "estimated"


def test_told_in_headers() -> None:
    """An amount is told in plain digits, and an unknown one as such."""
    assert (usd(1.5e-7), usd(None)) == ("0.0000001500", "unknown")


@pytest.mark.parametrize("told", [0.0001, 0.002125])
def test_warm_hit_of_another_price(told: float) -> None:
    """A hit never saves more than its answer cost, whatever tier or price the upstream told then."""
    trace = asked()
    trace.cache, trace.source, trace.age = EXACT, Source("big-1", "dear", 1550, 50, 0, told), 60
    bill = books().bill(trace)
    assert bill.baseline is not None
    assert 0.09 * told < bill.baseline <= told


def test_estimated_when_made() -> None:
    """What a hit saves is no better known than what its answer cost."""
    trace = asked()
    trace.cache, trace.source, trace.age = EXACT, Source("big-1", "dear", 1100, 100, 0, COST, is_estimated=True), 900
    assert books().bill(trace).lines == (("exact", COST, "estimated"),)


def test_hit_that_was_left() -> None:
    """A client that left before its answer was whole was saved nothing."""
    trace = asked(status=499)
    trace.cache, trace.source = EXACT, Source("big-1", "dear", 1100, 100, 0, COST)
    bill = books().bill(trace)
    assert (bill.cost, bill.baseline, bill.saved) == (0.0, 0.0, 0.0)


def test_rare_tokens_are_dear_elsewhere_too() -> None:
    """The baseline of another target's answer prices what was written to a prefix cache as the first target would."""
    writes = of_price(Price(input=10, cache_write=20, output=40))
    books = Books(Known({"dear": writes, "cheap": CHEAP}), {"big": Target("dear", "big-1")})
    used = Usage(1000, 0, extra=Extra(cache_write=1000, usd=0.5))
    bill = books.bill(asked(attempt(fault="http_500", usage=None), attempt("cheap", "other", usage=used)))
    assert bill.baseline == near(0.02)


def test_time_of_failed_attempts() -> None:
    """A machine's time is paid for also where no answer came of it."""
    bill = books().bill(asked(attempt("gpu", "m", seconds=2.0, fault="cut", usage=None), model="mine", status=502))
    assert (bill.cost, bill.saved) == (near(0.002), near(0.0))


def test_cut_short() -> None:
    """Nobody knows what an upstream used that was given up on, if nothing was told."""
    bill = books().bill(asked(attempt(fault="deadline", usage=None), status=504))
    assert (bill.cost, bill.basis) == (0.0, "estimated")
