"""The charts of the first page: cost and calls over time, each with its figures as a table."""

from __future__ import annotations

from typing import Any

from dash import html

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.address import View
from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.parts import Column, Line, Part, amount, card, chart, table, wild

SPENT, SAVED, LOST = "blue.6", "teal.5", "red.6"
TABLE_ROWS = 24  # of a chart's table


def _points(view: View, found: Json) -> list[dict[str, Any]]:
    length = view.until - view.since
    return [
        {
            "when": f.tick(point["at"], length, view.zone),
            "cost": point["cost_usd"] or 0,
            "saved": max(0, point["saved_usd"] or 0),
            "lost": min(0, point["saved_usd"] or 0),
            "hits": point["hits"],
            "errors": point["errors"],
            "served": max(0, point["calls"] - point["hits"] - point["errors"]),
        }
        for point in found["series"]
    ]


def cost_chart(view: View, found: Json) -> Part:
    points = _points(view, found)
    has_losses = any(f.is_worth_telling(point["lost"]) for point in points)
    lines = (
        Line("cost", "spent", SPENT),
        Line("saved", "saved", SAVED),
        *([Line("lost", "lost", LOST)] if has_losses else []),
    )
    text = f"Spent and saved in steps of {f.span(found['bucket_s'])}."
    drawn = chart(points, lines, text, _series_table(view, found), form="usd")
    export = html.A(
        "CSV",
        href="/export" + view.link("/series.csv"),
        download="series.csv",
        **wild(aria_label="Calls and cost over time as CSV"),
    )
    about = (
        "The lower part was spent, the upper one saved: together what the calls would have cost. Where more was lost "
        "than saved, as by a failover to a dearer upstream, that hangs below the axis, and is part of what was spent."
    )
    return card("Cost over time", drawn, about=about, aside=export)


def calls_chart(view: View, found: Json) -> Part:
    lines = (
        Line("served", "from an upstream", SPENT),
        Line("hits", "from a cache", SAVED),
        Line("errors", "failed", LOST),
    )
    text = f"Calls in steps of {f.span(found['bucket_s'])}: from an upstream, from a cache, failed."
    return card("Calls over time", chart(_points(view, found), lines, text, _series_table(view, found)))


def _series_table(view: View, found: Json) -> Part:
    """The series in at most so many rows."""
    series = found["series"]
    step = max(1, -(-len(series) // TABLE_ROWS))
    columns = (
        Column("From"),
        *(Column(name, is_number=True) for name in ("Calls", "Hits", "Errors", "Spent", "Saved")),
    )
    rows = [
        [
            f.moment(part[0]["at"], view.zone),
            *(f.count(sum(point[name] for point in part)) for name in ("calls", "hits", "errors")),
            *(amount(sum(point[name] or 0 for point in part)) for name in ("cost_usd", "saved_usd")),
        ]
        for part in (series[i : i + step] for i in range(0, len(series), step))
    ]
    return table("Calls and cost over time", columns, rows)
