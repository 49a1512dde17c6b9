"""A policy's text as it may be shown: a secret that someone wrote into it against the rules is not."""

from __future__ import annotations

import re
from collections.abc import Sequence

from policies.document import Node, UnreadableError, parse
from policies.expand import literal_secrets

HIDDEN = "***"
SHORTEST = 4  # characters; replacing shorter ones would spoil the text and hide nothing
MOST_SECRETS = 200
TOO_MANY = "# Not shown: too many secrets stand written out in it.\n"
# For what cannot be parsed: the value behind a `key:`, unless it is a ${NAME} or begins on the next line.
_PLAIN_KEY = re.compile(
    r"""(\bkey["']?\s*:[ \t]*)(?!["']?\$\{|[\s>|#])("[^"\n]*"|'[^'\n]*'|[^\s,}#]+)""", re.IGNORECASE
)


def shown(text: str) -> str:
    """The text with every secret that stands in it written out replaced by `***`; `${NAME}` stays as it is."""
    try:
        tree, _ = parse(text)
    except UnreadableError:
        return _PLAIN_KEY.sub(rf"\1{HIDDEN}", text)
    scalars = list(tree.scalars())
    were_bad = [node.bad for node in scalars]
    list(literal_secrets(tree))  # marks each as bad
    secrets = [node for node, was_bad in zip(scalars, were_bad, strict=True) if node.bad and not was_bad]
    if len(secrets) > MOST_SECRETS:
        return TOO_MANY
    text = _without_folded(text, secrets, scalars)
    for secret in sorted({node.text or "" for node in secrets}, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    return _PLAIN_KEY.sub(rf"\1{HIDDEN}", text)


def _without_folded(text: str, secrets: Sequence[Node], scalars: Sequence[Node]) -> str:
    """The text without the lines of secrets that stand there in other characters: escaped, or over several lines."""
    lines = text.split("\n")
    for node in secrets:
        if node.text and node.text not in text:
            end = min((other.line for other in scalars if other.line > node.line), default=len(lines) + 1)
            lines[node.line - 1 : end - 1] = [HIDDEN] + [""] * (end - node.line - 1)
    return "\n".join(lines)
