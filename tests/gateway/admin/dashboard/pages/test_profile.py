"""Tests of gateway.admin.dashboard.pages.profile: how flows behave."""

from __future__ import annotations

from typing import Any

from gateway.admin.dashboard.address import view
from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.pages.profile import profile
from tests.gateway.admin.dashboard.made_up import NOW
from tests.gateway.admin.dashboard.reading import links, text

VIEW = view("/profile", "?by=team&range=24h", NOW)


def flow(name: str, **changed: Any) -> Json:
    """One flow of refused calls."""
    nothing = dict.fromkeys(("output_tokens_per_s", "ttft_ms", "total_ms", "usd_per_million_tokens", "context_tokens"))
    return {"flow": name, "calls": 3, "unknown": 0, "concurrency": {"mean": 0.0, "peak": 1}, **nothing, **changed}


def test_a_flow_without_tokens_has_no_price() -> None:
    """That is told from one whose price is not known."""
    assert "unknown" not in text(profile(VIEW, [flow("a")]))
    assert "unknown + 3 unknown" in text(profile(VIEW, [flow("a", unknown=3)]))


def test_a_flow_leads_to_its_calls() -> None:
    """Of the same time; a flow without a name leads nowhere."""
    found = links(profile(VIEW, [flow("search"), flow("")]))
    assert found["search"] == "/requests?range=24h&team=search"
    assert "none" not in found
