"""Tests of gateway.admin.dashboard.pages.upstreams and traffic: what calls are sent to, and how that goes."""

from __future__ import annotations

from gateway.admin.dashboard.address import view
from gateway.admin.dashboard.pages.upstreams import upstreams
from tests.gateway.admin.dashboard.made_up import NOW, MadeUpFleet, overview, record, top
from tests.gateway.admin.dashboard.reading import links, text

VIEW = view("/upstreams", "", NOW)


def test_calls_errors_and_the_last_fault() -> None:
    """By upstream, those without calls too; the last fault leads to its call."""
    fleet = MadeUpFleet()
    sums = overview(VIEW.query, by={"upstream": [{**top("openai", 200), "errors": 3}, top("", 4)]})
    failed = [
        record(9, id="late", outcome="upstream_cut"),
        record(8, id="early", outcome="upstream_failed"),
        record(7, id="other", upstream="own", model="upstream_x", outcome="ok"),
    ]
    found = upstreams(VIEW, fleet.upstreams(), fleet.prices(), sums, failed)
    said = text(found)
    assert "openai 200 3 1.5 % $0.500 upstream_cut" in said
    assert "own 0 0 - - -" in said
    assert "/requests/late" in links(found).values()
    assert not {"/requests/early", "/requests/other"} & set(links(found).values())


def test_without_a_ledger() -> None:
    """Breakers and prices are shown all the same."""
    fleet = MadeUpFleet()
    said = text(upstreams(VIEW, fleet.upstreams(), fleet.prices()))
    assert "Share of errors" not in said
    assert "half-open" in said
