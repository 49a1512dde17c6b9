"""The policy: what is in force where, the last refused edit, the file, and the versions before it."""

from __future__ import annotations

from dash import dcc, html

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.address import View
from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.parts import Column, Part, badge, card, code, link, notice, table, wild


def policy(view: View, state: Json, versions: list[Json], difference: str | None) -> Part:
    """The page over the policy's state and its history."""
    names = {version["version"]: version["name"] for version in versions if version["name"]}
    return [
        *_refusals(state["workers"]),
        *_disagreement(state["workers"]),
        _workers(view, state["workers"], names),
        *([_difference(view, difference)] if difference is not None else []),
        _versions(view, versions),
        _file(state),
    ]


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


def _versions(view: View, versions: list[Json]) -> Part:
    columns = (Column("Version"), Column("Name"), Column("Came into force"), Column("Size", is_number=True), Column(""))
    rows = [_kept(view, versions, i) for i in range(len(versions))]
    body = table("Versions, the newest first", columns, rows, empty="No version is kept yet.")
    return card("History", body, about="Every version that came into force. One can be put back into the file.")


def _kept(view: View, versions: list[Json], i: int) -> list[Part]:
    version = versions[i]
    older = versions[i + 1]["version"] if i + 1 < len(versions) else None
    newest = versions[0]["version"]
    deeds: list[Part] = []
    if older:
        deeds.append(link("Changes", view.link(older=older, newer=version["version"]), css="button"))
    if i and version["version"] != newest:
        deeds.append(link("Against the newest", view.link(older=version["version"], newer=newest), css="button"))
    if not version["is_in_force"]:
        deeds.append(_restore(version["version"]))
    else:
        deeds.append(badge("in force", "good"))
    return [
        html.Span(version["version"], className="mono"),
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


def _difference(view: View, text: str) -> Part:
    lines = [html.Span(line + "\n", className=_mark(line)) for line in text.splitlines()]
    body = html.Pre(
        html.Code(lines or "The two do not differ."),
        className="code raw",
        tabIndex="0",
        role="region",
        **wild(aria_label="Difference"),
    )
    title = f"From {view.given.get('older', '')} to {view.given.get('newer', '')}"
    return card(title, body, aside=link("Close", view.link(older=None, newer=None)))


def _mark(line: str) -> str:
    return {"+": "add", "-": "del", "@": "at"}.get(line[:1], "")


def _file(state: Json) -> Part:
    if state["text"] is None:
        return card("File", notice("The file cannot be shown.", state["error"] or "", "bad"))
    about = "As it stands; while an edit is refused it differs from what is in force. Secrets are not shown."
    return card(f"File {state['file']}", code(state["text"], "The policy file"), about=about)
