"""From a view to a page: asks the source, and says so where it cannot answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from gateway.admin.dashboard import frame
from gateway.admin.dashboard.address import PAGES, View
from gateway.admin.dashboard.data import Json, Query, Source
from gateway.admin.dashboard.frame import Rendered
from gateway.admin.dashboard.pages import call, calls, keys, overview, policy, profile, traffic, upstreams
from gateway.admin.dashboard.parts import Part, link, notice
from gateway.errors import GatewayError

_log = logging.getLogger(__name__)


def render(view: View, source: Source, hello: str) -> Rendered:
    """The page of this view."""
    title = "One call" if view.is_call else PAGES.get(view.path, "Not found")
    try:
        found = _page_of(view)(view, title, source, hello)
        return replace(found, said=" ".join((*view.wrong, found.said)))
    except GatewayError as failure:
        return Rendered(*frame.failed(view, title, failure.message), failure.message, failed=True)
    except Exception:  # noqa: BLE001 - told of below
        # A page draws what a file or another process wrote. One that cannot be drawn must say so, not stay as it was.
        _log.exception("a page of the dashboard failed")
        message = "The page could not be made; the log of the admin process says why."
        return Rendered(*frame.failed(view, title, message), message, failed=True)


def _page_of(view: View) -> Callable[[View, str, Source, str], Rendered]:
    return _call if view.is_call else _PAGES.get(view.path, _nowhere)


def _overview(view: View, title: str, source: Source, hello: str) -> Rendered:
    found = source.calls.overview(view.query)
    if not found["totals"]["calls"] and not view.is_filtered:
        return Rendered(*frame.page(view, title, frame.welcome(hello)), "No calls in this time.")
    gone = upstreams.gone(view, source.fleet.upstreams()["workers"])
    return Rendered(*frame.page(view, title, [*gone, *overview.overview(view, found)]), overview.said(view, found))


def _calls(view: View, title: str, source: Source, hello: str) -> Rendered:  # noqa: ARG001 - as all of them
    found = source.calls.search(view.query, view.order, calls.PAGE + 1, view.before)
    body = calls.calls(view, found)
    said = calls.said(view, found[: calls.PAGE])
    return Rendered(*frame.page(view, title, body, tools=calls.filters(view, found)), said)


def _call(view: View, title: str, source: Source, hello: str) -> Rendered:  # noqa: ARG001
    record = source.calls.one(view.call)
    if record is None:
        return Rendered(*frame.page(view, title, call.missing(view)), "There is no such call.")
    return Rendered(*frame.page(view, title, call.call(view, record, _prices(source))), call.said(record))


def _prices(source: Source) -> list[Json]:
    """The prices, for the words beside a bill; a call is shown without them, too."""
    try:
        return source.fleet.prices()
    except GatewayError:
        return []


def _upstreams(view: View, title: str, source: Source, hello: str) -> Rendered:  # noqa: ARG001
    told, prices = source.fleet.upstreams(), source.fleet.prices()
    body = upstreams.upstreams(view, told, prices, *_traffic(view, source))
    return Rendered(*frame.page(view, title, body), upstreams.said(told, prices))


def _traffic(view: View, source: Source) -> tuple[Json | None, list[Json]]:
    """The sums, and the newest calls that failed at an upstream; breakers are shown without a ledger, too."""
    query = Query(view.since, view.until)
    try:
        failed = source.calls.search(replace(query, q=traffic.FAULT), "newest", traffic.LOOKED_AT, None)
        return source.calls.overview(query), failed
    except GatewayError:
        return None, []


def _policy(view: View, title: str, source: Source, hello: str) -> Rendered:  # noqa: ARG001
    state, versions = source.policies.state(), source.policies.versions()
    refused, asked = _asked(view, source)
    body = [*refused, *policy.policy(view, state, versions, **asked)]
    return Rendered(*frame.page(view, title, body, tools=policy.tools(view, versions)), policy.said(state))


def _asked(view: View, source: Source) -> tuple[list[Part], dict[str, str]]:
    """The difference or the text that the URL names, or why there is none, beside all the rest."""
    older, newer = view.given.get("older"), view.given.get("newer")
    try:
        if older and newer:
            return [], {"difference": source.policies.difference(older, newer)}
        return [], {"text": source.policies.text(newer)} if newer else {}
    except GatewayError as failure:
        text = [failure.message, " ", link("Close", view.link(older=None, newer=None))]
        return [notice("This version cannot be shown.", text, "bad", is_alert=True)], {}


def _profile(view: View, title: str, source: Source, hello: str) -> Rendered:  # noqa: ARG001
    found = source.calls.profile(view.since, view.until, view.by)
    return Rendered(*frame.page(view, title, profile.profile(view, found)), profile.said(view, found))


def _keys(view: View, title: str, source: Source, hello: str) -> Rendered:
    if source.keys is None:
        return _nowhere(view, title, source, hello)
    found = source.keys.list()
    return Rendered(*frame.page(view, title, keys.keys(view, found), tools=keys.form()), keys.said(found))


def _nowhere(view: View, title: str, source: Source, hello: str) -> Rendered:  # noqa: ARG001
    text = notice("There is no such page.", "The navigation above says what there is.", "warn")
    return Rendered(*frame.page(view, title, text), "There is no such page.")


_PAGES: dict[str, Callable[[View, str, Source, str], Rendered]] = {
    "/": _overview,
    "/requests": _calls,
    "/upstreams": _upstreams,
    "/policy": _policy,
    "/profile": _profile,
    "/keys": _keys,
}
