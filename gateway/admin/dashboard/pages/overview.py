"""The first page: what was spent and saved, how fast it was and what failed."""

from __future__ import annotations

from typing import Any

from dash import html

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.address import View
from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.pages import money
from gateway.admin.dashboard.parts import (
    Column,
    Line,
    Part,
    bar,
    card,
    chart,
    figure,
    figures,
    link,
    notice,
    table,
    wild,
)

SPENT, SAVED = "blue.6", "teal.5"
ROWS = 8  # of each top list
TABLE_ROWS = 24  # of a chart's table

_KINDS = {
    "exact": "the same call was answered before",
    "stale": "an old answer, served because no upstream could",
    "coalesced": "an equal call was already under way",
    "miss": "no answer was known",
    "bypass": "caching was not asked for or not allowed",
}


def overview(view: View, found: Json) -> list[Part]:
    """The page over one answer of the ledger."""
    totals = found["totals"]
    return [
        *_notices(view, totals),
        _totals(found),
        html.Div([_cost_chart(view, found), _calls_chart(view, found)], className="two"),
        html.Div([money.techniques(found["techniques"]), _holdout(found)], className="two"),
        html.Div([_latency(found["latency_ms"]), _kinds(found), _outcomes(view, found)], className="three"),
        _routes(view, found["routes"]),
        html.Div([_top(view, found, name) for name in ("model", "upstream", "tenant", "team", "key")], className="two"),
    ]


def said(view: View, found: Json) -> str:
    """The page in one sentence."""
    totals = found["totals"]
    return (
        f"{f.plural(totals['calls'], 'call')} in {f.span(view.until - view.since)}, {f.usd(totals['cost_usd'])} spent, "
        f"{f.usd(totals['saved_usd'])} saved, {f.plural(totals['errors'], 'error')}."
    )


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


def _cost_chart(view: View, found: Json) -> Part:
    lines = (Line("cost", "spent", SPENT), Line("saved", "saved", SAVED))
    text = f"Spent and saved in steps of {f.span(found['bucket_s'])}."
    drawn = chart(_points(view, found), lines, text, _series_table(view, found), form="usd")
    export = html.A(
        "CSV",
        href="/export" + view.link("/series.csv"),
        download="series.csv",
        **wild(aria_label="Calls and cost over time as CSV"),
    )
    about = "The whole bar is what the calls would have cost; its lower part was spent."
    return card("Cost over time", drawn, about=about, aside=export)


def _calls_chart(view: View, found: Json) -> Part:
    lines = (
        Line("served", "from an upstream", SPENT),
        Line("hits", "from a cache", SAVED),
        Line("errors", "failed", "red.6"),
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
            *(f.usd(sum(point[name] or 0 for point in part)) for name in ("cost_usd", "saved_usd")),
        ]
        for part in (series[i : i + step] for i in range(0, len(series), step))
    ]
    return table("Calls and cost over time", columns, rows)


def _holdout(found: Json) -> Part:
    held = found["holdout"]
    about = (
        "A share of calls that the policy leaves untouched. The difference between them and the rest is a saving that "
        "was measured, not computed."
    )
    if held is None:
        text = "No calls were held out. Set holdout in a rule of the policy, and what we save is measured here."
        return card("Measured against untouched calls", html.P(text, className="empty"), about=about)
    columns = (Column("Group"), Column("Calls", is_number=True), Column("Mean cost", is_number=True))
    rows = [
        [name, f.count(held[part]["calls"]), f.usd(held[part]["mean_usd"])]
        for name, part in (("Untouched", "held_out"), ("Treated", "treated"))
    ]
    interval = f"{f.usd(held['low'])} to {f.usd(held['high'])}"
    return card(
        "Measured against untouched calls",
        figures(
            figure("Saved by call", f.usd(held["saved_per_call_usd"]), f"95 % sure: {interval}"),
            figure("Saved in all", f.usd(held["saved_usd"]), "times the treated calls"),
        ),
        table("Mean cost of untouched and treated calls", columns, rows),
        about=about,
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


def _routes(view: View, routes: list[Json]) -> Part:
    columns = (
        Column("Asked for"),
        Column("Answered by"),
        Column("At"),
        Column("Calls", is_number=True),
        Column("Share"),
    )
    calls = sum(route["calls"] for route in routes)
    rows = [
        [
            link(route["model"] or "none", view.link("/requests", model=route["model"])),
            route["answered_model"] or f.NONE,
            route["upstream"] or "a cache",
            f.count(route["calls"]),
            [bar(route["calls"], calls), f.share(route["calls"], calls)],
        ]
        for route in routes[: 2 * ROWS]
    ]
    return card("Routes", table("Which model was asked for, and what answered", columns, rows))


def _top(view: View, found: Json, by: str) -> Part:
    tops = found["by"].get(by, [])
    columns = (
        Column(by.capitalize()),
        *(Column(name, is_number=True) for name in ("Calls", "Errors", "Tokens", "Spent", "Saved")),
    )
    rows = [
        [
            link(top["name"] or "none", view.link("/requests", **{by: top["name"]})) if top["name"] else "none",
            f.count(top["calls"]),
            f.count(top["errors"]),
            f.count(top["tokens"]),
            money.cost_with_unknown(top["cost_usd"], top["unknown"]),
            f.usd(top["saved_usd"]),
        ]
        for top in tops[:ROWS]
    ]
    label = wild(aria_label=f"Spend by {by} as CSV")
    more = html.A("CSV", href="/export" + view.link(f"/{by}.csv"), download=f"{by}.csv", **label) if rows else None
    return card(f"By {by}", table(f"Calls and cost by {by}", columns, rows), aside=more)
