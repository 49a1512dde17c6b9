"""Tests of what the figures of a run say."""

from __future__ import annotations

import io
from dataclasses import replace

import orjson
from rich.console import Console

from benchmarks.report import Cell, CellReport, Measure, Report, carried
from benchmarks.tables import show

_PLAIN, _PACED = Cell("plain", "1.7k", 32), Cell("paced", "1.7k", 32)
_HIT = Cell("plain", "1.7k", 32, hit=True)
_GOOD = Measure(1000.0, 100.0, 900.0, 2000.0, 500.0, 700.0, 100.0, 300.0, 50.0, 0.9, 0.2, 0.0)


def _times(measure: Measure, *factors: float) -> list[Measure]:
    return [replace(measure, rps=measure.rps * f, cpu_us=measure.cpu_us / f) for f in factors]


def _plain(ours: float) -> CellReport:
    """Ourselves `ours` times as fast as the SGLang router, in three repetitions of different speed."""
    speeds = (1.0, 1.1, 0.9)
    return CellReport(
        _PLAIN,
        {
            "direct": _times(replace(_GOOD, p50_us=100.0), 10.0, 11.0, 9.0),
            "sluice": _times(_GOOD, *(ours * s for s in speeds)),
            "sluice (cache off)": _times(_GOOD, *(ours * s for s in speeds)),
            "sglang-router": _times(_GOOD, *speeds),
            "sluice again": _times(_GOOD, *(ours * s for s in speeds)),
        },
    )


def _report(*cells: CellReport) -> Report:
    machine = {"cpu": "x", "cores": 2, "gateway_cores": [0], "load_cores": [1], "python": "3", "kernel": "6"}
    return Report(machine, {"sluice": "0.1"}, {"litellm": "pip install it"}, {}, {}, list(cells))


def test_a_ratio_is_taken_within_repetitions() -> None:
    """What slows a whole repetition does not widen the ratio's interval."""
    ratio = _plain(1.25).ratio("sluice", "sglang-router", "rps")
    assert ratio is not None
    assert (round(ratio.low, 6), round(ratio.high, 6)) == (1.25, 1.25)


def test_latency_is_shown_as_what_it_adds() -> None:
    """A target's p50 less the direct call's is its added p50; the direct call adds nothing to itself."""
    cell = _plain(1.0)
    assert cell.figures("sluice")["added_p50_us"].value == 800.0
    assert "added_p50_us" not in cell.figures("direct")


def test_errors_make_no_figure() -> None:
    """One wrong answer in any repetition, and no ratio is given and the report is not valid."""
    cell = _plain(1.0)
    cell.measures["sluice"][1] = replace(_GOOD, errors={"status 500": 3})
    assert cell.ratio("sluice", "sglang-router", "rps") is None
    assert cell.errors("sluice") == {"status 500": 3}
    assert not _report(cell).valid


def test_goals_are_met_missed_or_open() -> None:
    """A goal is met only if its whole interval is on the good side."""
    assert _report(_plain(1.2)).goals()[0].verdict == "met"
    assert _report(_plain(0.8)).goals()[0].verdict == "missed"
    assert _report().goals()[0].verdict == "not measured"
    wide = _plain(1.0)
    wide.measures["sluice (cache off)"] = _times(_GOOD, 0.5, 1.0, 2.0)
    assert _report(wide).goals()[0].verdict == "open"


def test_misses_are_held_against_the_routers_and_hits_against_litellm() -> None:
    """With the cache on we owe 0.7 of the SGLang router's rate, and a hit 100 times that of LiteLLM's hit."""
    hits = CellReport(_HIT, {"sluice": _times(_GOOD, 150, 160), "litellm (cache on)": _times(_GOOD, 1, 1)})
    verdicts = {goal.what: goal.verdict for goal in _report(_plain(0.8), hits).goals()}
    assert verdicts["exact miss, plain req/s, x SGLang router"] == "met"
    assert verdicts["exact hit, plain req/s, x LiteLLM's in-memory hit"] == "met"
    assert verdicts["exact hit, streamed req/s, x LiteLLM's in-memory hit"] == "not measured"


def test_carried_streams_are_those_on_time() -> None:
    """The largest number of streams with added p99 within 5 ms counts, and errors do not."""
    late = replace(_GOOD, delay_p99_us=9_000.0)
    cells = [
        CellReport(Cell("paced", "1.7k", n), {"direct": [_GOOD] * 2, "vllm-router": [measure] * 2})
        for n, measure in ((32, _GOOD), (64, _GOOD), (128, late), (256, replace(_GOOD, errors={"x": 1})))
    ]
    found = carried(cells, "vllm-router")
    assert found is not None
    assert found.cell.connections == 64
    assert carried(cells[2:], "vllm-router") is None


def test_json_has_this_shape() -> None:
    """Machine, versions, what is missing, and for each cell targets, ratios and the control, all plain values."""
    report = orjson.loads(orjson.dumps(_report(_plain(1.2)).to_json()))
    assert set(report) == {
        *("machine", "versions", "not_installed", "did_not_start", "options", "valid", "cells", "goals"),
    }
    cell = report["cells"][0]
    assert cell["cell"] == "plain-1.7k-32"
    assert set(cell["targets"]["sluice"]) == {
        *("valid", "errors", "gateway_busy", "load_busy", "others_busy", "upstream_share", "figures", "repetitions"),
    }
    assert set(cell["ratios"]) == {
        *("sluice/sglang-router", "sluice/sluice (cache off)", "sluice (cache off)/sglang-router"),
        "sluice again/sluice",
    }
    assert set(cell["ratios"]["sluice/sglang-router"]["rps"]) == {"value", "low", "high", "n"}
    assert report["not_installed"] == {"litellm": "pip install it"}


def test_tables_show_it_all() -> None:
    """The terminal shows figures, the noise floor, how to install what is missing, and the verdict."""
    console = Console(width=200, file=(said := io.StringIO()))
    paced = CellReport(_PACED, {name: [_GOOD] * 2 for name in ("direct", "sluice", "vllm-router", "sluice again")})
    hits = CellReport(_HIT, {name: [_GOOD] * 2 for name in ("direct", "sluice", "litellm (cache on)", "sluice again")})
    show(_report(_plain(1.2), paced, hits), console)
    text = said.getvalue()
    for expected in ("plain-1.7k-32 (exact misses)", "hit-1.7k-32 (exact hits)", "to upstream", "litellm (cache on)"):
        assert expected in text
    for expected in ("plain-1.7k-32", "noise floor", "pip install it", "met", "sluice carries 32", "+chunk p99"):
        assert expected in text
