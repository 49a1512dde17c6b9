"""Calls by upstream: how many ended there, how many of them failed, and how the last one that failed did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.address import View
from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.pages import money
from gateway.admin.dashboard.parts import Column, Part, badge, card, link, table

FAULT = "upstream_"  # so begins the outcome of a call that no upstream answered whole
LOOKED_AT = 200  # calls among which the last faults are looked for

_COLUMNS = (
    Column("Upstream"),
    Column("Calls", is_number=True, help="Calls that ended there: where one failed and another answered, the other."),
    Column("Errors", is_number=True),
    Column("Share of errors", is_number=True),
    Column("Spent", is_number=True),
    Column("Last fault"),
)


def traffic(view: View, known: Iterable[str], sums: Json, failed: Sequence[Json]) -> Part:
    """The table; upstreams without a call stand there, too."""
    found = {one["name"]: one for one in sums["by"]["upstream"] if one["name"]}
    faults = _last(failed)
    names = [*found, *(name for name in known if name not in found)]
    rows = [_row(view, name, found.get(name), faults.get(name)) for name in names]
    body = table("Calls and errors by upstream", _COLUMNS, rows, empty="No upstream was asked in this time.")
    return card(f"Calls of the last {f.span(view.until - view.since)}", body)


def _row(view: View, name: str, one: Json | None, fault: Json | None) -> list[Part]:
    calls, errors = (one["calls"], one["errors"]) if one else (0, 0)
    return [
        link(name, view.page_link("/requests", upstream=name)),
        f.count(calls),
        f.count(errors),
        f.share(errors, calls),
        money.cost_with_unknown(one["cost_usd"], one["unknown"]) if one else f.NONE,
        _fault(view, fault) if fault else f.NONE,
    ]


def _fault(view: View, record: Json) -> Part:
    when = link(f.clock(record["at"], view.now, view.zone), view.call_link(record["id"]))
    return [badge(record["outcome"], "bad"), " ", when]


def _last(failed: Sequence[Json]) -> Mapping[str, Json]:
    """The newest call that failed at each upstream."""
    newest: dict[str, Json] = {}
    for record in failed:
        if record["outcome"].startswith(FAULT):
            newest.setdefault(record["upstream"], record)
    return newest
