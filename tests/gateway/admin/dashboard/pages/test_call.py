"""Tests of gateway.admin.dashboard.pages.call: the bill, the attempts and the tokens of one call."""

from __future__ import annotations

from gateway.admin.dashboard.address import view
from gateway.admin.dashboard.pages.call import call
from tests.gateway.admin.dashboard.made_up import NOW, PRICES, dear_call, record
from tests.gateway.admin.dashboard.reading import text

VIEW = view("/requests/x", "", NOW)


def test_a_loss_has_a_minus_in_the_bill() -> None:
    """As it has in the overview."""
    found = dear_call()
    found["story"]["bill"]["lines"] = [["failover", -0.035, "measured"], ["exact", 0.07, "measured"]]
    said = text(call(VIEW, found, PRICES))
    assert "Failover -$0.0350" in said
    assert "Exact cache $0.0700" in said


def test_what_each_attempt_cost() -> None:
    """The failed one nothing, the one that answered what its tokens come to; without a price nothing is claimed."""
    said = text(call(VIEW, dear_call(), PRICES))
    assert said.partition("Upstreams asked")[2].partition("What each layer")[0].rstrip().endswith("$0.165")
    said = text(call(VIEW, dear_call(), []))
    assert said.partition("Upstreams asked")[2].partition("What each layer")[0].rstrip().endswith("-")


def test_a_refused_call_has_no_unknown_price() -> None:
    """Nobody answered, so nobody's price is missing."""
    found = {**record(cost_usd=None, upstream="", outcome="model_not_found"), "story": {"attempts": [], "notes": []}}
    said = text(call(VIEW, found, PRICES))
    assert "This call's price is unknown." not in said
    assert "refused before any upstream was asked" in said


def test_the_price_of_long_prompts_is_named() -> None:
    """Beside the table of tokens stands when these prices hold."""
    found = dear_call(prompt_tokens=150_000)
    found["story"]["attempts"][-1]["usage"]["prompt"] = 150_000
    said = text(call(VIEW, found, PRICES))
    assert "Above 100,000 tokens" in said
    assert "$2.5 $0.375" in said
