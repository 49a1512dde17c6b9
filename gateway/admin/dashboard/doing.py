"""What the dashboard changes: it puts back a policy version, makes a key and revokes one. Each is a POST."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import dash
from dash import ALL, Dash, Input, Output, State
from dash.exceptions import PreventUpdate
from starlette.concurrency import run_in_threadpool

from gateway.admin.dashboard.data import Source
from gateway.admin.dashboard.pages import keys as page
from gateway.errors import GatewayError


def listen(site: Dash, source: Source) -> None:
    """Answer the buttons that change something; each then has the page renewed."""
    _restoring(site, source)
    _making(site, source)
    _revoking(site, source)


def _restoring(site: Dash, source: Source) -> None:
    @site.callback(
        Output("done", "data"),
        Output("told", "children"),
        Input({"do": "restore", "version": ALL}, "submit_n_clicks"),
        prevent_initial_call=True,
    )
    async def _restore(clicks: list[int | None]) -> tuple[float, Any]:
        version = _clicked(clicks, "version")
        return await _done(lambda: source.policies.restore(version))


def _revoking(site: Dash, source: Source) -> None:
    @site.callback(
        Output("done", "data", allow_duplicate=True),
        Output("told", "children", allow_duplicate=True),
        Input({"do": "revoke", "key": ALL}, "submit_n_clicks"),
        prevent_initial_call=True,
    )
    async def _revoke(clicks: list[int | None]) -> tuple[float, Any]:
        keys, name = source.keys, _clicked(clicks, "key")
        if keys is None:
            raise PreventUpdate
        return await _done(lambda: keys.revoke(name))


def _making(site: Dash, source: Source) -> None:
    @site.callback(
        Output("done", "data", allow_duplicate=True),
        Output("told", "children", allow_duplicate=True),
        Input("make", "n_clicks"),
        *(State(f"new-{name}", "value") for name in page.NEW),
        prevent_initial_call=True,
    )
    async def _make(clicks: int | None, *given: str | None) -> tuple[float, Any]:
        keys = source.keys
        if not clicks or keys is None:
            raise PreventUpdate
        name, tenant, team, models = (str(value or "").strip()[:1000] for value in given)
        names = tuple(part.strip() for part in models.split(",") if part.strip())
        return await _done(lambda: page.shown_once(keys.create(name, tenant, team, names)))


def _clicked(clicks: list[int | None], name: str) -> str:
    """What the button that was clicked is about. A button that has just been drawn was not clicked."""
    about = dash.ctx.triggered_id
    if not any(clicks) or not isinstance(about, dict):
        raise PreventUpdate
    return str(about[name])


async def _done(deed: Callable[[], Any]) -> tuple[float, Any]:
    """Do it, and say when, for the page to be renewed, and what came of it, or why it failed."""
    try:
        told = await run_in_threadpool(deed)
    except GatewayError as failure:
        return time.time(), page.refused(failure.message)
    return time.time(), told
