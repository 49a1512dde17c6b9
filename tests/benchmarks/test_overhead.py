"""Tests of the whole benchmark, with the direct call only: no gateway needs to be installed."""

from __future__ import annotations

import io
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from benchmarks.overhead import ALL_CELLS, chosen_cells, main, options_from, run, with_control
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
