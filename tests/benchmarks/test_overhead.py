"""Tests of the whole benchmark, with the direct call only: no gateway needs to be installed."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from benchmarks.overhead import ALL_CELLS, chosen_cells, judged, main, options_from, run, takes, with_control
from benchmarks.report import Cell, Measure
from benchmarks.stand import Running


def test_a_run_measures_the_direct_call_and_its_control(tmp_path: Path) -> None:
    """One quick cell: the direct call is measured twice in each repetition, without errors, and ends in valid JSON."""
    arguments = ["--seconds", "0.2", "--repetitions", "2", "--peers", "none", "--cells", "plain-1.7k-1"]
    said = io.StringIO()
    report = run(options_from([*arguments, "--peer-dir", str(tmp_path)]), Console(file=said))
    plain = orjson.loads(orjson.dumps(report.to_json()))
    (cell,) = plain["cells"]
    assert plain["valid"]
    assert set(cell["targets"]) == {"direct", "direct again"}
    assert cell["targets"]["direct"]["figures"]["rps"]["value"] > 0
    assert len(cell["targets"]["direct"]["repetitions"]) == 2
    assert "direct again/direct" in cell["ratios"]
    assert "plain-1.7k-1 2/2 direct" in said.getvalue()


def test_a_wrong_cell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A typo names the cells that exist and ends with status 2."""
    with pytest.raises(SystemExit) as ended:
        main(["--cells", "plane-*"])
    assert ended.value.code == 2
    assert "plain-1.7k-32" in capsys.readouterr().err


def test_cells_are_chosen_by_pattern() -> None:
    """Patterns pick by name; none pick all."""
    assert {cell.name for cell in chosen_cells(["plain-100k-*"])} == {"plain-100k-1", "plain-100k-32"}
    assert chosen_cells([]) == list(ALL_CELLS)


def test_the_control_is_ourselves_if_we_are_there() -> None:
    """We are measured twice; without us the first peer is; alone, the direct call."""
    direct, peer, ours = (Running(name, 1, None) for name in ("direct", "nginx", "sluice"))
    assert with_control([direct, peer, ours])[-1].name == "sluice again"
    assert with_control([direct, peer])[-1].name == "nginx again"
    assert with_control([direct])[-1].name == "direct again"


def test_a_target_is_measured_with_its_part() -> None:
    """Hit cells are for those with a cache, the other cells for all but a variant that is about hits."""
    hit, miss = Cell("plain", "1.7k", 1, hit=True), Cell("plain", "1.7k", 1)
    assert [takes(part, hit) for part in ("hits", "misses", "both")] == [True, False, True]
    assert [takes(part, miss) for part in ("hits", "misses", "both")] == [False, True, True]


def test_hits_and_misses_are_as_the_upstream_counted() -> None:
    """A measurement whose calls went another way than its cell is about has no figure."""
    good = Measure(1000.0, 100.0, 900.0, 2000.0, 500.0, 700.0, 100.0, 300.0, 50.0, 0.9, 0.2, 0.0)
    hits, misses = replace(good, upstream_share=0.0001), replace(good, upstream_share=1.0)
    assert judged(hits, hit=True).valid
    assert judged(misses, hit=False).valid
    assert judged(misses, hit=True).errors == {"should be hits, but 100% reached the upstream": 1}
    assert judged(hits, hit=False).errors == {"should be misses, but 0% reached the upstream": 1}


def test_hit_cells_have_names_of_their_own() -> None:
    """They are chosen by a pattern like the others."""
    assert [cell.name for cell in chosen_cells(["hit*-32"])] == ["hit-1.7k-32", "hit-streamed-1.7k-32"]
