"""Tests of gateway.admin.dashboard.render and the pages: what people read on each of them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.admin.dashboard.address import view
from gateway.admin.dashboard.data import Source
from gateway.admin.dashboard.frame import Rendered, pages
from gateway.admin.dashboard.render import render
from gateway.errors import GatewayError
from tests.gateway.admin.dashboard.made_up import (
    HOSTILE,
    NOW,
    MadeUpCalls,
    MadeUpFleet,
    MadeUpPolicies,
    dear_call,
    made_up,
    record,
    totals,
)
from tests.gateway.admin.dashboard.reading import links, parts, text

HELLO = "curl http://127.0.0.1:8080/v1/chat/completions"


def page(path: str, search: str = "", source: Source | None = None) -> Rendered:
    """A page of made-up figures."""
    return render(view(path, search, NOW), source or made_up(), HELLO)


class OneCall(MadeUpCalls):
    """A ledger whose every call is this one."""

    def __init__(self, found: Any) -> None:
        super().__init__()
        self.found = found

    def one(self, id: str) -> Any:  # noqa: A002 - the protocol's name
        return self.found


def test_overview_says_what_was_spent_and_saved() -> None:
    """Sums, techniques, kinds, routes, tops and the holdout with its interval stand there; one question was asked."""
    calls = MadeUpCalls()
    shown = page("/", source=made_up(calls))
    said = text(shown.page)
    for part in ("$3.21", "$5.00", "$1.78", "35.6 %", "Exact cache", "Our own computing", "-$0.120", "95 % sure"):
        assert part in said
    for name in ("gpt-5", "own", "acme", "search", "upstream_failed", "coalesced"):
        assert name in said
    assert len(calls.asked) == 1
    assert shown.said == "1,234 calls in 1 hour, $3.21 spent, $1.78 saved, 12 errors."


def test_unknown_prices_are_prominent() -> None:
    """Their number comes first on the page, and a link leads to just those calls."""
    fleet = MadeUpFleet(seen=NOW)
    shown = page("/", "?range=24h", made_up(fleet=fleet))
    assert text(shown.page).startswith("12 calls at unknown price. Their cost is not in these sums.")
    assert links(shown.page)["Show them"] == "/requests?range=24h&unknown=1"
    none = made_up(MadeUpCalls(sums={"totals": totals(unknown=0)}))
    assert "unknown price" not in text(page("/", source=none).page)


def test_a_worker_that_is_gone_is_told_first() -> None:
    """Whoever looks at the sums must know that one who should write them does not."""
    assert text(page("/").page).startswith("Worker 1 is gone. Seen last 2027-01-15 07:58:30.")


def test_nothing_was_measured() -> None:
    """Without latencies, techniques or a holdout each part says so."""
    nothing = {"latency_ms": dict.fromkeys(("total", "first_byte", "overhead")), "techniques": {}, "holdout": None}
    said = text(page("/", source=made_up(MadeUpCalls(sums=nothing))).page)
    assert "Nothing was saved yet" in said
    assert "50 calls were held out, but there is too little to compare them with" in said


def test_no_calls_yet() -> None:
    """An empty ledger shows a line to paste."""
    none = MadeUpCalls(sums={"totals": totals(calls=0)})
    assert HELLO in text(page("/", source=made_up(none)).page)


def test_requests() -> None:
    """Each call is a row with a link to it; the one after the page leads on."""
    shown = page("/requests", "?tenant=acme")
    where = [href for href in links(shown.page).values() if href.startswith("/requests/")]
    assert where[0] == "/requests/req-80?tenant=acme"
    assert links(shown.page)["Older calls"] == "/requests?tenant=acme&before=31"
    assert links(shown.page)["CSV"] == "/export/requests.csv?tenant=acme"
    assert links(shown.head)["Clear"] == "/requests"


def test_an_unknown_cost_is_not_zero() -> None:
    """A call at unknown price says so in its row."""
    source = made_up(MadeUpCalls(records=[record(cost_usd=None, saved_usd=None)]))
    said = text(page("/requests", source=source).page)
    assert "unknown" in said
    assert "$0" not in said


def test_why_one_call_was_dear() -> None:
    """The largest parts of its cost in words, its bill line by line, every upstream, every decision."""
    said = text(page("/requests/dear").page)
    assert "48.5 % is answer, reasoning: 8,000 tokens at $10 a million." in said
    assert "45.5 % is prompt, new: 60,000 tokens at $1.25 a million." in said
    assert "2 upstreams were asked; failed: azure (http_500)." in said
    for part in ("Failover", "$0.0350", "$0.200", "miss: no equal call was kept", "42.00 s", "nightly"):
        assert part in said


def test_dearer_than_its_tokens() -> None:
    """Where today's price does not explain the bill, the page says what may."""
    said = text(page("/requests/x", source=made_up(OneCall(dear_call(cost_usd=1.0)))).page)
    assert "It was billed $1.00, and these tokens come to $0.165 at today's price" in said


def test_a_call_at_unknown_price() -> None:
    """It names the upstream and the model that have none."""
    found = dear_call(cost_usd=None, saved_usd=None, baseline_usd=None, basis="unknown")
    said = text(page("/requests/x", source=made_up(OneCall(found))).page)
    assert "No price is known at azure for gpt-5 and openai for gpt-5." in said
    assert "Its cost is in no sum; it is not zero." in said


def test_a_hit_and_an_old_record() -> None:
    """A hit cost nothing and says who made the answer; a record from before bills and contents is shown, too."""
    story = {"attempts": [], "notes": [], "source": {"model": "gpt-5", "upstream": "openai"}}
    found = {**record(cache="exact", cost_usd=0.0, upstream="", answered_model="gpt-5"), "story": story}
    said = text(page("/requests/x", source=made_up(OneCall(found))).page)
    assert "It cost nothing: no upstream was asked (exact)." in said
    assert "made by gpt-5 at openai for another call" in said
    assert "Not recorded." in said


def test_a_prompt_is_only_text() -> None:
    """Markup in what was recorded is a string among the children, never an element."""
    shown = page("/requests/dear")
    assert HOSTILE in [one for one in parts(shown.page) if isinstance(one, str)]
    kinds = {type(one).__name__ for one in parts(shown.page)}
    assert not kinds & {"Script", "Img", "Iframe", "Markdown", "DangerouslySetInnerHTML"}


def test_no_such_call() -> None:
    """An id that the ledger does not have."""
    assert "The ledger has no call of this id." in text(page("/requests/missing").page)


def test_upstreams() -> None:
    """Breakers by worker, who is gone, prices with their source, machines, and what has no price."""
    said = text(page("/upstreams").page)
    for part in ("Worker 1 is gone.", "half-open", "$0.125", "table 2026-10-01", "amortized", "31.0 %", "ready"):
        assert part in said
    assert "1 price unknown: other at own." in said


def test_policy() -> None:
    """The refusal with its line, each worker's version, the file and the history."""
    said = text(page("/policy").page)
    for part in ("The last edit was refused", "policy.yaml:7:3", "before-launch", "gone", "upstreams: {}"):
        assert part in said
    assert "Changes" in links(page("/policy").page)


def test_policy_difference() -> None:
    """Two versions in the URL are compared."""
    said = text(page("/policy", f"?older={'a' * 12}&newer={'b' * 12}").page)
    assert "+cache: on" in said


def test_versions_that_cannot_be_compared() -> None:
    """The page says so, with everything else that it has."""

    class Short(MadeUpPolicies):
        def difference(self, older: str, newer: str) -> str:
            raise GatewayError("There is no such version.")

    shown = page("/policy", "?older=x&newer=y", made_up(policies=Short()))
    said = text(shown.page)
    assert "This version cannot be shown. There is no such version." in said
    assert "before-launch" in said
    assert not shown.failed


@pytest.mark.parametrize("path", ["/", "/requests", "/upstreams", "/policy", "/profile", "/keys"])
def test_what_the_address_cannot_mean_is_told(path: str) -> None:
    """Every page says what of its address was left out, to a screen reader too; no page is empty for it."""
    shown = page(path, "?range=bogus&min_cost=0,5&since=soon")
    for part in ("\u201cbogus\u201d", "\u201c0,5\u201d", "\u201csoon\u201d"):
        assert part in text(shown.page)
        assert part in shown.said


def test_a_page_is_told_from_another_by_its_mark() -> None:
    """The same figures make the same mark, other figures another."""
    assert page("/requests").mark == page("/requests").mark
    one_less = made_up(MadeUpCalls(records=[record(1)]))
    assert page("/requests").mark != page("/requests", source=one_less).mark


def test_the_zone_of_the_times_is_shown() -> None:
    """On every page, beside the time range where there is one."""
    shown = render(view("/", "", NOW, "Asia/Tokyo"), made_up(), HELLO)
    assert "Times in Asia/Tokyo" in text(shown.head)


def test_the_navigation_keeps_the_time_range() -> None:
    """And leaves filters behind; it says where one is, and names the keys where they are kept."""
    found = pages(view("/requests/x", "?range=7d&model=m", NOW), has_keys=False)
    assert links(found)["Upstreams"] == "/upstreams?range=7d"
    assert "Keys" not in links(found)
    assert [text(one) for one in found if getattr(one, "aria-current", "")] == ["Requests"]


def test_a_policy_without_trouble() -> None:
    """No refusal, no notice."""
    assert "refused;" not in text(page("/policy", source=made_up(policies=MadeUpPolicies(refusal=""))).page)


def test_profile_and_keys() -> None:
    """Flows by whatever one asks for; keys with their state."""
    assert "61.2" in text(page("/profile", "?by=tenant").page)
    said = text(page("/keys").page)
    assert "living" in said
    assert "revoked" in said


def test_without_keys_there_is_no_such_page() -> None:
    """Where keys are not kept the page is none."""
    assert "There is no such page." in text(page("/keys", source=made_up(keys=None)).page)
    assert "There is no such page." in text(page("/nowhere").page)


@pytest.mark.parametrize("path", ["/", "/requests", "/requests/x", "/profile"])
def test_a_dead_ledger_is_told(path: str) -> None:
    """The page says so, keeps its address and is asked for again."""
    shown = page(path, source=made_up(MadeUpCalls(is_dead=True)))
    assert shown.failed
    assert "The ledger cannot be read now." in text(shown.page)
    assert getattr(shown.page, "data-failed") == "1"


def test_a_fault_of_ours_is_told() -> None:
    """A record that no page can draw shows a page that says so."""
    shown = page("/requests/x", source=made_up(OneCall({"id": "x"})))
    assert shown.failed
    assert "The page could not be made" in text(shown.page)


def test_a_page_of_upstreams_without_workers() -> None:
    """Before a worker has written there is nothing to show, and the page says so."""

    class Nobody(MadeUpFleet):
        def upstreams(self) -> Any:
            return {"upstreams": {}, "engines": None, "workers": []}

    said = text(page("/upstreams", source=made_up(fleet=Nobody(told=[]))).page)
    assert "No worker lives." in said
