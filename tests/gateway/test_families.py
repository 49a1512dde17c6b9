"""Tests of gateway.families: the page of metrics held to the code, and the names to Prometheus' customs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.families import COUNTERS, FAMILIES, GAUGES, HISTOGRAMS, TOLD, kind
from tests.gateway.promql import faults

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
ROWS = re.findall(r"^\| `(sluice_\w+)` \| (\w+) \|([^|]*)\| (.+) \|$", PAGE, re.M)
EXAMPLES = re.findall(r"^```promql\n(.*?)^```$", PAGE, re.M | re.S)


def test_every_metric_is_on_the_page() -> None:
    """The page names every family once with its type and its labels in order, and no other."""
    told = sorted((name, sort, tuple(re.findall(r"`(\w+)`", labels))) for name, sort, labels, _ in ROWS)
    assert told == sorted((family.name, kind(family), family.labels) for family in FAMILIES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_ask_for_what_there_is(example: str) -> None:
    """Every example names metrics and labels that exist, and takes rates of counters only."""
    assert faults(example) == []


def test_there_are_examples() -> None:
    """The page shows how to ask for what it names."""
    assert len(EXAMPLES) >= 8


def test_wrong_expressions_are_found() -> None:
    """The check that examples and dashboard stand under sees what is wrong."""
    for wrong in (
        "sum(rate(sluice_call_total[5m]))",
        'sum(rate(sluice_calls_total{tenant="a"}[5m]))',
        "sum by (tenant) (rate(sluice_calls_total[5m]))",
        "sum(sluice_calls_total)",
        "rate(sluice_workers[5m])",
        "sum(rate(sluice_call_seconds[5m]))",
        "sum(rate(sluice_calls_total[5m])",
        "up",
    ):
        assert faults(wrong), wrong


def test_names_follow_the_customs() -> None:
    """Counters end in _total and nothing else does; histograms are of seconds; no name comes twice."""
    assert all(family.name.endswith("_total") for family in (*COUNTERS, *TOLD))
    assert not [family.name for family in (*GAUGES, *HISTOGRAMS) if family.name.endswith("_total")]
    assert all(family.name.endswith("_seconds") for family in HISTOGRAMS)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    assert all(re.fullmatch(r"sluice_[a-z_]+", family.name) for family in FAMILIES)
