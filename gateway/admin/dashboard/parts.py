"""What pages are put together from: cards, figures, tables, charts with their text, notices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dash_mantine_components as dmc
from dash import html

from gateway.admin.dashboard import figures as f

Part = Any  # a Dash component, a text, a number or a list of these
Tone = Literal["", "good", "bad", "warn", "dim"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    is_number: bool = False
    help: str = ""
    is_hidden: bool = False  # its name is for screen readers only


def wild(**given: str) -> dict[str, Any]:
    """Attributes with a hyphen, written with an underscore: aria_label, data_nav."""
    return {name.replace("_", "-"): value for name, value in given.items()}


def link(text: Part, href: str, *, current: bool = False, css: str = "", label: str = "") -> Part:
    """A link within the dashboard: the script follows it without loading the page anew."""
    more = {
        "data_nav": "1",
        **({"aria_current": "page"} if current else {}),
        **({"aria_label": label} if label else {}),
    }
    return html.A(text, href=href, className=css, **wild(**more))


def hint(topic: str, text: str) -> Part:
    """A question mark that says what a figure means, to the mouse, to the keyboard and to a screen reader."""
    button = html.Button("?", type="button", className="hint", **wild(aria_label=f"{topic}: {text}"))
    return dmc.Tooltip(
        button,
        label=text,
        multiline=True,
        w=280,
        withArrow=True,
        boxWrapperProps={"style": {"display": "inline-block"}},
        events={"hover": True, "focus": True, "touch": True},
    )


def card(title: str, *children: Part, about: str = "", css: str = "", aside: Part = None) -> Part:
    """A part of a page with its heading."""
    anchor = "h-" + "".join(c if c.isalnum() else "-" for c in title.lower())
    heading = html.H2(title, id=anchor)
    head = [
        heading,
        *([hint(title, about)] if about else []),
        *([html.Span(aside, className="aside")] if aside else []),
    ]
    return html.Section(
        [html.Div(head, className="head"), *children], className=f"card {css}", **wild(aria_labelledby=anchor)
    )


def figure(name: str, value: Part, note: Part = "", *, title: str = "", tone: Tone = "", about: str = "") -> Part:
    """One number that matters, with its name and what to compare it with."""
    return html.Div(
        [
            html.Dt([name, hint(name, about) if about else ""]),
            html.Dd(value, className=f"value {tone}", title=title),
            html.Dd(note, className="note") if note else "",
        ],
        className="figure",
    )


def figures(*found: Part) -> Part:
    """Several of them beside each other."""
    return html.Dl(list(found), className="figures")


def table(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Part]], *, empty: str = "None yet.") -> Part:
    """A table: the first cell of a row is its heading; it scrolls by itself where the screen is narrow."""
    if not rows:
        return html.P(empty, className="empty")
    head = html.Tr([_head(column) for column in columns])
    body = [html.Tr([_cell(columns[i], cell, is_head=i == 0) for i, cell in enumerate(row)]) for row in rows]
    whole = html.Table([html.Caption(caption, className="unseen"), html.Thead(head), html.Tbody(body)])
    return html.Div(whole, className="scroll", tabIndex="0", role="region", **wild(aria_label=caption))


def _head(column: Column) -> Part:
    if column.is_hidden:
        return html.Th(html.Span(column.name, className="unseen"), scope="col")
    name: Part = [column.name, hint(column.name, column.help)] if column.help else column.name
    return html.Th(name, scope="col", className="number" if column.is_number else "")


def _cell(column: Column, content: Part, *, is_head: bool) -> Part:
    css = "number" if column.is_number else ""
    return html.Th(content, scope="row", className=css) if is_head else html.Td(content, className=css)


def bar(value: float, most: float, tone: Tone = "") -> Part:
    """A bar beside a number that stands in the table: for the eye only."""
    width = 0.0 if not most else min(100.0, 100 * abs(value) / most)
    inner = html.Span(style={"width": f"{width:.1f}%"}, className=f"fill {tone}")
    return html.Span(inner, className="bar", **wild(aria_hidden="true"))


def badge(text: str, tone: Tone = "") -> Part:
    """A word in a coloured frame; the word says it, the colour only repeats it."""
    return html.Span(text, className=f"badge {tone}")


def amount(usd: float | None) -> Part:
    """Dollars; the pointer finds every digit."""
    return html.Span(f.usd(usd), title=f.exact_usd(usd))


def cut(shown: int, whole: int, where: str = "") -> str:
    """What stands beside a table that does not show all of its rows; "" where it does."""
    return f"{shown} of {whole}{where}" if shown < whole else ""


def notice(title: str, text: Part, tone: Tone = "", *, is_alert: bool = False) -> Part:
    """Something that the reader should know before the figures."""
    return html.Div(
        [html.Strong(title), " ", html.Span(text)], className=f"notice {tone}", role="alert" if is_alert else "note"
    )


@dataclass(frozen=True, slots=True)
class Line:
    """One series of a chart."""

    name: str
    label: str
    color: str


def chart(data: list[dict[str, Any]], lines: Sequence[Line], said: str, told: Part, *, form: str = "count") -> Part:
    """Stacked bars over time with their text: a sentence, and the same figures as a table."""
    drawn = dmc.BarChart(
        h=190,
        data=data,
        dataKey="when",
        type="stacked",
        series=[{"name": line.name, "label": line.label, "color": line.color} for line in lines],
        valueFormatter={"function": form},
        barProps={"isAnimationActive": False},
        barChartProps={"stackOffset": "sign"},  # what is below zero hangs below the axis
        tooltipAnimationDuration=0,
        withLegend=True,
        legendProps={"verticalAlign": "top", "height": 28},
        gridAxis="x",
        tickLine="none",
        yAxisProps={"width": 64},
        xAxisProps={"minTickGap": 40},
    )
    return html.Figure(
        [
            html.Div(drawn, **wild(aria_hidden="true")),
            html.Figcaption(said, className="unseen"),
            html.Details([html.Summary("Show as a table"), told]),
        ],
        className="chart",
    )


def code(text: str, label: str) -> Part:
    """Text as it is, never markup; it scrolls by itself."""
    return html.Pre(html.Code(text), className="code", tabIndex="0", role="region", **wild(aria_label=label))


def pairs(*found: tuple[str, Part]) -> Part:
    """Names and values below each other; what has no value is left out."""
    return html.Dl([html.Div([html.Dt(name), html.Dd(value)]) for name, value in found if value], className="pairs")
