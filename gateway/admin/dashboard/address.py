"""The URL as the whole state of a page: which page, which time, which calls. A link that is sent shows the same.

What the URL says is hostile until it is read here: unknown names are dropped, numbers bounded, texts cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import cast
from urllib.parse import parse_qsl, quote, unquote, urlencode
from zoneinfo import ZoneInfo

from gateway.admin.dashboard.data import ORDERS, Order, Query

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
            return min(self._time("since", self.until - RANGES[USUAL_RANGE]), self.until - 1)
        return self.now - RANGES[self.range]

    @property
    def until(self) -> float:
        """Where it ends; a little after now, so that a call of this moment is in it."""
        return max(1.0, self._time("until", self.now + 1) if self.range == CUSTOM else self.now + 1)

    def _time(self, name: str, otherwise: float) -> float:
        return instant(self.given.get(name, ""), self.zone, otherwise)

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
    given = dict(parse_qsl(search.removeprefix("?")[:8000], max_num_fields=100)) if search.count("&") < 100 else {}
    cleaned = {name: given[name][:_LENGTH] for name in _KNOWN if given.get(name, "").strip()}
    return View(path, {name: value for name, value in cleaned.items() if _is_sound(name, value)}, now, _zone(zone))


def _is_sound(name: str, value: str) -> bool:
    """Whether this value means something there."""
    if name == "range":
        return value in RANGES
    if name == "order":
        return value in ORDERS
    if name == "by":
        return value in FLOWS
    if name == "before":
        return value.isascii() and value.isdecimal() and 0 < int(value) < 2**63
    if name == "min_cost":
        number = _number(value)
        return number is not None and 0 <= number <= 1e9
    return True


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def instant(text: str, zone: tzinfo, otherwise: float) -> float:
    """A Unix time, or a date and time as a browser's field writes it, in the reader's zone."""
    number = _number(text)
    if number is None:
        try:
            number = datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()
        except (ValueError, OverflowError):
            return otherwise
    return min(max(number, 0.0), _LATEST)


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
