"""Tests of gateway.admin.dashboard.address: the URL is the whole state, and hostile until it is read."""

from __future__ import annotations

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from gateway.admin.dashboard.address import field_time, instant, view
from gateway.admin.dashboard.data import Query

NOW = 1_800_000_000.0


def test_what_is_not_said_has_a_default() -> None:
    """The last hour, live, all calls, the newest first."""
    found = view("/", "", NOW)
    assert (found.since, found.until, found.is_live, found.order) == (NOW - 3600, NOW + 1, True, "newest")
    assert found.query == Query(NOW - 3600, NOW + 1)
    assert not found.is_filtered


def test_filters() -> None:
    """Every filter of the URL is one of the query."""
    found = view("/requests", "?model=m&tenant=t%20u&min_cost=0.5&unknown=1&order=dearest&before=7&range=7d", NOW)
    assert found.query == Query(NOW - 7 * 86_400, NOW + 1, model="m", tenant="t u", min_cost_usd=0.5, unknown=True)
    assert (found.order, found.before, found.is_filtered) == ("dearest", 7, True)


@pytest.mark.parametrize(
    "search",
    [
        "?order=worst&range=9y&by=moon&before=x&before=-1&min_cost=nan",
        "?before=99999999999999999999&min_cost=-1&min_cost=inf",
        "?before=\u0663&nonsense=1&model=&model=%20",
        "?" + "&".join(f"model{i}=x" for i in range(1000)),
        "?min_cost=1e400",
    ],
)
def test_what_means_nothing_is_dropped(search: str) -> None:
    """Values that no page knows are as if they were not there."""
    found = view("/requests", search, NOW)
    assert found.given == {}
    assert found.query == Query(NOW - 3600, NOW + 1)


def test_names_are_cut() -> None:
    """A name of a million characters is none that a ledger has."""
    assert len(view("/requests", "?model=" + "x" * 7000, NOW).given["model"]) == 200


def test_custom_range_in_the_readers_zone() -> None:
    """What a browser's field says is in the reader's time; the zone is one that exists, or UTC."""
    found = view("/", "?since=2027-01-15T09:00&until=2027-01-15T10:00", NOW, "Europe/Berlin")
    assert found.until - found.since == 3600
    assert field_time(found.since, ZoneInfo("Europe/Berlin")) == "2027-01-15T09:00"
    assert view("/", "", NOW, "../../etc/passwd").zone == UTC
    assert view("/", "", NOW, "No/Where").zone == UTC


def test_links_mean_the_same_time_everywhere() -> None:
    """Links and exports of a page name Unix seconds, whatever its own address said."""
    found = view("/requests", "?since=2027-01-15T09:00&until=2027-01-15T10:00", NOW, "Asia/Tokyo")
    assert found.link() == "/requests?since=1799971200&until=1799974800"
    elsewhere = view("/requests", found.link().partition("?")[2], NOW)
    assert (elsewhere.since, elsewhere.until) == (found.since, found.until)


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ("?since=5&until=1", "Shown is the last 1 hour."),
        ("?since=5&until=5", "Shown is the last 1 hour."),
        (f"?since={int(NOW) + 99}", "Shown is the last 1 hour."),
        ("?until=-5", "Until: \u201c-5\u201d is not a time"),
        ("?since=1e300", "From: \u201c1e300\u201d is not a time"),
        ("?since=9999-99-99", "From: \u201c9999-99-99\u201d is not a time"),
        ("?min_cost=0,5", "Cost at least: \u201c0,5\u201d is not an amount in USD"),
        ("?range=bogus", "Time range: \u201cbogus\u201d is not one of 15m"),
    ],
)
def test_what_cannot_be_had_is_told(search: str, told: str) -> None:
    """It is left out of the page and of its links, and the page says so; there is always time between the two ends."""
    found = view("/", search, NOW)
    assert told in " ".join(found.wrong)
    assert found.given == {}
    assert found.since < found.until


def test_links_keep_the_state() -> None:
    """A link changes what it names and keeps the rest; None takes away."""
    found = view("/requests", "?model=a%26b&range=24h", NOW)
    assert found.link(order="dearest") == "/requests?model=a%26b&range=24h&order=dearest"
    assert found.link(model=None, range=None) == "/requests"
    assert found.page_link("/upstreams") == "/upstreams?range=24h"
    assert found.call_link("a/b?c") == "/requests/a%2Fb%3Fc?model=a%26b&range=24h"


def test_one_call() -> None:
    """The id is what stands behind the last slash, as it was before it was written into a URL."""
    found = view("/requests/a%2Fb", "", NOW)
    assert (found.is_call, found.call) == (True, "a/b")
    assert not view("/requests/", "", NOW).is_call


def test_long_ranges_are_renewed_rarely() -> None:
    """An hour every five seconds, a month once a minute."""
    assert [view("/", f"?range={name}", NOW).period for name in ("15m", "1h", "24h", "30d")] == [5, 5, 15, 60]


def test_instant() -> None:
    """Numbers are Unix times; a date and time is the reader's, unless it names its offset; the rest is none."""
    tokyo = ZoneInfo("Asia/Tokyo")
    found = [
        instant(text, tokyo) for text in ("12.5", "1970-01-01T09:00", "1970-01-01T00:00Z", "1970-01-01T02:00+02:00")
    ]
    assert found == [12.5, 0.0, 0.0, 0.0]
    assert [instant(text, UTC) for text in ("-3", "soon", "inf", "\u0661", "0001-01-01T00:00")] == [None] * 5
