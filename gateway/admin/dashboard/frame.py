"""What stands around every page: navigation, time range, live switch, and what is shown where a page cannot be."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import dash_mantine_components as dmc
import orjson
from dash import dcc, html
from dash.development.base_component import Component

from gateway.admin.dashboard.address import CALL, CUSTOM, PAGES, RANGE_NAMES, View, field_time
from gateway.admin.dashboard.parts import Part, code, link, notice, wild

TIMELESS = ("/upstreams", "/policy", "/keys")  # pages that show what is now


@dataclass(frozen=True, slots=True)
class Rendered:
    """A page's head and body, what a screen reader hears of it, and whether it failed."""

    head: Part
    page: Part
    said: str
    failed: bool = False

    @property
    def mark(self) -> str:
        """Tells one body from another: while it stays the same nothing on the screen need move."""
        body = orjson.dumps(self.page, default=Component.to_plotly_json)
        return hashlib.blake2b(body, digest_size=12).hexdigest()


LOST = (
    "The dashboard has lost the admin process. What you see is from before; it is asked again every three seconds. "
    "Calls are served all the same."
)


def frame(shown: Rendered, pages: Part, path: str, search: str) -> Part:
    """The whole layout, with the first page in it, which is the one at this address: it is not asked for again."""
    inside = [
        html.A("To the page's content", href="#main", className="skip"),
        _top(pages),
        html.Main(
            [
                html.Div(LOST, id="lost", role="alert", hidden=True),
                html.Div(shown.head, id="head"),
                html.Div(id="told"),
                html.Div(shown.page, id="page"),
                html.Div(shown.said, id="said", role="status", className="unseen", **wild(aria_live="polite")),
            ],
            id="main",
            tabIndex="-1",
        ),
        dcc.Location(id="url", pathname=path, search=search, refresh=False),
        dcc.Store(id="tick"),
        dcc.Store(id="zone"),
        dcc.Store(id="done"),
        dcc.Store(id="seen", data=shown.mark),
    ]
    return dmc.MantineProvider(inside, defaultColorScheme="auto", theme={"primaryColor": "blue", "fontFamily": _FONT})


_FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"


def pages(view: View, *, has_keys: bool) -> Part:
    """The navigation. The time range goes along from page to page."""
    here = "/requests" if view.path.startswith(CALL) else view.path
    return [
        link(name, view.page_link(path), current=path == here)
        for path, name in PAGES.items()
        if has_keys or path != "/keys"
    ] + [html.A("API", href="/api")]


def _top(pages: Part) -> Part:
    colors = dmc.ColorSchemeToggle(
        lightIcon=html.Span(className="sun"),
        darkIcon=html.Span(className="moon"),
        variant="subtle",
        color="gray",
        id="colors",
        **wild(aria_label="Light or dark"),
    )
    leave = html.Form(
        html.Button("Sign out", type="submit", className="plain"), method="post", action="/logout", className="leave"
    )
    return html.Header(
        html.Div(
            [
                link("Sluice", "/", css="brand"),
                html.Nav(pages, id="pages"),
                html.Div([colors, leave], className="side"),
            ]
        ),
        className="top",
    )


def page(view: View, title: str, body: Part, *, failed: bool = False, tools: Part = None) -> tuple[Part, Part]:
    """One page: its head, with what the reader sets there, and its body, which alone is renewed."""
    bar = html.Div([html.H1(title, tabIndex="-1"), html.Div(_tools(view), className="tools")], className="bar-of-tools")
    more = wild(
        data_path=view.path,
        data_title=title,
        data_period=str(view.period) if view.is_live and view.before is None else "",
        data_failed="1" if failed else "",
    )
    wrong = [notice("Not as the address says.", text, "warn") for text in view.wrong]
    return html.Div([bar, *([tools] if tools else [])]), html.Div([*wrong, body] if wrong else body, **more)


def _tools(view: View) -> list[Part]:
    is_timed = view.path not in TIMELESS and not view.is_call
    zone = html.Span(["Times in ", str(view.zone)], className="dim zone")
    return [*([_ranges(view), _custom(view)] if is_timed else []), zone, *([] if view.is_call else [_live(view)])]


def _ranges(view: View) -> Part:
    choices = [
        link(
            RANGE_NAMES[name],
            view.link(range=name, since=None, until=None, before=None),
            current=view.range == name,
        )
        for name in RANGE_NAMES
    ]
    return html.Div(choices, className="choices", role="group", **wild(aria_label="Time range"))


def _custom(view: View) -> Part:
    """From when until when, in the reader's zone."""
    kept = View("", {k: v for k, v in view.given.items() if k not in {"range", "since", "until", "before"}}).link()
    is_custom = view.range == CUSTOM
    fields = [
        dmc.TextInput(
            label=label,
            name=name,
            value=field_time(at, view.zone),
            inputProps={"type": "datetime-local"},
            size="xs",
        )
        for name, label, at in (("since", "From", view.since), ("until", "Until", view.until))
    ]
    form = html.Form(
        [*fields, html.Button("Show", type="submit", className="button main")],
        method="get",
        action=view.path,
        className="range",
        **wild(data_nav="1", data_keep=kept.removeprefix("?"), data_zone=str(view.zone)),
    )
    name = "Custom" if not is_custom else f"{field_time(view.since, view.zone)} to {field_time(view.until, view.zone)}"
    return html.Details([html.Summary(name.replace("T", " "), className="button"), form], className="custom")


def _live(view: View) -> Part:
    if view.is_live:
        inner = [html.Span(className="dot on", **wild(aria_hidden="true")), f"Live, every {view.period} s"]
        switch = link(inner, view.link(live="off"), css="button live", label="Live: on. Stop renewing.")
    else:
        inner = [html.Span(className="dot", **wild(aria_hidden="true")), "Paused"]
        switch = link(inner, view.link(live=None), css="button live", label="Live: off. Renew by itself.")
    return html.Div([switch, html.Button("Refresh", type="button", id="renew", className="button")], className="tools")


def failed(view: View, title: str, message: str) -> tuple[Part, Part]:
    """The page where its figures cannot be had: it says why, and asks again by itself."""
    text = [message, " The page asks again every three seconds."]
    return page(view, title, notice("This cannot be shown now.", text, "bad", is_alert=True), failed=True)


def welcome(hello: str) -> Part:
    """What stands there before the first call: a line to paste."""
    return html.Section(
        [
            html.H2("No calls in this time"),
            html.P("Send one, and it appears here within seconds:"),
            code(hello, "A call to paste"),
            html.P("Or choose a longer time above.", className="dim"),
        ],
        className="card",
    )
