"""Tests of what `sluice bench ledger` says of its measurements, and of its questions over few records."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.ledger import WITH, WITHOUT, CostReport, Measure, options_from, pages
from benchmarks.records import Recipe, seed
from gateway.ledger import LedgerReader

NOW = 1_795_000_000.0


def test_ratios_are_of_pairs() -> None:
    """A twentieth of the throughput lost in each pair is a ratio of 0.95; one wrong answer leaves no verdict."""
    measures = {
        WITH: [Measure(95, 105, 0), Measure(190, 105, 0)],
        WITHOUT: [Measure(100, 100, 0), Measure(200, 100, 0)],
    }
    report = CostReport(measures)
    throughput, cpu = report.ratio("rps"), report.ratio("cpu_us")
    assert throughput is not None
    assert cpu is not None
    assert throughput.value == pytest.approx(0.95)
    assert cpu.value == pytest.approx(1.05)
    assert report.is_valid
    assert not CostReport({WITH: [Measure(1, 1, 1)], WITHOUT: []}).is_valid


def test_the_command_line() -> None:
    """Pages, or the cost; how many and how long."""
    options, asks_pages = options_from(["--pages", "--records", "500"])
    assert (options.records, asks_pages) == (500, True)
    assert not options_from([])[1]


def test_seeded_records_are_as_written(tmp_path: Path) -> None:
    """All are there, found by id and summed, of all kinds, the last of them just before the end."""
    path = tmp_path / "ledger.sqlite"
    seed(path, Recipe(3000, NOW))
    reader = LedgerReader(path)
    found = reader.overview(NOW - 31 * 86_400, NOW)
    assert found["totals"]["calls"] == 3000
    assert 0 < found["totals"]["unknown"] < 300
    assert set(found["kinds"]) == {"miss", "exact", "stale", "coalesced", "bypass"}
    (newest,) = reader.recent(1)
    assert NOW - 3600 < newest["at"] <= NOW
    assert reader.one(newest["id"]) is not None


def test_every_question_has_an_answer(tmp_path: Path) -> None:
    """Each is asked and timed."""
    path = tmp_path / "ledger.sqlite"
    seed(path, Recipe(1500, NOW))
    found = dict(pages(path, repetitions=1))
    assert len(found) >= 15
    assert all(ms > 0 for ms in found.values())
