"""The Dash application: one callback turns an address into a page, and the first page comes with the layout.

Dash's own server would answer any path with the page, open a websocket and say which Python runs; only its layout, its
list of callbacks and its callbacks are reached from here, under the routes that `install` names.
"""

from __future__ import annotations

import time
from collections.abc import Callable
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

from gateway.admin.dashboard import doing
from gateway.admin.dashboard.address import CALL, PAGES, view
from gateway.admin.dashboard.bundles import Bundles, own_link
from gateway.admin.dashboard.data import Source
from gateway.admin.dashboard.export import export
from gateway.admin.dashboard.frame import frame
from gateway.admin.dashboard.render import Rendered, render

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
            Route("/_dash-update-component", _Inner(inner), methods=["POST"]),
            Route("/export/{name}.csv", partial(export, self._source, self._clock), methods=["GET"]),
        ]

    async def _page(self, request: Request) -> Response:  # noqa: ARG002 - every page is the same document
        return Response(self._dash.page(), media_type="text/html; charset=utf-8")

    def _layout(self) -> Any:
        """The frame with the page in it that the browser says it is at."""
        asked = self._dash.backend.request_adapter().args if self._dash.backend.has_request_context() else {}
        path, search = asked.get("at", "/"), asked.get("search", "")
        shown = self._shown(path, search, asked.get("zone", ""))
        return frame(shown.head, shown.page, shown.said, path, search, has_keys=self._source.keys is not None)

    def _shown(self, path: str, search: str, zone: str) -> Rendered:
        return render(view(path, search, self._clock(), zone), self._source, self._hello)

    def _listen(self) -> None:
        @self._dash.callback(
            Output("head", "children"),
            Output("page", "children"),
            Output("said", "children"),
            Output("told", "children", allow_duplicate=True),
            Input("url", "pathname"),
            Input("url", "search"),
            Input("tick", "data"),
            Input("done", "data"),
            State("zone", "data"),
            prevent_initial_call=True,
        )
        async def _show(path: str, search: str, _tick: Any, _done: Any, zone: str | None) -> tuple[Any, ...]:
            by = {given["prop_id"].partition(".")[0] for given in dash.ctx.triggered}
            shown = await run_in_threadpool(self._shown, path or "/", search or "", zone or "")
            # A renewal leaves alone what the reader set or half typed in the head; a screen reader hears of a new page
            # and of a failure; what came of a deed stays until the reader goes elsewhere.
            is_new = "url" in by
            return (
                shown.head if is_new else dash.no_update,
                shown.page,
                shown.said if by != {"tick"} or shown.failed else dash.no_update,
                None if is_new else dash.no_update,
            )

        self._dash.clientside_callback(  # type: ignore[no-untyped-call]
            dash.ClientsideFunction("sluice", "zone"), Output("zone", "data"), Input("url", "id")
        )
        doing.listen(self._dash, self._source)


class _Inner:
    """Dash's application behind one route of ours. A class, for Starlette takes a function for an endpoint."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


def _site(layout: Callable[[], Any]) -> _Site:
    index = _INDEX.replace("START", own_link("start.js")).replace("STYLE", own_link("dashboard.css"))
    index = index.replace("SCRIPT", own_link("dashboard.js"))
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
    )
    site.layout = layout
    return site


def install(app: FastAPI, site: Site) -> None:
    """Add the dashboard's routes to the admin plane."""
    app.router.routes.extend(site.routes)
