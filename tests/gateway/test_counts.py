"""Tests of gateway.counts: sums over workers, bounded labels, and files that are not ours."""

from __future__ import annotations

from typing import Any, cast

import pytest

from gateway.counts import MAX_SERIES, Counts, Snapshot, merged
from gateway.families import CALL, COST, RELOADS, SPEND, Family
from gateway.metrics import Metrics


def snapshot(**counters: Any) -> Snapshot:
    """A worker's file with these counters."""
    return cast(Snapshot, {"counters": counters, "histograms": {}})


def test_sums_of_money_are_added_over_workers() -> None:
    """Two workers' spend under the same labels is one number."""
    total = merged(snapshot(**{SPEND.name: [(["acme", "", "app"], 0.5)]}) for _ in range(2))
    assert total.counters[SPEND.name] == {("acme", "", "app"): 1.0}


def test_a_full_family_counts_the_rest_together() -> None:
    """Beyond the bound every new series is "other", whatever its labels."""
    counts = Counts()
    for number in range(MAX_SERIES + 5):
        counts.add(SPEND, (f"tenant-{number}", "", ""))
    assert len(counts.counters[SPEND.name]) == MAX_SERIES + 1
    assert counts.counters[SPEND.name]["other", "other", "other"] == 5


def test_what_a_newer_release_counted_is_passed_over() -> None:
    """A file with families that nobody here knows is read for the others: a release can be taken back."""
    found = Counts.read(snapshot(sluice_of_the_future_total=[(["x"], 1)], **{COST.name: [(["m", "u", "measured"], 2)]}))
    assert found.counters[COST.name] == {("m", "u", "measured"): 2}


def test_what_workers_tell_of_themselves_is_not_counted() -> None:
    """Families of state are made from the status; there is nothing to add them to."""
    with pytest.raises(KeyError):
        Counts().add(RELOADS, ("ok",))


@pytest.mark.parametrize(
    "broken", [{}, {"counters": 3}, {"counters": {COST.name: [(["m"], "much")]}, "histograms": {}}]
)
def test_a_file_that_is_not_ours_is_refused(broken: dict[str, Any]) -> None:
    """Whoever reads it gets an error that it expects, never a half-read count."""
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        Counts.read(cast(Snapshot, broken)).merge(Counts.read(Metrics().snapshot(0, 1.0, {})))


def test_other_buckets_are_refused() -> None:
    """Histograms of other bounds cannot be added."""
    other = Family(CALL.name, CALL.help, CALL.labels, CALL.buckets[:3])
    counts = Counts()
    with pytest.raises(ValueError, match="shorter"):
        counts.spread(CALL, ("chat", "m", "false")).merge([0] * (len(other.buckets) + 1), 0.0)
