"""Tests of gateway.admin.dashboard.pages.keys: who has a key, and where one is made."""

from __future__ import annotations

from gateway.admin.dashboard.address import view
from gateway.admin.dashboard.pages.keys import NEW, form, keys, revoked, said, shown_once
from tests.gateway.admin.dashboard.made_up import NOW, key
from tests.gateway.admin.dashboard.reading import parts, text

VIEW = view("/keys", "", NOW)


def test_keys_of_both_kinds() -> None:
    """Those of the policy stand beside issued ones, and only what was issued and lives can be revoked."""
    found = [
        key("file", source="policy", prefix="", created=None),
        key("file", state="shadowed"),
        key("job", tags=["nightly", "eu"], expires=NOW + 60),
        key("old", state="revoked"),
    ]
    page = keys(VIEW, {"keys": found, "trouble": ""})
    for part in ("policy", "shadowed", "nightly, eu", "2027-01-15 08:01:00"):
        assert part in text(page)
    assert [one.id["key"] for one in parts(page) if isinstance(getattr(one, "id", None), dict)] == ["file", "job"]


def test_trouble_comes_first() -> None:
    """A store that can be read only in part is told of, also to who listens."""
    told = {"keys": [], "trouble": "Redis cannot be reached; keys of other gateways are missing."}
    assert text(keys(VIEW, told)).startswith("The keys may not be all: Redis cannot be reached;")
    assert "Redis cannot be reached" in said(told)


def test_a_form_that_enter_sends() -> None:
    """A real form with a button that submits, which goes nowhere by itself; every field has its label."""
    found = list(parts(form()))
    [sent] = [one for one in found if type(one).__name__ == "Form"]
    assert sent.method == "dialog"
    assert [one.id for one in found if type(one).__name__ == "TextInput" and one.label] == [f"new-{n}" for n in NEW]
    assert [one.type for one in found if getattr(one, "id", "") == "make"] == ["submit"]


def test_a_secret_can_be_copied() -> None:
    """The button has it."""
    assert [one.value for one in parts(shown_once("sk-1")) if type(one).__name__ == "CopyButton"] == ["sk-1"]
    assert "job is revoked" in text(revoked("job"))
