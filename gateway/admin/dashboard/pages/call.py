"""One call, whole: what it cost and why, every upstream asked, what each layer decided."""

from __future__ import annotations

from typing import Any

from dash import html

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.address import View
from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.pages import money
from gateway.admin.dashboard.pages.calls import outcome
from gateway.admin.dashboard.pages.cost import made_of, reasons
from gateway.admin.dashboard.pages.rates import Item, cost_of
from gateway.admin.dashboard.parts import (
    Column,
    Part,
    amount,
    badge,
    bar,
    card,
    code,
    figure,
    figures,
    link,
    notice,
    pairs,
    table,
    wild,
)


def call(view: View, record: Json, prices: list[Json]) -> Part:
    """The page over one record."""
    return [
        html.P([link("← Requests", view.link("/requests")), " · ", html.Span(record["id"], className="mono dim")]),
        *_notices(record),
        _totals(record),
        html.Div([_why(record, prices), _bill(record)], className="two"),
        _attempts(record, prices),
        html.Div([_decisions(record), _tokens(record, prices)], className="two"),
        _facts(view, record),
        _content(record),
    ]


def missing(view: View) -> Part:
    """The page of an id that the ledger does not have."""
    return [
        html.P(link("← Requests", view.link("/requests"))),
        notice("The ledger has no call of this id.", "It is too old, was lost, or never was.", "warn"),
    ]


def said(record: Json) -> str:
    """The page in one sentence."""
    return f"A call to {record['model'] or 'no model'}: {record['outcome']}, cost {f.usd(record.get('cost_usd'))}."


def _notices(record: Json) -> list[Part]:
    found = []
    if record.get("cost_usd") is None and _tries(record):  # whom nobody answered owes nobody
        where = " and ".join(sorted({f"{a['upstream']} for {a['model']}" for a in _tries(record)}))
        text = f"No price is known at {where}. Its cost is in no sum; it is not zero."
        found.append(notice("This call's price is unknown.", text, "warn"))
    if record.get("held_out"):
        found.append(notice("Held out.", "It passed untouched, so that savings can be measured against it."))
    return found


def _tries(record: Json) -> list[Json]:
    tries: list[Json] = record["story"]["attempts"]
    return tries


def _totals(record: Json) -> Part:
    bill = record["story"].get("bill") or {}
    saved = record.get("saved_usd")
    return figures(
        figure(
            "Cost",
            f.usd(record.get("cost_usd")),
            money.basis(record.get("basis") or ""),
            title=f.exact_usd(record.get("cost_usd")),
        ),
        figure(
            "Would have cost",
            f.usd(record.get("baseline_usd")),
            "without the gateway",
            title=f.exact_usd(record.get("baseline_usd")),
        ),
        figure(
            "Net saved",
            f.usd(saved),
            f"our own computing {f.usd(bill.get('own', record.get('own_usd')))}",
            title=f.exact_usd(saved),
            tone=money.tone(saved),
        ),
        figure("Time", f.duration(record["total_ms"]), f"first byte {f.duration(record['first_byte_ms'])}"),
        figure(
            "Tokens",
            f"{f.count(record['prompt_tokens'])} → {f.count(record['completion_tokens'])}",
            "prompt → answer" + (", estimated" if record.get("estimated") else ""),
        ),
        figure("Outcome", outcome(record), f"HTTP {record['status']}, cache {record['cache'] or 'none'}"),
    )


def _why(record: Json, prices: list[Json]) -> Part:
    found = reasons(record, prices)
    about = "Read from the record: the largest parts of the cost first."
    steps = html.Ul([html.Li(reason) for reason in found], className="steps")
    return card("Why it cost this", steps, about=about)


def _bill(record: Json) -> Part:
    bill = record["story"].get("bill")
    if not bill:
        return card("Bill", html.P("This record was written before calls were billed.", className="empty"))
    columns = (Column("Line"), Column("USD", is_number=True), Column("How it is known"))
    rows: list[list[Part]] = [["Would have cost", amount(bill["baseline"]), ""]]
    rows += [
        [html.Span(money.technique(name)[0], title=money.technique(name)[1]), money.saved(usd), money.basis(how)]
        for name, usd, how in bill["lines"]
        if name != "overhead"  # which stands below
    ]
    rows.append(["Paid to upstreams", amount(bill["cost"]), money.basis(bill["basis"])])
    rows.append(["Our own computing", money.saved(-bill["own"] if bill["own"] else 0.0), ""])
    rows.append([html.Strong("Net saved"), html.Strong(money.saved(bill["saved"])), ""])
    about = (
        "What the call would have cost, less what each technique saved, is what was paid. A loss has a minus, as on "
        "the overview. Net saved is the sum of the techniques and of our own computing."
    )
    return card("Bill", table("The bill, line by line", columns, rows), about=about)


def _attempts(record: Json, prices: list[Json]) -> Part:
    tries = _tries(record)
    end = max([record["total_ms"] or 0, *(a["ended_ms"] or a["started_ms"] for a in tries)], default=0) or 1
    columns = (
        Column("Upstream"),
        Column("Model"),
        Column("Status"),
        Column("When", help="From the start of the call to its end; light until the first byte came."),
        Column("Began", is_number=True),
        Column("First byte", is_number=True),
        Column("Ended", is_number=True),
        Column("Tokens in", is_number=True),
        Column("Tokens out", is_number=True),
        Column("Machine", is_number=True, help="The machine's time that fell to this call while it was shared."),
        Column("Cost", is_number=True, help="At the price in force now; the bill was made at that of its time."),
    )
    rows = [_attempt(tried, end, cost_of(tried, record, prices)) for tried in tries]
    source = record["story"].get("source")
    empty = (
        f"No upstream was asked. The answer was made by {source['model']} at {source['upstream']} for another call."
        if source
        else "No upstream was asked."
    )
    return card("Upstreams asked", table("Upstreams asked, in order", columns, rows, empty=empty))


def _attempt(tried: Json, end: float, cost: float | None) -> list[Part]:
    used = tried.get("usage") or {}
    seconds = tried.get("seconds")
    return [
        tried["upstream"],
        tried["model"],
        badge(tried["fault"], "bad") if tried["fault"] else badge(str(tried["status"] or "no answer"), "good"),
        _track(tried, end),
        f.duration(tried["started_ms"]),
        f.duration(tried["first_byte_ms"]),
        f.duration(tried["ended_ms"]),
        f.count(used.get("prompt")),
        f.count(used.get("completion")),
        f.NONE if seconds is None else f.duration(seconds * 1000),
        f.NONE if cost is None else amount(cost),
    ]


def _track(tried: Json, end: float) -> Part:
    """When it was, as a bar: for the eye; the numbers stand beside it."""
    began = tried["started_ms"]
    ended = tried["ended_ms"] if tried["ended_ms"] is not None else end
    first = tried["first_byte_ms"] if tried["first_byte_ms"] is not None else ended
    parts = [("wait bad" if tried["fault"] else "wait", began, first), ("bad" if tried["fault"] else "", first, ended)]
    spans = [
        html.Span(
            className=css, style={"left": f"{100 * start / end:.2f}%", "width": f"{100 * (stop - start) / end:.2f}%"}
        )
        for css, start, stop in parts
        if stop > start
    ]
    return html.Div(spans, className="track", **wild(aria_hidden="true"))


def _decisions(record: Json) -> Part:
    columns = (Column("Layer"), Column("What it decided, and why"))
    rows: list[list[Part]] = [[layer, text] for layer, text in record["story"]["notes"]]
    empty = "No layer had anything to say: the call passed as it came."
    return card("What each layer decided", table("Decisions of the layers", columns, rows, empty=empty))


def _tokens(record: Json, prices: list[Json]) -> Part:
    items, rates = made_of(record, prices)
    columns = (
        Column("Tokens"),
        Column("Number", is_number=True),
        Column("USD per million", is_number=True),
        Column("Comes to", is_number=True),
        Column("Share", is_hidden=True),
    )
    most = max((item.usd or 0 for item in items), default=0)
    held = f" These hold {rates.where}." if rates.where else ""
    about = f"At the prices in force now; the bill was made at those of its time.{held}"
    body = table("Tokens and what they cost", columns, [_item(item, most) for item in items])
    return card("Tokens and their price", body, about=about, aside=rates.where.capitalize() or None)


def _item(item: Item, most: float) -> list[Part]:
    return [
        item.name,
        f.count(item.tokens),
        f.NONE if item.rate is None else f.rate(item.rate),
        f.NONE if item.usd is None else amount(item.usd),
        bar(item.usd, most) if item.usd is not None else "",
    ]


def _facts(view: View, record: Json) -> Part:
    facts: list[tuple[str, Any]] = [
        ("Began", f.moment(record["at"], view.zone)),
        ("Endpoint", record["endpoint"]),
        ("Asked for", record["model"]),
        ("Answered by", record["answered_model"]),
        ("Upstream", record["upstream"]),
        ("Tenant", record["tenant"]),
        ("Team", record.get("team")),
        ("Key", record["key"]),
        ("Tags", ", ".join(record.get("tags") or ())),
        ("Service tier", record.get("tier")),
        ("Rule", record["rule"]),
        ("Policy", record["policy"]),
        ("Streamed", "yes" if record["streamed"] else "no"),
        ("Our overhead", f.duration(record["overhead_ms"])),
        ("Waited for upstreams", f.duration(record["upstream_ms"])),
        ("Age of the answer", f.span(record["age_s"]) if record.get("age_s") is not None else None),
        ("Request", f.size(record["request_bytes"])),
        ("Answer", f.size(record["response_bytes"])),
        ("Prompt tokens removed", f.count(record["removed_tokens"]) if record.get("removed_tokens") else None),
        ("Gateway", record.get("gateway")),
    ]
    return card("Facts", pairs(*facts))


def _content(record: Json) -> Part:
    content = record.get("content")
    if not content:
        text = "Not recorded. A rule of the policy with record: {content: true} keeps requests and answers."
        return card("Request and answer", html.P(text, className="empty"))
    return card(
        "Request and answer",
        html.H3("Request"),
        code(content["request"], "The request as it came"),
        html.H3("Answer"),
        code(content["answer"], "The answer as it went"),
        about="As text, cut to the length that the policy keeps.",
    )
