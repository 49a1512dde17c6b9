"""How one policy text differs from another, as a unified diff."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

MOST_COMPARED = 3000  # lines that differ; beyond it comparing takes long, and nobody reads it


def difference(before: str, after: str, name_before: str, name_after: str) -> str:
    """A unified diff of two texts; "" if they are equal. Texts that differ too much are told whole."""
    old, new = _lines(before), _lines(after)
    if old == new:
        return ""
    if max(_unlike(old, new)) > MOST_COMPARED:
        head = [f"--- {name_before}\n", f"+++ {name_after}\n", f"@@ -1,{len(old)} +1,{len(new)} @@\n"]
        return "".join([*head, *(f"-{line}" for line in old), *(f"+{line}" for line in new)])
    return "".join(difflib.unified_diff(old, new, name_before, name_after))


def _unlike(one: Sequence[str], other: Sequence[str]) -> tuple[int, int]:
    """How many lines of each are left between what both begin and end with."""
    shorter = min(len(one), len(other))
    start = next((i for i in range(shorter) if one[i] != other[i]), shorter)
    end = next((i for i in range(shorter - start) if one[-1 - i] != other[-1 - i]), shorter - start)
    return len(one) - start - end, len(other) - start - end


def _lines(text: str) -> list[str]:
    """The lines of a text, each with its end. Only a line feed ends one, as in the lines that problems name."""
    lines = [f"{line}\n" for line in text.split("\n")]
    return lines[:-1] if not text or text.endswith("\n") else lines
