"""The tables of the first page that name: which model was asked for and who answered, and spend by name."""

from __future__ import annotations

from collections.abc import Sequence

from dash import html

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.address import View
from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.pages import money
from gateway.admin.dashboard.parts import Column, Part, bar, card, cut, link, table, wild

ROWS = 8  # of each top list
ROUTES = 16
UNKNOWN_MODEL = "(unknown model)"  # none that the policy has: the ledger does not keep what callers invent
_NO_MODEL = "model_not_found"  # the outcome of such a call


def routes(view: View, found: Json) -> Part:
    """Which model was asked for, and what answered where."""
    columns = (
        Column("Asked for"),
        Column("Answered by"),
        Column("At"),
        Column("Calls", is_number=True),
        Column("Share"),
    )
    calls = sum(route["calls"] for route in found["routes"])
    rows = [_route(view, found, route, calls) for route in found["routes"][:ROUTES]]
    body = table("Which model was asked for, and what answered", columns, rows)
    return card("Routes", body, aside=cut(len(rows), len(found["routes"])) or None)


def _route(view: View, found: Json, route: Json, calls: int) -> list[Part]:
    upstream, answered = route["upstream"], route["answered_model"]
    return [
        _model(view, found, route["model"]),
        answered or "nobody",
        upstream or ("a cache" if answered else f.NONE),
        f.count(route["calls"]),
        [bar(route["calls"], calls), f.share(route["calls"], calls)],
    ]


def _model(view: View, found: Json, name: str) -> Part:
    if name:
        return link(name, view.link("/requests", model=name))
    refused = found["outcomes"].get(_NO_MODEL)
    return link(UNKNOWN_MODEL, view.link("/requests", outcome=_NO_MODEL)) if refused else UNKNOWN_MODEL


def top(view: View, found: Json, by: str) -> Part:
    """Calls and cost by one name, the dearest first; none of unknown cost is left out for costing nothing."""
    tops = found["by"].get(by, [])
    columns = (
        Column(by.capitalize()),
        *(Column(name, is_number=True) for name in ("Calls", "Errors", "Tokens", "Spent", "Saved")),
    )
    chosen = _chosen(tops)
    rows = [
        [
            _name(view, found, by, one["name"]),
            f.count(one["calls"]),
            f.count(one["errors"]),
            f.count(one["tokens"]),
            money.cost_with_unknown(one["cost_usd"], one["unknown"]),
            money.saved(one["saved_usd"]),
        ]
        for one in chosen
    ]
    body = table(f"Calls and cost by {by}", columns, rows)
    return card(f"By {by}", body, aside=_more(view, by, len(rows), len(tops)) if rows else None)


def _chosen(tops: Sequence[Json]) -> list[Json]:
    """The dearest, and of the rest those whose cost is not known: they may be the dearest of all."""
    rest = [one for one in tops[ROWS:] if one["unknown"]]
    return [*tops[:ROWS], *rest[:ROWS]]


def _name(view: View, found: Json, by: str, name: str) -> Part:
    if by == "model":
        return _model(view, found, name)
    return link(name, view.link("/requests", **{by: name})) if name else "none"


def _more(view: View, by: str, shown: int, whole: int) -> Part:
    label = wild(aria_label=f"Spend by {by} as CSV")
    file = html.A("CSV", href="/export" + view.link(f"/{by}.csv"), download=f"{by}.csv", **label)
    left_out = cut(shown, whole, "; all in ")
    return [left_out, file] if left_out else file
