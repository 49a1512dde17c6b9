"""Virtual keys: who has one, a new one, and the end of one."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.address import View
from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.parts import Column, Part, Tone, badge, card, link, notice, table

_STATES: dict[str, Tone] = {"living": "good", "revoked": "bad", "expired": "warn"}
_COLUMNS = (
    Column("Name"), Column("Key"), Column("Tenant"), Column("Team"), Column("Models"), Column("Made"), Column("Ends"),
    Column("State"), Column(""),
)  # fmt: skip
NEW = ("name", "tenant", "team", "models")


def keys(view: View, found: list[Json]) -> Part:
    """The page over every key."""
    body = table("Keys", _COLUMNS, [_row(view, key) for key in found], empty="No key was issued yet.")
    about = "Keys that applications show. Only a digest is kept. Keys in the policy file are seen there."
    return [_new(), card("Keys", body, about=about)]


def said(found: list[Json]) -> str:
    """The page in one sentence."""
    return f"{f.plural(sum(key['state'] == 'living' for key in found), 'living key')}."


def shown_once(secret: str) -> Part:
    """A new key, which nobody can show again."""
    text = [html.Code(secret, className="mono", id="secret"), " Copy it now: it is shown this once and kept nowhere."]
    return notice("The new key:", text, "good", is_alert=True)


def refused(why: str) -> Part:
    """Why a deed was not done."""
    return notice("Not done.", why, "bad", is_alert=True)


def _new() -> Part:
    helps = {
        "name": ("Name", "nightly-batch"),
        "tenant": ("Tenant", "acme"),
        "team": ("Team (may be empty)", ""),
        "models": ("Models (empty: all; globs, with commas)", ""),
    }
    fields: list[Any] = [
        dmc.TextInput(id=f"new-{name}", label=helps[name][0], placeholder=helps[name][1], size="xs", w=200)
        for name in NEW
    ]
    fields.append(html.Button("Make a key", id="make", type="button", className="button main"))
    return card("New key", html.Div(fields, className="tools end"), html.Div(id="made"))


def _row(view: View, key: Json) -> list[Part]:
    ends = key.get("expires")
    return [
        link(key["name"], view.page_link("/requests", key=key["name"])),
        html.Span(f"{key['prefix']}…", className="mono"),
        key["tenant"],
        key["team"] or f.NONE,
        ", ".join(key["models"]) or "all",
        f.moment(key["created"], view.zone),
        f.NONE if ends is None else f.moment(ends, view.zone),
        badge(key["state"], _STATES.get(key["state"], "")),
        _revoke(key["name"]) if key["state"] == "living" else "",
    ]


def _revoke(name: str) -> Part:
    """A button that asks before it ends a key."""
    return dcc.ConfirmDialogProvider(
        html.Button("Revoke", type="button", className="button"),
        id={"do": "revoke", "key": name},
        message=f"Revoke the key {name}? Its calls are refused within seconds, and it never comes back.",
    )
