"""Tests of gateway.ledger.why: a note on why a call missed, that costs little and never costs the record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from caching.errors import CachingError
from gateway.ledger.why import LONGEST, MOST, Explainer, is_worth_keeping
from gateway.trace import EXACT, MISS, Trace
from tests.gateway.ledger.traces import answered

Parts = tuple[tuple[str, str], ...]


@dataclass
class Body:
    """An identity with one field, or one that cannot be told by parts."""

    text: str = "a1"
    fault: Exception | None = None

    def parts(self) -> Parts:
        """Its one field."""
        if self.fault:
            raise self.fault
        return (("messages[0]", self.text),)


@dataclass
class Remembered:
    """Misses that say how many calls came before."""

    calls: list[Parts] = field(default_factory=list)

    def why(self, parts: Parts) -> str:
        """How many came before."""
        return f"{len(self.calls)} came before"

    def add(self, parts: Parts) -> None:
        """Remember a call."""
        self.calls.append(parts)


@dataclass
class Clock:
    """A clock that is set by hand."""

    now: float = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def missed(**fields: Any) -> Trace:
    """A call that missed, without notes."""
    return answered(**{"cache": MISS, "identity": Body(), "notes": [], **fields})


def explained(explainer: Explainer, calls: int) -> int:
    """How many of so many calls are explained."""
    traces = [missed() for _ in range(calls)]
    for trace in traces:
        explainer.explain(trace)
    return sum(bool(trace.notes) for trace in traces)


def test_each_call_is_compared_with_those_before_it() -> None:
    """A call is asked about first and remembered then: it is not its own nearest."""
    explainer = Explainer(Remembered())
    traces = [missed(), missed()]
    for trace in traces:
        explainer.explain(trace)
    assert [trace.notes for trace in traces] == [
        [("cache", "miss: 0 came before")],
        [("cache", "miss: 1 came before")],
    ]


def test_only_so_many_a_second() -> None:
    """The budget is one second's worth, comes back with time, and does not grow over it; the rest is not remembered."""
    clock, misses = Clock(), Remembered()
    explainer = Explainer(misses, per_second=10.0, clock=clock)
    assert explained(explainer, 100) == 10
    clock.now = 0.5
    explainer.refill()
    assert explained(explainer, 100) == 5
    clock.now = 3600.0
    explainer.refill()
    assert explained(explainer, 100) == 10
    assert len(misses.calls) == 25


def test_only_misses_are_explained() -> None:
    """A hit needs no reason, and a call without an identity has none to give; neither costs the budget."""
    explainer = Explainer(Remembered(), per_second=1.0)
    for trace in (missed(cache=EXACT), missed(identity=None)):
        explainer.explain(trace)
        assert trace.notes == []
    assert explained(explainer, 1) == 1


@pytest.mark.parametrize("fault", [None, CachingError("no")])
def test_a_reason_that_is_known_stays_alone(fault: Exception | None) -> None:
    """What a layer noted as the reason is not contradicted by a second one."""
    known = ("cache", "miss: the answer that is kept is expired")
    trace = missed(identity=Body(fault=fault), notes=[("route", "miss: x"), known])
    Explainer(Remembered()).explain(trace)
    assert trace.notes == [("route", "miss: x"), known]


@pytest.mark.parametrize("note", [("cache", "not kept: it is too long"), ("route", "miss: x")])
def test_other_notes_are_no_reason(note: tuple[str, str]) -> None:
    """What became of the answer, and what other layers say, does not tell why the call missed."""
    trace = missed(notes=[note])
    Explainer(Remembered()).explain(trace)
    assert trace.notes == [note, ("cache", "miss: 0 came before")]


def test_a_call_with_a_known_reason_is_remembered() -> None:
    """Later calls are compared with it too."""
    explainer, later = Explainer(Remembered()), missed()
    explainer.explain(missed(notes=[("cache", "miss: the caller wants a new answer")]))
    explainer.explain(later)
    assert later.notes == [("cache", "miss: 1 came before")]


def test_the_request_is_let_go_of() -> None:
    """Whatever becomes of the explanation, the trace no longer holds the request."""
    explainer = Explainer(Remembered(), per_second=1.0)
    traces = [missed(cache=EXACT), missed(), missed()]
    for trace in traces:
        explainer.explain(trace)
    assert [trace.identity for trace in traces] == [None] * 3


@pytest.mark.parametrize("fault", [CachingError("no"), TypeError("no"), RecursionError("no"), IndexError("no")])
def test_a_failed_explanation_is_told(fault: Exception) -> None:
    """The note says that there is none, without what went wrong inside; nothing is raised."""
    trace = missed(identity=Body(fault=fault))
    Explainer(Remembered()).explain(trace)
    assert trace.notes == [("cache", f"miss: could not be explained ({type(fault).__name__})")]


def test_what_may_wait_with_its_request() -> None:
    """A miss of ordinary length that is among the first in the buffer."""
    assert is_worth_keeping(missed(), 0)
    assert not is_worth_keeping(missed(cache=EXACT), 0)
    assert not is_worth_keeping(missed(), MOST)
    assert not is_worth_keeping(missed(request_bytes=LONGEST + 1), 0)
