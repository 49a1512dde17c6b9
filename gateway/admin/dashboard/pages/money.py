"""Savings as pages show them: by technique, with what was measured and what was estimated."""

from __future__ import annotations

from dash import html

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.parts import Column, Part, Tone, amount, badge, bar, card, table

TECHNIQUES = {
    "exact": ("Exact cache", "An equal call was answered before; its answer was served again."),
    "stale": ("Stale answer", "An old answer was served: nobody could give a new one, or one was fetched meanwhile."),
    "coalesced": ("Single flight", "An equal call was under way; this one shared its answer."),
    "items": ("Known items", "Some inputs of an embeddings call were answered before."),
    "failover": ("Failover", "Another upstream answered, at another price; a failed attempt may have cost, too."),
    "overhead": ("Our own computing", "Embeddings, classifiers and whatever else of ours costs money."),
    "refresh": ("Refresh", "An answer was made anew behind a call, so that the next ones find it fresh."),
    "retry": ("Second tries", "An upstream was asked although the answer then came from elsewhere."),
    "prune": ("Pruning", "Fewer tokens were sent."),
    "route": ("Routing", "A cheaper model answered."),
}


def technique(name: str) -> tuple[str, str]:
    """What a technique is called, and what it does."""
    return TECHNIQUES.get(name, (name.capitalize(), ""))


def techniques(found: Json) -> Part:
    """Net savings by technique as bars; what cost more than it saved is red."""
    most = max((abs(told["usd"]) for told in found.values()), default=0.0)
    columns = (
        Column("Technique"),
        Column("Saved", is_number=True),
        Column("Share", is_hidden=True),
        Column("Measured", is_number=True, help="Counted from what was really used and paid."),
        Column("Estimated", is_number=True, help="Rests on an estimate, as of how long an answer would have been."),
    )
    rows = [
        [
            html.Span(technique(name)[0], title=technique(name)[1]),
            amount(told["usd"]),
            bar(told["usd"], most, "bad" if told["usd"] < 0 else "good"),
            amount(told["measured"]),
            amount(told["estimated"]),
        ]
        for name, told in sorted(found.items(), key=lambda item: -item[1]["usd"])
    ]
    empty = "Nothing was saved yet: no call was answered from a cache."
    about = "What each technique saved, our own computing taken off."
    return card("Savings by technique", table("Savings by technique", columns, rows, empty=empty), about=about)


def cost_with_unknown(usd: float | None, unknown: int) -> Part:
    """A sum, and how many calls are not in it."""
    if not unknown:
        return amount(usd)
    return [amount(usd), " ", badge(f"+ {f.count(unknown)} unknown", "warn")]


def saved(usd: float | None) -> Part:
    """What was saved, or lost where it has a minus."""
    return html.Span(f.usd(usd), title=f.exact_usd(usd), className=tone(usd))


def tone(saved: float | None) -> Tone:
    """Green for a saving, red for a loss."""
    if saved is None or not f.is_worth_telling(saved):
        return ""
    return "good" if saved > 0 else "bad"


def basis(name: str) -> Part:
    """How sure a bill is."""
    told = {
        "measured": ("measured", "", "Counted from what was really used."),
        "estimated": ("estimated", "warn", "Some part of it rests on an estimate."),
    }
    text, tone, why = told.get(name, ("unknown price", "warn", "No price is known for what answered."))
    return html.Span(text, className=f"badge {tone}", title=why)
