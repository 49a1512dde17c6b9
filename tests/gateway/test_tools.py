"""The toolbox: tools are shared, counted, and closed after their last user."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tools import ToolBox


class Tool:
    """Something that counts how often it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        """Count."""
        self.closed += 1


def test_shared_and_closed_once() -> None:
    """Equal keys share one tool, which is closed when the last user gave it back."""
    box = ToolBox()
    first, second, other = box.borrow("a", Tool), box.borrow("a", Tool), box.borrow("b", Tool)
    assert first is second
    assert first is not other
    box.give_back("a")
    assert first.closed == 0
    box.give_back("a")
    assert (first.closed, len(box)) == (1, 1)
    assert box.borrow("a", Tool) is not first


def test_a_tool_that_cannot_be_made_leaves_nothing() -> None:
    """When making a tool fails, nothing is kept of it."""

    def make() -> Tool:
        raise OSError("no such file")

    box = ToolBox()
    with pytest.raises(OSError, match="no such file"):
        box.borrow("a", make)
    assert len(box) == 0


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=60))
def test_counts(steps: list[tuple[bool, str]]) -> None:
    """In any order of borrowing and giving back, a tool is open exactly while somebody has it."""
    box, held, made = ToolBox(), dict.fromkeys("abc", 0), []

    def make() -> Tool:
        made.append(Tool())
        return made[-1]

    for borrow, key in steps:
        if borrow:
            assert box.borrow(key, make).closed == 0
            held[key] += 1
        elif held[key]:
            box.give_back(key)
            held[key] -= 1
        assert len(box) == sum(count > 0 for count in held.values())
        assert sum(tool.closed == 0 for tool in made) == len(box)
    assert max((tool.closed for tool in made), default=0) <= 1
