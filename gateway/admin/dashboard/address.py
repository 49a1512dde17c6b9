"""The URL as the whole state of a page: which page, which time, which calls. A link that is sent shows the same.

What the URL says is hostile until it is read here: unknown names are dropped, texts cut, and a value that means nothing
is left out and told of. Times stand in it as Unix seconds, so that a link and an export mean what the page shows, in
whatever zone they are opened; a date and time without an offset, as people write it, is taken in the reader's zone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import cast
from urllib.parse import parse_qsl, quote, unquote, urlencode
from zoneinfo import ZoneInfo

from gateway.admin.dashboard.data import ORDERS, Order, Query
from gateway.admin.dashboard.figures import span

PAGES = {  # path to what the navigation calls it
    "/": "Overview",
    "/requests": "Requests",
    "/upstreams": "Upstreams",
    "/policy": "Policy",
    "/profile": "Profile",
    "/keys": "Keys",
}
CALL = "/requests/"  # and the call's id
RANGES = {"15m": 900, "1h": 3600, "24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400}
RANGE_NAMES = {"15m": "15 min", "1h": "1 h", "24h": "24 h", "7d": "7 d", "30d": "30 d"}
USUAL_RANGE = "1h"
CUSTOM = "custom"
FLOWS = ("model", "upstream", "tenant", "team", "key", "tag")

NAMES = ("model", "upstream", "tenant", "team", "key", "tag", "endpoint", "outcome", "cache", "q")
_KNOWN = (*NAMES, "min_cost", "unknown", "range", "since", "until", "order", "before", "by", "live", "older", "newer")
_LENGTH = 200
_LATEST = 1e11


@dataclass(frozen=True, slots=True)
class View:
    """What one URL asks for, at one moment, for a reader in one time zone."""

    path: str = "/"
    given: Mapping[str, str] = field(default_factory=dict)
    now: float = 0.0
    zone: tzinfo = UTC
    wrong: tuple[str, ...] = ()  # what the URL asks for that cannot be had, in words

    @property
    def is_call(self) -> bool:
        """Whether it names one call."""
        return self.path.startswith(CALL) and len(self.path) > len(CALL)

    @property
    def call(self) -> str:
        """The id of the one call."""
        return unquote(self.path.removeprefix(CALL))[:_LENGTH]

    @property
    def range(self) -> str:
        """The name of the time range."""
        if "since" in self.given or "until" in self.given:
            return CUSTOM
        return self.given.get("range", USUAL_RANGE)

    @property
    def since(self) -> float:
        """Where the range begins, in Unix time."""
        if self.range == CUSTOM:
            return self._time("since", max(0.0, self.until - RANGES[USUAL_RANGE]))
        return self.now - RANGES[self.range]

    @property
    def until(self) -> float:
        """Where it ends; a little after now, so that a call of this moment is in it."""
        return self._time("until", self.now + 1) if self.range == CUSTOM else self.now + 1

    def _time(self, name: str, otherwise: float) -> float:
        return float(self.given[name]) if name in self.given else otherwise

    @property
    def is_live(self) -> bool:
        """Whether it renews itself."""
        return self.given.get("live") != "off"

    @property
    def period(self) -> int:
        """Seconds between two renewals: long ranges change slowly and cost the ledger more."""
        length = self.until - self.since
        return 5 if length <= 3700 else 15 if length <= 90_000 else 60

    @property
    def order(self) -> Order:
        """How calls are ordered."""
        return cast(Order, self.given.get("order", ORDERS[0]))

    @property
    def before(self) -> int | None:
        """The last call of the page before this one."""
        return int(self.given["before"]) if "before" in self.given else None

    @property
    def by(self) -> str:
        """What flows are told apart by."""
        return self.given.get("by", FLOWS[0])

    @property
    def query(self) -> Query:
        """Which calls it is about."""
        names = {name: self.given[name] for name in NAMES if name in self.given}
        least = float(self.given["min_cost"]) if "min_cost" in self.given else None
        return Query(self.since, self.until, **names, min_cost_usd=least, unknown=self.given.get("unknown") == "1")

    @property
    def is_filtered(self) -> bool:
        """Whether it is about some calls only."""
        return any(name in self.given for name in (*NAMES, "min_cost", "unknown"))

    def link(self, path: str | None = None, **changes: str | None) -> str:
        """The address of another page, or of this one, with some of its state changed; None takes a part away."""
        kept = {name: value for name, value in {**self.given, **changes}.items() if value is not None}
        path = self.path if path is None else path
        return f"{path}?{urlencode(kept)}" if kept else path

    def call_link(self, id: str) -> str:  # noqa: A002 - the record's name for it
        """The address of one call, from which one finds back to this list."""
        return self.link(CALL + quote(id, safe=""))

    def page_link(self, path: str, **changes: str | None) -> str:
        """The address of a page with this time range, but without filters."""
        kept = {name: self.given[name] for name in ("range", "since", "until", "live") if name in self.given}
        return View(path, kept).link(**changes)


def view(path: str, search: str, now: float, zone: str = "") -> View:
    """What a URL asks for."""
    found, wrong = _zone(zone), []
    given: dict[str, str] = {}
    for name, text in _asked(search).items():
        value = _sound(name, text, found)
        if value is None:
            wrong.append(f"{_WORDS[name]}: {_brief(text)} is not {_MEANT[name]}, and was left out.")
        else:
            given[name] = value
    asked = View(path, given, now, found)
    if asked.since < asked.until:
        return replace(asked, wrong=tuple(wrong))
    wrong.append(
        f"The time asked for begins at {field_time(asked.since, found)} and ends at {field_time(asked.until, found)}, "
        f"not after it. Shown is the last {span(RANGES[USUAL_RANGE])}."
    )
    kept = {name: value for name, value in given.items() if name not in {"since", "until"}}
    return View(path, kept, now, found, tuple(wrong))


def _asked(search: str) -> dict[str, str]:
    """The names that pages know, and what is said of them."""
    given = dict(parse_qsl(search.removeprefix("?")[:8000], max_num_fields=100)) if search.count("&") < 100 else {}
    return {name: given[name].strip()[:_LENGTH] for name in _KNOWN if given.get(name, "").strip()}


def _sound(name: str, value: str, zone: tzinfo) -> str | None:
    """The value as pages read it; None if it means nothing there."""
    if name in {"since", "until"}:
        at = instant(value, zone)
        return None if at is None else f"{at:.3f}".rstrip("0").rstrip(".")
    return value if name not in _CHECKS or _CHECKS[name](value) else None


def _is_cursor(value: str) -> bool:
    return value.isascii() and value.isdecimal() and len(value) < 20 and 0 < int(value) < 2**63


def _is_amount(value: str) -> bool:
    number = _number(value)
    return number is not None and 0 <= number <= 1e9


_CHECKS: dict[str, Callable[[str], bool]] = {
    "range": RANGES.__contains__,
    "order": ORDERS.__contains__,
    "by": FLOWS.__contains__,
    "before": _is_cursor,
    "min_cost": _is_amount,
}
_WORDS = {
    "range": "Time range",
    "order": "Order",
    "by": "By",
    "before": "Page",
    "min_cost": "Cost at least",
    "since": "From",
    "until": "Until",
}
_TIME = "a time, such as 2027-01-15T10:00 or 1800000000"
_MEANT = {
    "range": f"one of {', '.join(RANGES)}",
    "order": f"one of {', '.join(ORDERS)}",
    "by": f"one of {', '.join(FLOWS)}",
    "before": "the number of a call",
    "min_cost": "an amount in USD, such as 0.5",
    "since": _TIME,
    "until": _TIME,
}


def _brief(text: str) -> str:
    """What was written, for whoever wrote it."""
    return f"\u201c{text}\u201d" if len(text) <= 40 else f"\u201c{text[:40]}…\u201d"


def _number(text: str) -> float | None:
    try:
        value = float(text) if text.isascii() else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def instant(text: str, zone: tzinfo) -> float | None:
    """A Unix time, or a date and time, in the reader's zone where it names none; None for what is neither."""
    number = _number(text)
    if number is None:
        try:
            found = datetime.fromisoformat(text)
            number = (found if found.tzinfo else found.replace(tzinfo=zone)).timestamp()
        except (ValueError, OverflowError):
            return None
    return number if 0 <= number <= _LATEST else None


def field_time(at: float, zone: tzinfo) -> str:
    """A Unix time as a browser's field for date and time reads it."""
    try:
        return datetime.fromtimestamp(at, zone).strftime("%Y-%m-%dT%H:%M")
    except (OverflowError, ValueError, OSError):
        return ""


def _zone(name: str) -> tzinfo:
    """The reader's time zone; UTC where it is not known here."""
    try:
        return ZoneInfo(name[:64]) if name else UTC
    except (OSError, ValueError, LookupError):
        return UTC
