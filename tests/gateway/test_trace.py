"""The story of one call."""

from __future__ import annotations

from gateway.trace import COALESCED, Attempt, Source, Trace


def test_answered_by() -> None:
    """The last attempt answered, unless it failed or there was none."""
    trace = Trace("r", 0, 0)
    assert trace.answered_by is None
    trace.attempts.append(Attempt("a", "m", 0, fault="cut"))
    assert trace.answered_by is None
    trace.attempts.append(Attempt("b", "m", 1))
    assert trace.answered_by is trace.attempts[1]


def test_upstream_seconds() -> None:
    """Time spent on upstreams is each attempt's wait: to its first byte, its end, or now."""
    trace = Trace("r", 0, 0)
    trace.attempts += [
        Attempt("a", "m", 1, ended=3, fault="cut"),
        Attempt("b", "m", 4, first_byte=5, ended=9),
        Attempt("c", "m", 10),
    ]
    assert trace.upstream_seconds(12) == 2 + 1 + 2


def test_saved_tokens() -> None:
    """Hits save what their source says, other answers what was kept of their parts; a source alone is no hit."""
    trace = Trace("r", 0, 0, source=Source("m", "u", tokens=5), saved=2)
    assert trace.saved_tokens == 2
    trace.cache = COALESCED
    assert trace.saved_tokens == 7


def test_notes() -> None:
    """What layers decided is kept in order."""
    trace = Trace("r", 0, 0)
    trace.note("failover", "a failed")
    trace.note("cache", "miss")
    assert trace.notes == [("failover", "a failed"), ("cache", "miss")]
