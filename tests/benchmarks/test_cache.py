"""Tests of the report on the cache library."""

from __future__ import annotations

import io
from dataclasses import replace

import orjson
import pytest
from rich.console import Console

from benchmarks.cache import CacheOptions, CacheReport, keying, main, show, to_json
from benchmarks.entries import Lengths
from benchmarks.eviction import Workload, compare
from benchmarks.keeping import Bound, Lookups

_KEPT = Bound("memory", 1_000, 2_000_000, 500_000, 200, 499_000, 510_000)


def _report(*bounds: Bound) -> CacheReport:
    lookups = [Lookups("memory, hit", [0.3, 0.3], [0.6, 0.6], 1.0)]
    evictions = [compare(Workload("tiny", 0.1, distinct=50, calls=500), [1, 2], Lengths())]
    return CacheReport(CacheOptions(), keying(2, 3), lookups, [4.0, 5.0], list(bounds), evictions)


def test_keys_are_timed_beside_parsing() -> None:
    """Both sizes, each repetition with a mean of its own."""
    found = keying(2, 3)
    assert [one.size for one in found] == ["1.7k", "100k"]
    assert all(len(one.identify) == len(one.parse) == 2 and min(one.identify + one.parse) > 0 for one in found)


def test_a_store_that_keeps_its_bound_misses_nothing() -> None:
    """Holding less than was put is no fault where not all has room."""
    assert _report(_KEPT).missed == []


def test_each_fault_of_a_store_is_named() -> None:
    """Over its bound by its own count or the system's, refusing, or losing what had room."""
    over = replace(_KEPT, counted=600_000, real=5_000_000)
    assert _report(over).missed == [
        "memory counts 1.20 times its bound",
        "memory really takes 10.00 times its bound",
    ]
    assert _report(replace(_KEPT, refused=7)).missed == ["memory refused 7 of 1,000 puts"]
    lost = replace(_KEPT, bound=4_000_000)
    assert _report(lost).missed == ["memory holds 200 of 1,000 entries, but has room for all"]


def test_tables_and_json_have_it_all() -> None:
    """Ratios with intervals for people and for programs."""
    report = _report(replace(_KEPT, refused=7))
    console = Console(width=150, file=(said := io.StringIO()))
    show(report, console)
    for expected in ("identify / parse", "2 (2 to 2)", "real / bound", "clairvoyant", "garbage", "missed: memory"):
        assert expected in said.getvalue()
    plain = orjson.loads(orjson.dumps(to_json(report)))
    assert plain["lookups"][0]["ratio"] == {
        "value": pytest.approx(2),
        "low": pytest.approx(2),
        "high": pytest.approx(2),
        "n": 2,
    }
    assert set(plain) == {*("options", "keying", "lookups", "collections_ms", "bounds", "evictions", "missed")}


def test_too_few_entries_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Many must be more than few."""
    with pytest.raises(SystemExit):
        main(["--entries", "10"])
    assert "at least 1,000" in capsys.readouterr().err
