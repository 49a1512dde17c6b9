"""What stands on a page that was made but not drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dash.development.base_component import Component


def parts(found: Any) -> Iterator[Any]:
    """Every component and text, in order."""
    if isinstance(found, list | tuple):
        for one in found:
            yield from parts(one)
        return
    yield found
    if isinstance(found, Component):
        yield from parts(getattr(found, "children", None))


def text(found: Any) -> str:
    """What can be read."""
    return " ".join(" ".join(str(one) for one in parts(found) if isinstance(one, str | int | float)).split())


def links(found: Any) -> dict[str, str]:
    """Where each link leads, by its text."""
    anchors: list[Any] = [one for one in parts(found) if isinstance(one, Component) and getattr(one, "href", None)]
    return {text(getattr(one, "children", "")): one.href for one in anchors}
