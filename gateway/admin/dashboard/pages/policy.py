"""The policy: what is in force where, the last refused edit, the file, and the versions before it."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.address import View
from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.parts import Column, Part, badge, card, code, link, notice, table, wild


def policy(
    view: View, state: Json, versions: list[Json], difference: str | None = None, text: str | None = None
) -> Part:
    """The page over the policy's state and its history, with the difference or the text that the URL asks for."""
    names = {version["version"]: version["name"] for version in versions if version["name"]}
    return [
        *_refusals(state["workers"]),
        *_disagreement(state["workers"]),
        _workers(view, state["workers"], names),
        *_asked(view, difference, text),
        *_drift(state, versions),
        _versions(view, versions, is_restorable=bool(state["differs"])),
        _file(state),
    ]


def tools(view: View, versions: list[Json]) -> Part:
    """Any two versions compared, any one named. In the page's head, which no renewal touches."""
    known = list(dict.fromkeys(word for version in versions for word in (version["name"], version["version"]) if word))
    kept = {name: view.given[name] for name in ("live",) if name in view.given}
    compared = [_version_field(known, label, name=name, value=view.given.get(name, "")) for name, label in _COMPARED]
    compare = html.Form(
        [*compared, html.Button("Show", type="submit", className="button main")],
        method="get",
        action="/policy",
        className="filters",
        **wild(aria_label="Show or compare versions", data_nav="1", data_keep=View("", kept).link().removeprefix("?")),
    )
    fields = [
        _version_field(known, "Version", id="name-version"),
        dmc.TextInput(id="name-name", label="Its name (empty: none)", size="xs", w=170, autoComplete="off"),
        html.Button("Name it", id="name-it", type="submit", className="button"),
    ]
    # Sent nowhere: a click on its button, which Enter in a field is too, calls the server.
    naming = html.Form(fields, method="dialog", className="filters", **wild(aria_label="Name a version"))
    return html.Div([compare, naming], className="card tools spaced end")


_COMPARED = (("older", "From (may be empty)"), ("newer", "Version or name"))


def _version_field(known: list[str], label: str, **more: Any) -> Part:
    return dmc.Autocomplete(label=label, data=known, size="xs", w=170, limit=30, **more)


def restored(version: str) -> Part:
    """That a version was put back."""
    text = f"Version {version} stands in the policy file; the workers take it up within seconds."
    return notice("Done.", text, "good", is_alert=True)


def named(version: str, name: str) -> Part:
    """That a version was named."""
    text = f"Version {version} is named {name}." if name else f"Version {version} has no name now."
    return notice("Done.", text, "good", is_alert=True)


def said(state: Json) -> str:
    """The page in one sentence."""
    versions = sorted({worker["version"] for worker in state["workers"] if worker["alive"]} - {""})
    refused = " The last edit was refused." if any(w["refusal"] for w in state["workers"] if w["alive"]) else ""
    return f"In force: {', '.join(versions) or 'none'}.{refused}"


def _refusals(workers: list[Json]) -> list[Part]:
    found = dict.fromkeys(worker["refusal"] for worker in workers if worker["alive"] and worker["refusal"])
    return [
        notice(
            "The last edit was refused; the policy before it stays in force.",
            html.Pre(refusal, className="code"),
            "bad",
            is_alert=True,
        )
        for refusal in found
    ]


def _disagreement(workers: list[Json]) -> list[Part]:
    if len({worker["version"] for worker in workers if worker["alive"]}) < 2:
        return []
    return [notice("The workers differ.", "One of them has not taken up the newest version yet.", "warn")]


def _workers(view: View, workers: list[Json], names: dict[str, str]) -> Part:
    columns = (
        Column("Worker"),
        Column("State"),
        Column("In force"),
        Column("Edits taken", is_number=True),
        Column("Edits refused", is_number=True),
        Column("Seen"),
    )
    rows = [
        [
            str(worker["worker"]),
            badge("lives", "good") if worker["alive"] else badge("gone", "bad"),
            _version(worker["version"], names.get(worker["version"], "")),
            f.count(worker["reloads"]["ok"]),
            f.count(worker["reloads"]["refused"]),
            f.moment(worker["seen"], view.zone),
        ]
        for worker in workers
    ]
    return card("In force", table("The policy in force, by worker", columns, rows, empty="No worker has written yet."))


def _version(version: str, name: str) -> Part:
    return html.Span([html.Span(version or f.NONE, className="mono"), f" {name}" if name else ""])


def _versions(view: View, versions: list[Json], *, is_restorable: bool) -> Part:
    columns = (
        Column("Version"),
        Column("Name"),
        Column("Came into force"),
        Column("Size", is_number=True),
        Column("What can be done", is_hidden=True),
    )
    seen: set[str] = set()
    rows = []
    for i, version in enumerate(versions):
        is_first = version["version"] not in seen  # of the times that it came into force: a button stands once
        seen.add(version["version"])
        rows.append(_kept(view, versions, i, is_restorable=is_first and (is_restorable or not _is_now(versions, i))))
    body = table("Versions, the newest first", columns, rows, empty="No version is kept yet.")
    about = "Every time that a version came into force. One can be put back into the file."
    return card("History", body, about=about)


def _is_now(versions: list[Json], i: int) -> bool:
    """Whether what came into force then is in force now, then or again."""
    return any(version["is_in_force"] and version["version"] == versions[i]["version"] for version in versions)


def _kept(view: View, versions: list[Json], i: int, *, is_restorable: bool) -> list[Part]:
    version = versions[i]
    name = version["version"]
    older = versions[i + 1]["version"] if i + 1 < len(versions) else None
    newest = versions[0]["version"]
    deeds: list[Part] = [link("Text", view.link(older=None, newer=name), css="button")]
    if older:
        deeds.append(link("Changes", view.link(older=older, newer=name), css="button"))
    if name != newest:
        deeds.append(link("Against the newest", view.link(older=name, newer=newest), css="button"))
    if is_restorable:
        deeds.append(_restore(name))
    if _is_now(versions, i):
        deeds.append(badge("in force" if version["is_in_force"] else "in force again", "good"))
    return [
        html.Span(name, className="mono"),
        version["name"] or f.NONE,
        f.moment(version["at"], view.zone),
        f.size(version["bytes"]),
        html.Div(deeds, className="tools"),
    ]


def _restore(version: str) -> Part:
    """A button that asks before it writes."""
    return dcc.ConfirmDialogProvider(
        html.Button("Restore", type="button", className="button"),
        id={"do": "restore", "version": version},
        message=f"Put version {version} back into the policy file? What is there now stays in the history.",
    )


def _asked(view: View, difference: str | None, text: str | None) -> list[Part]:
    close = link("Close", view.link(older=None, newer=None))
    older, newer = view.given.get("older", ""), view.given.get("newer", "")
    if difference is not None:
        return [card(f"From {older} to {newer}", _changes(difference, "The two do not differ."), aside=close)]
    return [] if text is None else [card(f"Version {newer}", code(text, f"Version {newer}"), aside=close)]


def _drift(state: Json, versions: list[Json]) -> list[Part]:
    """How the file differs from what is in force, and that this can be put back."""
    if not state["differs"]:
        return []
    kept = next((version["version"] for version in versions if version["is_in_force"]), "")
    text = (
        "While it is refused or cannot be read, the workers go on as before; a gateway that starts anew would not. "
        "Restore below puts back what is in force."
    )
    told: list[Part] = [notice(f"The file is not what is in force ({kept}).", text, "warn")]
    if state["text"] is not None:
        told.append(_changes(state["drift"], "The two differ only in what is not shown here, or in line ends."))
    return [card("The file against what is in force", *told)]


def _changes(text: str, otherwise: str) -> Part:
    lines = [html.Span(line + "\n", className=_mark(line)) for line in text.splitlines()]
    return html.Pre(
        html.Code(lines or otherwise),
        className="code raw",
        tabIndex="0",
        role="region",
        **wild(aria_label="Difference"),
    )


def _mark(line: str) -> str:
    return {"+": "add", "-": "del", "@": "at"}.get(line[:1], "")


def _file(state: Json) -> Part:
    if state["text"] is None:
        return card("File", notice("The file cannot be shown.", state["error"] or "", "bad"))
    about = "As it stands; while an edit is refused it differs from what is in force. Secrets are not shown."
    return card(f"File {state['file']}", code(state["text"], "The policy file"), about=about)
