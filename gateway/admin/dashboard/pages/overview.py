"""The first page: what was spent and saved, how fast it was and what failed."""

from __future__ import annotations

from dash import html

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.address import NAMES, View
from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.pages import charts, money, tops
from gateway.admin.dashboard.parts import (
    Column,
    Part,
    amount,
    card,
    figure,
    figures,
    link,
    notice,
    table,
    wild,
)
from gateway.ledger.overview import LEAST

_CHIPS = {"q": "id, model or outcome", "min_cost": "cost at least, USD"}
_KINDS = {
    "exact": "the same call was answered before",
    "stale": "an old answer was served: nobody could give a new one, or one was fetched meanwhile",
    "coalesced": "an equal call was already under way",
    "miss": "no answer was known",
    "bypass": "caching was not asked for or not allowed",
    "refresh": "fetched behind a caller's back, for the next ones",
}


def overview(view: View, found: Json) -> list[Part]:
    """The page over one answer of the ledger."""
    totals = found["totals"]
    return [
        *_chips(view),
        *_notices(view, totals),
        _totals(found),
        html.Div([charts.cost_chart(view, found), charts.calls_chart(view, found)], className="two"),
        html.Div([money.techniques(found["techniques"]), _holdout(found)], className="two"),
        html.Div([_latency(found["latency_ms"]), _kinds(found), _outcomes(view, found)], className="three"),
        tops.routes(view, found),
        html.Div(
            [tops.top(view, found, name) for name in ("model", "upstream", "tenant", "team", "key")], className="two"
        ),
    ]


def said(view: View, found: Json) -> str:
    """The page in one sentence."""
    totals = found["totals"]
    return (
        f"{f.plural(totals['calls'], 'call')} in {f.span(view.until - view.since)}, {f.usd(totals['cost_usd'])} spent, "
        f"{f.usd(totals['saved_usd'])} saved, {f.plural(totals['errors'], 'error')}."
    )


def _chips(view: View) -> list[Part]:
    """What the sums are filtered by; each part can be taken away."""
    names = [name for name in (*NAMES, "min_cost", "unknown") if name in view.given]
    chips = [
        link(
            [_chip(name, view.given[name]), html.Span("\u00d7", **wild(aria_hidden="true"))],
            view.link(**{name: None}),
            css="button",
            label=f"Take the filter {name} {view.given[name]} away",
        )
        for name in names
    ]
    return [html.Div([html.Span("Only calls of"), *chips], className="tools")] if chips else []


def _chip(name: str, value: str) -> str:
    return "unknown price " if name == "unknown" else f"{_CHIPS.get(name, name)}: {value} "


def _notices(view: View, totals: Json) -> list[Part]:
    unknown = totals["unknown"]
    if not unknown:
        return []
    text = [
        f"{'Its' if unknown == 1 else 'Their'} cost is not in these sums. ",
        link("Show them", view.link("/requests", unknown="1")),
        " or ",
        link("see which prices are missing", view.page_link("/upstreams")),
        ".",
    ]
    return [notice(f"{f.plural(unknown, 'call')} at unknown price.", text, "warn")]


def _totals(found: Json) -> Part:
    totals, latency = found["totals"], found["latency_ms"]
    total, overhead = latency["total"] or {}, latency["overhead"] or {}
    return figures(
        figure("Spent", f.usd(totals["cost_usd"]), _own(totals), title=f.exact_usd(totals["cost_usd"])),
        figure(
            "Would have cost",
            f.usd(totals["baseline_usd"]),
            "without the gateway",
            title=f.exact_usd(totals["baseline_usd"]),
            about="What the same calls would have cost at the model that was asked for, with its own prefix cache, "
            "if nothing of ours had stepped in.",
        ),
        figure(
            "Net saved",
            f.usd(totals["saved_usd"]),
            f"{f.share(totals['saved_usd'] or 0, totals['baseline_usd'] or 0)} of it",
            title=f.exact_usd(totals["saved_usd"]),
            tone=money.tone(totals["saved_usd"]),
            about="What it would have cost, less what was spent, less our own computing.",
        ),
        figure("Calls", f.count(totals["calls"]), f"{_tokens(totals)} tokens", title=str(totals["calls"])),
        figure(
            "Errors",
            f.share(totals["errors"], totals["calls"]),
            f.plural(totals["errors"], "call"),
            tone="bad" if totals["errors"] else "",
            about="Calls that failed, and answers that broke off. That a caller left is no error.",
        ),
        figure("Hit rate", f.share(totals["hits"], totals["calls"]), f"{f.count(totals['saved_tokens'])} tokens saved"),
        figure("Time, p95", f.duration(total.get("p95")), f"median {f.duration(total.get('p50'))}"),
        figure(
            "Overhead, p95",
            f.duration(overhead.get("p95")),
            f"median {f.duration(overhead.get('p50'))}",
            about="Time until the first byte that was not spent waiting for an upstream.",
        ),
    )


def _own(totals: Json) -> str:
    estimated = totals["estimated"]
    own = totals["own_usd"]
    parts = [f"and {f.usd(own)} of our own computing"] if f.is_worth_telling(own) else []
    parts += [f"{f.plural(estimated, 'call')} estimated"] if estimated else []
    return ", ".join(parts) or "measured"


def _tokens(totals: Json) -> str:
    return f.count((totals["prompt_tokens"] or 0) + (totals["completion_tokens"] or 0))


def _holdout(found: Json) -> Part:
    held = found["holdout"]
    about = (
        "A share of calls that the policy leaves untouched. The difference between them and the rest is a saving that "
        "was measured, not computed."
    )
    if held is None:
        return card(
            "Measured against untouched calls", html.P(_too_few(found["totals"]), className="empty"), about=about
        )
    columns = (Column("Group"), Column("Calls", is_number=True), Column("Mean cost", is_number=True))
    rows = [
        [name, f.count(held[part]["calls"]), amount(held[part]["mean_usd"])]
        for name, part in (("Untouched", "held_out"), ("Treated", "treated"))
    ]
    interval = f"{f.usd(held['low'])} to {f.usd(held['high'])}"
    return card(
        "Measured against untouched calls",
        figures(
            figure(
                "Saved by call",
                f.usd(held["saved_per_call_usd"]),
                f"95 % sure: {interval}",
                title=f.exact_usd(held["saved_per_call_usd"]),
            ),
            figure("Saved in all", f.usd(held["saved_usd"]), "times the treated calls"),
        ),
        table("Mean cost of untouched and treated calls", columns, rows),
        about=about,
    )


def _too_few(totals: Json) -> str:
    """Why nothing was measured."""
    held = totals["held_out"]
    if not held:
        return "No calls were held out. Set holdout in a rule of the policy, and what we save is measured here."
    if held < LEAST:
        return f"{f.plural(held, 'call was', 'calls were')} held out: {held} of the {LEAST} needed to measure by."
    return (
        f"{f.count(held)} calls were held out, but there is too little to compare them with: {LEAST} of them and as "
        "many treated calls are needed, at a known price and of the same tenant, endpoint and model."
    )


def _latency(found: Json) -> Part:
    names = {"total": "Whole call", "first_byte": "First byte", "overhead": "Our overhead"}
    columns = (Column("Time"), *(Column(p, is_number=True) for p in ("p50", "p95", "p99")))
    rows = [
        [name, *(f.duration((found[part] or {}).get(p)) for p in ("p50", "p95", "p99"))] for part, name in names.items()
    ]
    return card("Latency", table("Latency percentiles", columns, rows), about="p95: 95 of 100 calls were faster.")


def _kinds(found: Json) -> Part:
    calls = found["totals"]["calls"]
    columns = (
        Column("Kind"),
        Column("Calls", is_number=True),
        Column("Share", is_number=True),
        Column("Tokens saved", is_number=True),
    )
    rows = [
        [
            html.Span(kind or "none", title=_KINDS.get(kind, "")),
            f.count(told["calls"]),
            f.share(told["calls"], calls),
            f.count(told["saved_tokens"]),
        ]
        for kind, told in sorted(found["kinds"].items(), key=lambda item: -item[1]["calls"])
    ]
    return card("Answers by cache", table("Calls by what the caches did", columns, rows))


def _outcomes(view: View, found: Json) -> Part:
    columns = (Column("Outcome"), Column("Calls", is_number=True), Column("Share", is_number=True))
    calls = found["totals"]["calls"]
    rows = [
        [link(name or "none", view.link("/requests", outcome=name)), f.count(number), f.share(number, calls)]
        for name, number in sorted(found["outcomes"].items(), key=lambda item: -item[1])
    ]
    return card("Outcomes", table("Calls by outcome", columns, rows), about="ok, or how the call failed.")
