"""Tests of gateway.admin.dashboard.pages.overview, its charts and its tables."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.admin.dashboard.address import view
from gateway.admin.dashboard.pages.overview import overview
from gateway.admin.dashboard.parts import Part
from tests.gateway.admin.dashboard import made_up
from tests.gateway.admin.dashboard.made_up import NOW, top, totals
from tests.gateway.admin.dashboard.reading import links, parts, text


def page(search: str = "", **changed: Any) -> Part:
    """The overview with some of its figures changed."""
    at = view("/", search, NOW)
    return overview(at, made_up.overview(at.query, **changed))


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (0, "No calls were held out. Set holdout"),
        (27, "27 calls were held out: 27 of the 30 needed to measure by."),
        (90, "90 calls were held out, but there is too little to compare them with"),
    ],
)
def test_why_nothing_was_measured(held: int, told: str) -> None:
    """None held out, too few, or too few to compare with."""
    assert told in text(page(holdout=None, totals=totals(held_out=held)))


def test_filters_can_be_taken_away() -> None:
    """What the sums are of stands on top, and each part of it leads to the sums without it."""
    found = page("?model=big&tenant=acme")
    assert text(found).startswith("Only calls of model: big")
    assert links(found)["model: big \u00d7"] == "/?tenant=acme"
    assert "Only calls of" not in text(page())


def test_who_answered() -> None:
    """An upstream, a cache, or nobody; a model that nobody knows is named so and leads to calls refused for it."""
    routes = [
        {"model": "big", "upstream": "", "answered_model": "big", "calls": 3},
        {"model": "", "upstream": "", "answered_model": "", "calls": 2},
        {"model": "down", "upstream": "broken", "answered_model": "", "calls": 1},
    ]
    found = page(routes=routes, outcomes={"ok": 3, "model_not_found": 2})
    said = text(found).partition("Routes")[2]
    assert "big big a cache 3" in said
    assert "(unknown model) nobody - 2" in said
    assert "down nobody broken 1" in said
    assert links(found)["(unknown model)"] == "/requests?outcome=model_not_found"


def test_a_table_that_is_cut_says_so() -> None:
    """Eight of the dearest stand there, and whatever has no known price; the file has all."""
    many = [top(f"m{i}", 100 - i, unknown=int(i == 11)) for i in range(12)]
    said = text(page(by={"model": many}))
    assert "9 of 12; all in CSV" in said
    assert "m11" in said
    assert "m10" not in said
    routes = [{"model": f"m{i}", "upstream": "u", "answered_model": "m", "calls": 1} for i in range(20)]
    assert "16 of 20" in text(page(routes=routes))


def test_losses_are_drawn() -> None:
    """Where calls lost money the chart has a third series, which hangs below the axis; else it has none."""

    def series(found: Part) -> list[str]:
        charts = [one for one in parts(found) if type(one).__name__ == "BarChart"]
        assert charts[0].barChartProps == {"stackOffset": "sign"}
        return [line["name"] for line in charts[0].series]

    point = {"at": NOW - 60, "calls": 1, "errors": 0, "hits": 0, "cost_usd": 0.1, "saved_usd": -0.05}
    assert series(page(series=[point])) == ["cost", "saved", "lost"]
    assert series(page()) == ["cost", "saved"]
