"""Two texts compared: as a unified diff, within a bearable time."""

from __future__ import annotations

import random
import time

from policies.difference import MOST_COMPARED, difference


def test_equal_texts() -> None:
    """Equal texts have no difference."""
    assert difference("a\nb\n", "a\nb\n", "x", "y") == ""
    assert difference("", "", "x", "y") == ""


def test_a_line_changed() -> None:
    """A changed line is told with what stands around it."""
    assert difference("a\nb\nc\n", "a\nB\nc\n", "x", "y") == "--- x\n+++ y\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"


def test_only_a_line_feed_ends_a_line() -> None:
    """Signs that some programs take for a line end do not forge a line of the difference."""
    told = difference("a\n", "a\u2028+forged\x85\r\n", "x", "y")
    assert told.split("\n")[3:] == ["-a", "+a\u2028+forged\x85\r", ""]


def test_texts_that_have_nothing_in_common() -> None:
    """Beyond a bound both are told whole, and every line of each is there."""
    old = "".join(f"old {i}\n" for i in range(MOST_COMPARED + 1))
    told = difference(old, "new\n", "x", "y")
    assert told.startswith(f"--- x\n+++ y\n@@ -1,{MOST_COMPARED + 1} +1,1 @@\n-old 0\n")
    assert told.count("\n") == MOST_COMPARED + 5


def test_the_worst_texts_take_little_time() -> None:
    """Texts made to be slow to compare, as long as a policy may be, are compared within seconds."""
    rng = random.Random(1)
    start = time.process_time()
    for lines in (MOST_COMPARED - 1, 200_000):
        old, new = ("".join(f"{rng.randrange(150)}\n" for _ in range(lines)) for _ in range(2))
        assert difference(old, new, "x", "y")
    assert time.process_time() - start < 30
