"""What the dashboard changes: it puts back or names a policy version, makes a key and revokes one. Each is a POST."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import dash
from dash import ALL, Dash, Input, Output, State
from dash.exceptions import PreventUpdate
from starlette.concurrency import run_in_threadpool

from gateway.admin.dashboard.data import KeyOrder, Source
from gateway.admin.dashboard.pages import keys as page
from gateway.admin.dashboard.pages import policy
from gateway.errors import GatewayError


def listen(site: Dash, source: Source) -> None:
    """Answer the buttons that change something; each then has the page renewed."""
    _restoring(site, source)
    _naming(site, source)
    _making(site, source)
    _revoking(site, source)


def _restoring(site: Dash, source: Source) -> None:
    @site.callback(
        Output("done", "data"),
        Output("told", "children"),
        Input({"do": "restore", "version": ALL}, "submit_n_clicks"),
        prevent_initial_call=True,
    )
    async def _restore(clicks: list[int | None]) -> tuple[Any, Any]:
        version = _clicked(clicks, "version")

        def restore() -> Any:
            source.policies.restore(version)
            return policy.restored(version)

        return await _done(restore)


def _naming(site: Dash, source: Source) -> None:
    @site.callback(
        Output("done", "data", allow_duplicate=True),
        Output("told", "children", allow_duplicate=True),
        Input("name-it", "n_clicks"),
        State("name-version", "value"),
        State("name-name", "value"),
        prevent_initial_call=True,
    )
    async def _name(clicks: int | None, version: str | None, name: str | None) -> tuple[Any, Any]:
        if not clicks:
            raise PreventUpdate
        which, called = _written(version), _written(name)

        def give() -> Any:
            source.policies.name(which, called)
            return policy.named(which, called)

        return await _done(give)


def _revoking(site: Dash, source: Source) -> None:
    @site.callback(
        Output("done", "data", allow_duplicate=True),
        Output("told", "children", allow_duplicate=True),
        Input({"do": "revoke", "key": ALL}, "submit_n_clicks"),
        prevent_initial_call=True,
    )
    async def _revoke(clicks: list[int | None]) -> tuple[Any, Any]:
        keys, name = source.keys, _clicked(clicks, "key")
        if keys is None:
            raise PreventUpdate

        def revoke() -> Any:
            keys.revoke(name)
            return page.revoked(name)

        return await _done(revoke)


def _making(site: Dash, source: Source) -> None:
    @site.callback(
        Output("done", "data", allow_duplicate=True),
        Output("told", "children", allow_duplicate=True),
        Input("make", "n_clicks"),
        *(State(f"new-{name}", "value") for name in page.NEW),
        prevent_initial_call=True,
    )
    async def _make(clicks: int | None, *given: str | None) -> tuple[Any, Any]:
        keys = source.keys
        if not clicks or keys is None:
            raise PreventUpdate
        name, tenant, team, models, tags, expires = map(_written, given)
        order = KeyOrder(name, tenant, team, _parts(models), _parts(tags), expires)
        return await _done(lambda: page.shown_once(keys.create(order)))


def _written(value: Any) -> str:
    """What stands in a field."""
    return str(value or "").strip()[:1000]


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _clicked(clicks: list[int | None], name: str) -> str:
    """What the button that was clicked is about. A button that has just been drawn was not clicked."""
    about = dash.ctx.triggered_id
    if not any(clicks) or not isinstance(about, dict):
        raise PreventUpdate
    return str(about[name])


async def _done(deed: Callable[[], Any]) -> tuple[Any, Any]:
    """Do it, and say when, for the page to be renewed, and what came of it, or why it failed."""
    try:
        told = await run_in_threadpool(deed)
    except GatewayError as failure:
        return dash.no_update, page.refused(failure.message)  # nothing changed; what was typed stays
    return time.time(), told
