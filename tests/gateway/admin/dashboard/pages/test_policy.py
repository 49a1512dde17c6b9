"""Tests of gateway.admin.dashboard.pages.policy: what can be put back, shown, compared and named."""

from __future__ import annotations

from typing import Any

from gateway.admin.dashboard.address import view
from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.pages.policy import named, policy, restored, tools
from gateway.admin.dashboard.parts import Part
from tests.gateway.admin.dashboard.made_up import NOW, MadeUpPolicies
from tests.gateway.admin.dashboard.reading import links, parts, text

A, B = "a" * 12, "b" * 12


def version(id_: str, **changed: Any) -> Json:
    """One time that a version came into force."""
    return {"version": id_, "at": NOW, "name": "", "bytes": 9, "is_in_force": False, **changed}


def restorable(found: Part) -> list[str]:
    """The versions that have a button."""
    return [one.id["version"] for one in parts(found) if isinstance(getattr(one, "id", None), dict)]


def page(drift: str | None = None, versions: list[Json] | None = None, search: str = "", **more: Any) -> Part:
    """The page over made-up versions."""
    source = MadeUpPolicies(drift=drift)
    return policy(view("/policy", search, NOW), source.state(), versions or source.versions(), **more)


def test_what_is_in_force_can_be_put_back_when_the_file_differs() -> None:
    """And what the file changed is shown; where the file is what is in force, only older versions have a button."""
    broken = page(drift="-good\n+bad\n")
    assert restorable(broken) == [B, A]
    assert f"The file is not what is in force ({B})." in text(broken)
    assert "+bad" in text(broken)
    assert restorable(page()) == [A]
    assert "The file is not" not in text(page())
    assert "differ only in what is not shown" in text(page(drift=""))


def test_a_version_that_came_back_has_one_button() -> None:
    """It stands once for each time; every one of them says that it is in force."""
    found = page(versions=[version(A, is_in_force=True), version(B), version(A), version(B)])
    assert restorable(found) == [B]
    assert text(found).count("in force again") == 1


def test_one_version_is_shown() -> None:
    """Its text, with a way back."""
    found = page(search=f"?newer={A}", text="# the text")
    assert f"Version {A}" in text(found)
    assert "# the text" in text(found)
    assert links(found)["Close"] == "/policy"
    assert links(page())["Text"] == f"/policy?newer={A}"


def test_any_two_are_compared_and_any_one_is_named() -> None:
    """The fields offer every version and every name, each once."""
    twice = [*MadeUpPolicies().versions(), version(A, name="before-launch")]
    fields = [one for one in parts(tools(view("/policy", "?live=off", NOW), twice)) if hasattr(one, "data")]
    assert [field.data for field in fields] == [[B, "before-launch", A]] * 3


def test_a_deed_says_so() -> None:
    """What was done stands there in words."""
    assert f"Version {A} stands in the policy file" in text(restored(A))
    assert "is named launch" in text(named(A, "launch"))
    assert "has no name now" in text(named(A, ""))
