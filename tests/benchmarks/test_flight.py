"""Tests of what `bench flight` reports."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from benchmarks import outage
from benchmarks.equals import Burst
from benchmarks.flight import PARTS, FlightOptions, FlightReport, main, options_from, run, show, to_json
from benchmarks.outage import PhaseReport
from benchmarks.statistics import Estimate

_BURST = Burst("one process", "plain", True, 20, 1, 1, 1.1, {})
_SILENT = PhaseReport(
    outage.SILENT, 400, 0, 0, 1.0, 2.0, 3.0, Estimate(-0.5, -0.9, -0.1, 400), {"same": 1.0, "other": 0.0}, 0.02
)
_GOOD = FlightReport(FlightOptions(), [_BURST, replace(_BURST, upstream=1, times=1.3)], [_SILENT])


def _printed(report: FlightReport) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    show(report, console)
    return console.export_text()


def test_the_tables_say_what_was_measured() -> None:
    """Repetitions share a row with their range, and each goal has its verdict."""
    text = _printed(_GOOD)
    assert "1.10 to 1.30" in text
    assert "black-holed: added p99 (ms) while it is open ≤ 0: -0.50 (-0.90 to -0.10) met" in text
    assert "killed: added p99 (ms) while it is open ≤ 0: - not measured" in text
    assert "fault" not in text


def test_faults_name_where_they_happened() -> None:
    """A burst that was not one call, and a call that failed during an outage."""
    report = FlightReport(FlightOptions(), [replace(_BURST, upstream=3)], trouble=["healthy, 1.00 s: status 502"])
    assert report.faults == ["one process, plain: 3 upstream calls", "healthy, 1.00 s: status 502"]
    assert "fault: one process, plain: 3 upstream calls" in _printed(report)


def test_json_is_plain() -> None:
    """The report can be written as JSON, with goals and faults."""
    told = orjson.loads(orjson.dumps(to_json(_GOOD)))
    assert told["faults"] == []
    assert [goal["verdict"] for goal in told["goals"]] == ["not measured", "met", "not measured", "not measured"]


def test_options() -> None:
    """All parts by default; quick ones are measured once; an unknown part is refused."""
    assert options_from([]) == FlightOptions(parts=PARTS)
    assert options_from(["--quick", "--calls", "20", "--parts", "one"]) == FlightOptions(20, 1, 2.0, ("one",))
    with pytest.raises(SystemExit):
        options_from(["--parts", "two"])


def test_without_redis_its_parts_are_skipped_and_said_so() -> None:
    """What needs a redis-server that is not installed is named, and nothing is started for it."""
    report = run(FlightOptions(parts=("three", "outage")), Console(quiet=True), has_redis=lambda: False)
    assert report.skipped == dict.fromkeys(("three", "outage"), "redis-server is not installed")
    assert "three was not measured: redis-server is not installed" in _printed(report)


def test_the_command_writes_the_report(tmp_path: Path) -> None:
    """Where nothing is wrong the status is 0, and the JSON is where it was asked for."""
    file = tmp_path / "flight.json"
    assert main(["--quick", "--parts", "", "--json", str(file)]) == 0
    assert orjson.loads(file.read_bytes())["faults"] == []
