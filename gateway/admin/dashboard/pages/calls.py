"""Requests: a search over calls, the newest, the dearest or the slowest first."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import html

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.address import View
from gateway.admin.dashboard.data import ORDERS, Json
from gateway.admin.dashboard.parts import Column, Part, amount, badge, link, notice, table, wild

PAGE = 50  # calls on a page
EXPORTED = 500  # calls in a file of the dearest or the slowest

_LABELS = {
    "q": "Id, model or outcome",
    "model": "Model",
    "upstream": "Upstream",
    "tenant": "Tenant",
    "team": "Team",
    "key": "Key",
    "tag": "Tag",
    "endpoint": "Endpoint",
    "outcome": "Outcome",
    "cache": "Cache",
}
_FIRST = ("q", "model", "upstream", "tenant", "outcome", "cache")
_MORE = ("team", "key", "tag", "endpoint")
_KNOWN = {
    "endpoint": ["chat", "completions", "embeddings"],
    "cache": ["exact", "stale", "coalesced", "miss", "bypass", "refresh"],
    "outcome": ["ok"],
}
_COLUMNS = (
    Column("Began"),
    Column("Model"),
    Column("Upstream"),
    Column("Tenant"),
    Column("Outcome"),
    Column("Asked", is_number=True, help="How often an upstream was asked: more than once where one failed."),
    Column("Cache"),
    Column("Tokens in", is_number=True),
    Column("Tokens out", is_number=True),
    Column("Time", is_number=True),
    Column("Cost", is_number=True),
    Column("Saved", is_number=True),
)


def calls(view: View, found: list[Json]) -> Part:
    """The page over one answer of the ledger."""
    seen = found[:PAGE]
    return [
        *_notices(view),
        _orders(view),
        html.Div(
            table(said(view, seen), _COLUMNS, [_row(view, record) for record in seen], empty=_empty(view)),
            className="card calls",
        ),
        _pager(view, found),
    ]


def said(view: View, found: list[Json]) -> str:
    """The page in one sentence."""
    kind = "calls that match" if view.is_filtered else "calls"
    unknown = " Those at unknown price are not among them." if view.order == "dearest" else ""
    return f"{len(found)} {kind}, the {view.order} first.{unknown}"


def filters(view: View, found: list[Json]) -> Part:
    """The form; what it offers are the names among the calls shown."""
    fields = [_field(view, name, found) for name in _FIRST]
    fields.append(
        dmc.TextInput(
            label="Cost at least, USD",
            name="min_cost",
            value=view.given.get("min_cost", ""),
            size="xs",
            w=120,
            inputProps={"inputMode": "decimal"},
        )
    )
    fields.append(html.Button("Search", type="submit", className="button main"))
    if view.is_filtered:
        fields.append(link("Clear", view.page_link("/requests"), css="button"))
    more = [_field(view, name, found) for name in _MORE]
    is_open: dict[str, Any] = {"open": True} if any(name in view.given for name in _MORE) else {}
    fields.append(
        html.Details([html.Summary("More"), html.Div(more, className="filters")], className="more", **is_open)
    )
    kept = View("", {k: v for k, v in view.given.items() if k in {"range", "since", "until", "live", "order"}}).link()
    keep = wild(data_nav="1", data_keep=kept.removeprefix("?"))
    return html.Form(fields, method="get", action="/requests", role="search", className="filters card", **keep)


def _field(view: View, name: str, found: list[Json]) -> Part:
    return dmc.Autocomplete(
        label=_LABELS[name],
        name=name,
        value=view.given.get(name, ""),
        data=_offers(name, found),
        size="xs",
        w=140,
        limit=30,
    )


def _offers(name: str, found: list[Json]) -> list[str]:
    if name == "q":
        return []
    if name == "tag":
        return sorted({tag for record in found for tag in record.get("tags") or ()})
    seen = {str(record[name]) for record in found if record.get(name)}
    return sorted(seen | set(_KNOWN.get(name, ())))


def _notices(view: View) -> list[Part]:
    if view.given.get("unknown") == "1":
        text = ["Their prices are not known. ", link("Show all calls", view.link(unknown=None)), "."]
        return [notice("Only calls at unknown price.", text, "warn")]
    if view.order == "dearest":
        where = view.link(unknown="1", order=None, before=None)
        text = ["A call whose price is not known may be dearer: ", link("show those", where), "."]
        return [html.P(text, className="dim")]
    return []


def _orders(view: View) -> Part:
    choices = [
        link(
            order.capitalize(),
            view.link(order=None if order == "newest" else order, before=None),
            current=order == view.order,
        )
        for order in ORDERS
    ]
    name = "CSV" if view.order == "newest" else f"CSV of the {EXPORTED} {view.order}"
    export = html.A(name, href="/export" + view.link("/requests.csv"), className="button", download="requests.csv")
    return html.Div(
        [html.Div(choices, className="choices", role="group", **wild(aria_label="Order")), export],
        className="tools spaced",
    )


def _row(view: View, record: Json) -> list[Part]:
    return [
        link(f.clock(record["at"], view.now, view.zone), view.call_link(record["id"])),
        _model(record),
        record["upstream"] or f.NONE,
        _whose(record),
        outcome(record),
        _attempts(record["attempts"]),
        record["cache"] or f.NONE,
        f.count(record["prompt_tokens"]),
        f.count(record["completion_tokens"]),
        f.duration(record["total_ms"]),
        cost(record),
        amount(record["saved_usd"]) if record.get("saved_usd") is not None else f.NONE,
    ]


def _attempts(number: int) -> Part:
    return badge(str(number), "warn") if number > 1 else str(number)


def _model(record: Json) -> Part:
    asked, answered = record["model"], record["answered_model"]
    return asked if not answered or answered == asked else f"{asked} → {answered}"


def _whose(record: Json) -> str:
    return " / ".join(part for part in (record["tenant"], record.get("team"), record["key"]) if part)


def outcome(record: Json) -> Part:
    """How a call ended, as a word."""
    is_good = record["outcome"] == "ok"
    return badge(record["outcome"] or "none", "good" if is_good else "bad")


def cost(record: Json) -> Part:
    """What a call cost, or that nobody knows."""
    usd: Any = record.get("cost_usd")
    return badge(f.UNKNOWN, "warn") if usd is None else amount(usd)


def _empty(view: View) -> str:
    return "No call matches." if view.is_filtered else "No calls in this time."


def _pager(view: View, found: list[Json]) -> Part:
    """On to the calls after these, in whichever order."""
    links = []
    if view.before is not None:
        links.append(link(f"Back to the {view.order}", view.link(before=None), css="button"))
    if len(found) > PAGE:
        name = "Older calls" if view.order == "newest" else "More calls"
        links.append(link(name, view.link(before=str(found[PAGE - 1]["seq"])), css="button"))
    return html.Div(links, className="tools")
