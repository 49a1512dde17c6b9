"""Virtual keys: who has one, a new one, and the end of one."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.address import View
from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.parts import Column, Part, Tone, badge, card, link, notice, table, wild

_STATES: dict[str, Tone] = {"living": "good", "revoked": "bad", "expired": "warn", "shadowed": "warn"}
_COLUMNS = (
    Column("Name"),
    Column("Key"),
    Column("From", help="policy: it stands in the policy file. issued: it was made here or by the command line."),
    Column("Tenant"),
    Column("Team"),
    Column("Tags"),
    Column("Models"),
    Column("Made"),
    Column("Ends"),
    Column("State", help="shadowed: the policy has a key of this name, and that one is seen."),
    Column("What can be done", is_hidden=True),
)
_FIELDS = {
    "name": ("Name", "nightly-batch"),
    "tenant": ("Tenant", "acme"),
    "team": ("Team", "none"),
    "models": ("Models, with commas", "all, or gpt-*"),
    "tags": ("Tags, with commas", "none"),
    "expires": ("Expires in", "never, or 30d"),
}
NEW = tuple(_FIELDS)


def keys(view: View, told: Json) -> Part:
    """The page over every key."""
    trouble = [notice("The keys may not be all:", told["trouble"], "warn", is_alert=True)] if told["trouble"] else []
    body = table("Keys", _COLUMNS, [_row(view, key) for key in told["keys"]], empty="There is no key yet.")
    about = "Keys that applications show. Of those made here only a digest is kept."
    return [*trouble, card("Keys", body, about=about)]


def said(told: Json) -> str:
    """The page in one sentence."""
    living = sum(key["state"] == "living" for key in told["keys"])
    return " ".join([f"{f.plural(living, 'living key')}.", told["trouble"]]).strip()


def form() -> Part:
    """Where a key is made. It stands in the head of the page, which no renewal touches."""
    fields: list[Any] = [
        dmc.TextInput(
            id=f"new-{name}", label=label, placeholder=example, size="xs", w=170, autoComplete="off", spellCheck="false"
        )
        for name, (label, example) in _FIELDS.items()
    ]
    fields.append(html.Button("Make a key", id="make", type="submit", className="button main"))
    # Sent nowhere: a click on its button, which Enter in a field is too, calls the server.
    return card("New key", html.Form(fields, method="dialog", className="filters", **wild(aria_label="New key")))


def shown_once(secret: str) -> Part:
    """A new key, which nobody can show again."""
    text = [
        html.Code(secret, className="mono", id="secret"),
        " ",
        dmc.CopyButton("Copy", value=secret, copiedChildren="Copied", size="compact-xs", variant="default"),
        " Copy it now: it is shown this once and kept nowhere.",
    ]
    return notice("The new key:", text, "good", is_alert=True)


def revoked(name: str) -> Part:
    """That a key was ended."""
    return notice("Done.", f"The key {name} is revoked; its calls are refused within seconds.", "good", is_alert=True)


def refused(why: str) -> Part:
    """Why a deed was not done."""
    return notice("Not done.", why, "bad", is_alert=True)


def _row(view: View, key: Json) -> list[Part]:
    made, ends = key["created"], key["expires"]
    is_issued = key["source"] == "issued"
    return [
        link(key["name"], view.page_link("/requests", key=key["name"])),
        html.Span(f"{key['prefix']}…", className="mono") if key["prefix"] else f.NONE,
        key["source"],
        key["tenant"],
        key["team"] or f.NONE,
        ", ".join(key["tags"]) or f.NONE,
        ", ".join(key["models"]) or "all",
        f.NONE if made is None else f.moment(made, view.zone),
        f.NONE if ends is None else f.moment(ends, view.zone),
        badge(key["state"], _STATES.get(key["state"], "")),
        _revoke(key["name"]) if is_issued and key["state"] in {"living", "shadowed"} else "",
    ]


def _revoke(name: str) -> Part:
    """A button that asks before it ends a key."""
    return dcc.ConfirmDialogProvider(
        html.Button("Revoke", type="button", className="button"),
        id={"do": "revoke", "key": name},
        message=f"Revoke the key {name}? Its calls are refused within seconds, and it never comes back.",
    )
