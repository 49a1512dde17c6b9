"""How each flow of calls behaves: speed, cost, lengths and how many run at once."""

from __future__ import annotations

from dash import html

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.address import FLOWS, View
from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.pages.money import cost_with_unknown
from gateway.admin.dashboard.parts import Column, Part, card, link, table, wild

_COLUMNS = (
    Column("Flow"),
    Column("Calls", is_number=True),
    Column(
        "Tokens/s",
        is_number=True,
        help="Tokens of answers that an upstream gave, for each second that those calls took "
        "in all, from their beginning to their end.",
    ),
    Column("First byte p50", is_number=True),
    Column("p95", is_number=True),
    Column("p99", is_number=True),
    Column("Whole p50", is_number=True),
    Column("p95", is_number=True),
    Column("p99", is_number=True),
    Column("USD/M tokens", is_number=True, help="What a million tokens came to, prompt and answer together."),
    Column("Context p50", is_number=True, help="Prompt tokens of a call."),
    Column("p95", is_number=True),
    Column("Longest", is_number=True),
    Column("At once, mean", is_number=True, help="Calls under way at the same time."),
    Column("Peak", is_number=True),
)


def profile(view: View, found: list[Json]) -> Part:
    """The page over one answer of the ledger."""
    choices = [
        link(by.capitalize(), view.link(by=None if by == FLOWS[0] else by), current=by == view.by) for by in FLOWS
    ]
    export = html.A("CSV", href="/export" + view.link("/profile.csv"), className="button", download="profile.csv")
    tools = [html.Div(choices, className="choices", role="group", **wild(aria_label="Flows by")), export]
    about = "The baseline of each flow: what it does today, to compare a change with."
    return [
        html.Div(tools, className="tools spaced"),
        card(
            f"Flows by {view.by}", table(said(view, found), _COLUMNS, [_row(view, flow) for flow in found]), about=about
        ),
    ]


def said(view: View, found: list[Json]) -> str:
    """The page in one sentence."""
    return f"{f.plural(len(found), 'flow')} by {view.by} in {f.span(view.until - view.since)}."


def _row(view: View, flow: Json) -> list[Part]:
    first, whole = flow["ttft_ms"] or {}, flow["total_ms"] or {}
    context, many = flow["context_tokens"] or {}, flow["concurrency"] or {}
    speed = flow["output_tokens_per_s"]
    return [
        link(flow["flow"], view.page_link("/requests", **{view.by: flow["flow"]})) if flow["flow"] else "none",
        f.count(flow["calls"]),
        f.NONE if speed is None else f"{speed:,.1f}",
        *(f.duration(first.get(p)) for p in ("p50", "p95", "p99")),
        *(f.duration(whole.get(p)) for p in ("p50", "p95", "p99")),
        _price(flow["usd_per_million_tokens"], flow["unknown"]),
        *(f.count(context.get(p)) for p in ("p50", "p95", "max")),
        f.NONE if many.get("mean") is None else f"{many['mean']:.1f}",
        f.count(many.get("peak")),
    ]


def _price(usd: float | None, unknown: int) -> Part:
    """USD of a million tokens: a flow without tokens has none, and one of which no price is known says so."""
    return f.NONE if usd is None and not unknown else cost_with_unknown(usd, unknown)
