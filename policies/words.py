"""What may have been meant by a name that nothing bears."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

from policies.document import quoted


def suggestion(name: str, known: Iterable[str]) -> str:
    """What may have been meant, or what there is, as the end of a message."""
    names = sorted(islice(known, 500))  # comparing is slow, and a file may hold thousands
    if close := get_close_matches(name[:200], names, n=1):
        return f"; did you mean {quoted(close[0])}?"
    if not names:
        return ""
    return f"; there are {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"
