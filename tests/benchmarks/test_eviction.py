"""Tests of the replay that compares what policies keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.entries import Lengths, entries
from benchmarks.eviction import CONTENDERS, OURS, Trace, Workload, best_fixed, clairvoyant, compare, draw
from caching.stores.memory import weight

_SMALL = Workload("small", 0.1, distinct=200, calls=2_000)


def _trace(calls: Sequence[int], room: int, costs: Sequence[float]) -> Trace:
    """Calls for entries of one size and these costs, with room for so many of them."""
    kept = [replace(e, seconds=c) for e, c in zip(entries(range(len(costs)), Lengths([(9, 9)])), costs, strict=True)]
    return Trace(kept, calls, room * weight(kept[0]))


def test_a_trace_is_the_same_for_a_seed() -> None:
    """Equal seeds give equal calls; some questions come much more often than others, and some room is missing."""
    trace, again = draw(_SMALL, 1, Lengths()), draw(_SMALL, 1, Lengths())
    assert trace.calls == again.calls != draw(_SMALL, 2, Lengths()).calls
    counts = sorted((trace.calls.count(n) for n in set(trace.calls)), reverse=True)
    assert counts[0] > 10 * counts[len(counts) // 2]
    assert 0 < trace.capacity < sum(weight(e) for e in trace.entries)


def test_a_shifting_trace_changes_its_favourites() -> None:
    """What the first half asks for most is not what the second half asks for most."""
    calls = draw(replace(_SMALL, phases=2), 1, Lengths()).calls
    first, second = calls[:1_000], calls[1_000:]
    assert max(set(first), key=first.count) != max(set(second), key=second.count)


def test_everyone_saves_all_repeats_where_all_fits() -> None:
    """With room to spare only first calls are paid for."""
    trace = _trace([0, 1, 0, 1, 1], 100, [5.0, 7.0])
    assert {name: contender(trace) for name, contender in CONTENDERS.items()} == dict.fromkeys(CONTENDERS, 19.0)


def test_the_best_fixed_set_is_what_saves_most_a_byte() -> None:
    """Room for one: the dear answer asked for twice beats the cheap one asked for three times."""
    assert best_fixed(_trace([0, 1, 0, 1, 0], 1, [1.0, 10.0])) == 10.0


def test_the_clairvoyant_keeps_what_comes_back() -> None:
    """Room for one of three that take turns: who only looks back drops each before its turn, and saves nothing."""
    trace = _trace([0, 1, 2, 0, 1, 2, 0], 1, [1.0, 1.0, 1.0])
    assert clairvoyant(trace) == 2.0


def test_a_comparison_has_a_share_for_each_contender_and_seed() -> None:
    """Shares lie between nothing and all, and ours compared with itself is one."""
    report = compare(_SMALL, [1, 2, 3], Lengths())
    assert set(report.saved) == set(CONTENDERS)
    assert all(len(shares) == 3 and all(0 < share < 1 for share in shares) for shares in report.saved.values())
    ratio = report.ratio(OURS)
    assert ratio is not None
    assert ratio.value == 1.0
    assert report.share("clairvoyant").value > report.share("LRU").value
