"""Tools: what is costly and outlives a pipeline (pools, breakers, models, indexes).

A tool is keyed by its own configuration, so that a reload which changes nothing about it keeps it, and counted, so that
it is closed when the last pipeline that used it is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar, cast


class Tool(Protocol):
    """Whatever must be closed."""

    def close(self) -> None:
        """Give everything back, without waiting."""


T = TypeVar("T", bound=Tool)


class ToolBox:
    """The tools in use, by key."""

    def __init__(self) -> None:
        self._tools: dict[Hashable, tuple[Any, int]] = {}

    def __len__(self) -> int:
        return len(self._tools)

    def borrow(self, key: Hashable, make: Callable[[], T]) -> T:
        """The tool of this key, made now if it is not there. Give it back once for every time it was borrowed."""
        tool, users = self._tools.get(key, (None, 0))
        if users == 0:
            tool = make()
        self._tools[key] = (tool, users + 1)
        return cast(T, tool)

    def give_back(self, key: Hashable) -> None:
        """Close the tool if nobody else uses it."""
        tool, users = self._tools.pop(key)
        if users > 1:
            self._tools[key] = (tool, users - 1)
        else:
            tool.close()
