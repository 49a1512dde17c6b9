"""The Dash application: one callback turns an address into a page, and the first page comes with the layout.

Dash's own server would answer any path with the page, open a websocket and say which Python runs; only its layout, its
list of callbacks and its callbacks are reached from here, under the routes that `install` names.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import dash
from dash import Dash, Input, Output, State
from dash.backends._fastapi import FastAPIDashServer, reset_current_request, set_current_request
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from gateway.admin.dashboard import doing
from gateway.admin.dashboard.address import CALL, PAGES, View, view
from gateway.admin.dashboard.bundles import Bundles, own_link
from gateway.admin.dashboard.calling import is_call
from gateway.admin.dashboard.data import Source
from gateway.admin.dashboard.export import export
from gateway.admin.dashboard.frame import Rendered, frame, pages
from gateway.admin.dashboard.render import render
from gateway.admin.guard import BODY_BYTES
from gateway.admin.sending import body_of, refuse, replayed
from gateway.errors import BadRequest, GatewayError

_log = logging.getLogger(__name__)

HELLO = "curl http://127.0.0.1:8080/v1/models"
_UNUSED = ("/dash_table/", "/polyfill@", "/dash-ws-worker")  # bundles that no page of ours needs
_CHARTS = "dash_mantine_components-charts-shared.js"  # asked for while the others load, not after

_NOTHING = Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []})
_INDEX = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sluice</title>
<link rel="icon" href="data:,">
<script src="START"></script>
<link rel="stylesheet" href="STYLE">
<link rel="preload" as="script" href="CHARTS">
{%metas%}{%css%}
</head>
<body>
{%app_entry%}
<noscript><p>The dashboard needs JavaScript. The same figures are under <a href="/api">/api</a>.</p></noscript>
{%config%}
{%scripts%}
<script src="KEEPING"></script>
<script src="SCRIPT"></script>
{%renderer%}
</body>
</html>
"""


class _Server(FastAPIDashServer):
    """Dash's server without its websocket, its page for any path, and its description of itself."""

    websocket_capability = False

    @staticmethod
    def create_app(name: str = "", config: dict[str, Any] | None = None) -> FastAPI:  # noqa: ARG004 - Dash's shape
        return FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    def setup_index(self, dash_app: Dash) -> None:
        """Leave the page to us."""

    def setup_catchall(self, dash_app: Dash) -> None:
        """Leave other paths to the admin plane."""

    def register_assets_blueprint(self, blueprint_name: str, assets_url_path: str, assets_folder: str) -> None:
        """Leave our files to `bundles`."""


class _Site(Dash):
    """Dash with only the bundles that the pages need."""

    def interpolate_index(self, **parts: str) -> str:  # type: ignore[override]
        lines = parts["scripts"].splitlines()
        parts["scripts"] = "\n".join(line for line in lines if not any(name in line for name in _UNUSED))
        parts["metas"] = ""
        parts["renderer"] = f'<script id="_dash-renderer" src="{own_link("begin.js")}"></script>'
        return str(super().interpolate_index(**parts))  # type: ignore[no-untyped-call]

    def page(self) -> str:
        """The HTML that loads everything. Dash wants a request around it, and asks it nothing."""
        token = set_current_request(_NOTHING)  # type: ignore[no-untyped-call]
        try:
            return str(self.index())  # type: ignore[no-untyped-call]
        finally:
            reset_current_request(token)  # type: ignore[no-untyped-call]


class Site:
    """The pages over one source."""

    def __init__(self, source: Source, hello: str = HELLO, clock: Callable[[], float] = time.time) -> None:
        """`hello` is the line that an empty dashboard shows, which makes a call when pasted."""
        self._source = source
        self._hello = hello
        self._clock = clock
        self._dash = _site(self._layout)
        self._bundles = Bundles(self._dash.registered_paths)
        self._dash.page()  # registers the bundles: a page that outlived a restart asks for them first
        self._listen()

    @property
    def routes(self) -> list[Route]:
        """Every path that the dashboard answers, and by which method."""
        inner = self._dash.server
        return [
            *(Route(path, self._page, methods=["GET"]) for path in PAGES),
            Route(CALL + "{id:path}", self._page, methods=["GET"]),
            Route("/_assets/{name}", self._bundles.own, methods=["GET"]),
            Route("/_dash-component-suites/{package}/{path:path}", self._bundles.answer, methods=["GET"]),
            Route("/_dash-layout", _Inner(inner), methods=["GET"]),
            Route("/_dash-dependencies", _Inner(inner), methods=["GET"]),
            Route("/_dash-update-component", _Inner(inner, self._dash.callback_map), methods=["POST"]),
            Route("/export/{name}.csv", partial(export, self._source, self._clock), methods=["GET"]),
        ]

    async def _page(self, request: Request) -> Response:  # noqa: ARG002 - every page is the same document
        return Response(self._dash.page(), media_type="text/html; charset=utf-8")

    def _layout(self) -> Any:
        """The frame with the page in it that the browser says it is at."""
        asked = self._dash.backend.request_adapter().args if self._dash.backend.has_request_context() else {}
        path, search = asked.get("at", "/"), asked.get("search", "")
        at = view(path, search, self._clock(), asked.get("zone", ""))
        return frame(render(at, self._source, self._hello), self._pages(at), path, search)

    def _made(self, at: View) -> tuple[Rendered, str]:
        shown = render(at, self._source, self._hello)
        return shown, shown.mark

    def _pages(self, at: View) -> Any:
        return pages(at, has_keys=self._source.keys is not None)

    def _listen(self) -> None:
        @self._dash.callback(
            Output("pages", "children"),
            Output("head", "children"),
            Output("page", "children"),
            Output("seen", "data"),
            Output("said", "children"),
            Output("told", "children", allow_duplicate=True),
            Input("url", "pathname"),
            Input("url", "search"),
            Input("tick", "data"),
            Input("done", "data"),
            State("zone", "data"),
            State("seen", "data"),
            prevent_initial_call=True,
        )
        async def _show(path: Any, search: Any, _tick: Any, _done: Any, zone: Any, seen: Any) -> tuple[Any, ...]:
            by = {given["prop_id"].partition(".")[0] for given in dash.ctx.triggered}
            at = view(_text(path) or "/", _text(search), self._clock(), _text(zone))
            shown, mark = await run_in_threadpool(self._made, at)
            return self._told(at, shown, mark, by, seen)

        self._dash.clientside_callback(  # type: ignore[no-untyped-call]
            dash.ClientsideFunction("sluice", "zone"), Output("zone", "data"), Input("url", "id")
        )
        doing.listen(self._dash, self._source)

    def _told(self, at: View, shown: Rendered, mark: str, by: set[str], seen: Any) -> tuple[Any, ...]:
        """What of a page is sent.

        A renewal leaves alone what the reader set or half typed in the head, and a body that is as it was; a screen
        reader hears of a new page and of a failure; what came of a deed stays until the reader goes elsewhere.
        """
        is_new, is_same, same = "url" in by, mark == seen, dash.no_update
        return (
            self._pages(at) if is_new else same,
            shown.head if is_new else same,
            same if is_same and not is_new else shown.page,
            same if is_same else mark,
            shown.said if by != {"tick"} or (shown.failed and not is_same) else same,
            None if is_new else same,
        )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


class _Inner:
    """Dash's application behind one route of ours. A class, for Starlette takes a function for an endpoint."""

    def __init__(self, app: FastAPI, callbacks: Mapping[str, Any] | None = None) -> None:
        """`callbacks` are those that a body may call; without them there is no body."""
        self._app = app
        self._callbacks = callbacks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._callbacks is not None:
            body = await body_of(receive, BODY_BYTES)
            if body is None or not is_call(body, self._callbacks):
                await refuse(BadRequest("This is no call of a part of the dashboard."), scope["path"], send)
                return
            receive = replayed(body, receive)
        await self._app(scope, receive, _in_our_words(send))


def _in_our_words(send: Send) -> Send:
    """Send a failure of Dash in our envelope, not in its own."""
    is_failed = False

    async def wrapped(message: Message) -> None:
        nonlocal is_failed
        if message["type"] == "http.response.start" and message["status"] >= 400:
            is_failed = True
            told = GatewayError("The admin plane failed at this; its log says why.")
            await refuse(told, "/_", send)
        elif not is_failed:
            await send(message)

    return wrapped


def _site(layout: Callable[[], Any]) -> _Site:
    index = _INDEX.replace("START", own_link("start.js")).replace("STYLE", own_link("dashboard.css"))
    index = index.replace("SCRIPT", own_link("dashboard.js")).replace("KEEPING", own_link("keeping.js"))
    index = index.replace("CHARTS", f"/_dash-component-suites/dash_mantine_components/{_CHARTS}")
    site = _Site(
        "sluice",
        backend=_Server,
        assets_folder="",
        include_assets_files=False,
        index_string=index,
        update_title="",
        title="Sluice",
        add_log_handler=False,
        suppress_callback_exceptions=True,
        on_error=_failed,
    )
    site.layout = layout
    return site


def _failed(error: Exception) -> None:
    """Log what Dash would keep to itself."""
    _log.error("a callback of the dashboard failed", exc_info=error)
    raise error


def install(app: FastAPI, site: Site) -> None:
    """Add the dashboard's routes to the admin plane."""
    app.router.routes.extend(site.routes)
