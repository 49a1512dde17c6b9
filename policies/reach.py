"""Rules that no call can ever reach, because a rule before them fits every call that they would."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from pydantic import ValidationError

from policies.document import Found, Node, quoted
from policies.model import Match
from policies.scalars import has_glob

MOST_COMPARED = 100  # rules that later ones are compared with; a file may hold thousands


def unreached(tree: Node) -> Iterator[Found]:
    """Every rule behind one that fits all of its calls."""
    before: list[tuple[Node, Match]] = []
    for rule in tree.listed("rules"):
        match = _match(rule)
        if match is None:
            continue
        cover = next((earlier for earlier, wider in before if covers(wider, match)), None)
        if cover is not None:
            yield rule.line, f"no call ever reaches this rule: {_named(cover)} fits every call before it"
        elif len(before) < MOST_COMPARED:
            before.append((rule, match))


def covers(wide: Match, narrow: Match) -> bool:
    """Say whether every call that `narrow` fits is one that `wide` fits; False where that is not plain to see."""
    headers = {name.lower(): glob for name, glob in narrow.header.items()}
    return (
        _glob_covers(wide.model, narrow.model)
        and _glob_covers(wide.tenant, narrow.tenant)
        and wide.endpoint in (None, narrow.endpoint)
        and (wide.tag is None or (narrow.tag is not None and _glob_covers(wide.tag, narrow.tag)))
        and all(_header_covers(glob, headers.get(name.lower())) for name, glob in wide.header.items())
    )


def _glob_covers(wide: str | None, narrow: str | None) -> bool:
    """Say whether one glob fits whatever the other fits. None, and `*`, fit everything."""
    if wide is None or wide == "*":
        return True
    return narrow is not None and (wide == narrow or (not has_glob(narrow) and fnmatchcase(narrow, wide)))


def _header_covers(wide: str, narrow: str | None) -> bool:
    """The same of a header, which a call may lack: then no glob fits it, not even `*`."""
    return narrow is not None and _glob_covers(wide, narrow)


def _match(rule: Node) -> Match | None:
    """Whom a rule is for; None where that does not fit the language, of which the model complains by itself."""
    if rule.bad or rule.fields is None:
        return None
    node = rule.get("match")
    try:
        return Match() if node is None else Match.model_validate(node.plain())
    except ValidationError:
        return None


def _named(rule: Node) -> str:
    name = rule.get("name")
    shown = f"rule {quoted(name.text)}" if name and name.text else "the rule"
    return f"{shown} on line {rule.line}"
