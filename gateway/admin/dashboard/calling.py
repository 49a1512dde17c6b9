"""Whether a body calls one of our callbacks as the page does: Dash itself would fail at anything else, with a 500."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

_MOST = 2000  # buttons of one kind on a page
_LENGTH = 10_000


def is_call(body: bytes, callbacks: Mapping[str, Any]) -> bool:
    """Whether this is JSON for one of these, with the inputs, state and outputs that it has."""
    try:
        given = orjson.loads(body)
    except ValueError:
        return False
    if not isinstance(given, dict) or not isinstance(given.get("output"), str):
        return False
    declared = callbacks.get(given["output"])
    return (
        declared is not None
        and _fit(given.get("inputs"), declared["inputs"])
        and _fit(given.get("state", []), declared["state"])
        and _are_outputs(given.get("outputs"), given["output"])
        and _are_changed(given.get("changedPropIds"))
    )


def _fit(given: Any, declared: list[Any]) -> bool:
    return (
        isinstance(given, list)
        and len(given) == len(declared)
        and all(map(_is_given, given, (each["id"] for each in declared), (each["property"] for each in declared)))
    )


def _is_given(found: Any, name: str, part: str) -> bool:
    """Whether this is the value of that property; of a kind of buttons, those of all of them."""
    if name.startswith("{"):
        return isinstance(found, list) and len(found) <= _MOST and all(_is_button(one, part) for one in found)
    return isinstance(found, dict) and found.get("id") == name and found.get("property") == part and _is_plain(found)


def _is_button(found: Any, part: str) -> bool:
    return (
        isinstance(found, dict)
        and isinstance(found.get("id"), dict)
        and all(isinstance(value, str) for value in found["id"].values())
        and found.get("property") == part
        and isinstance(found.get("value"), int | None)
    )


def _is_plain(found: dict[str, Any]) -> bool:
    value = found.get("value")
    return isinstance(value, str | int | float | None) and len(str(value)) <= _LENGTH


def _are_outputs(given: Any, output: str) -> bool:
    if not isinstance(given, list):
        return False
    names = [f"{one.get('id')}.{one.get('property')}" if isinstance(one, dict) else "" for one in given]
    return names == output.strip(".").split("...")


def _are_changed(given: Any) -> bool:
    return isinstance(given, list) and len(given) <= _MOST and all(isinstance(one, str) for one in given)
