"""${ENV_NAME} in the values of a policy: replaced from the environment; secrets may come from nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from policies.document import Found, Node
from policies.scalars import REFERENCE

MOST_REFERENCES = 20  # in one value; a long variable repeated without end would fill the memory
_DOLLAR = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?")


def expand(tree: Node, env: Mapping[str, str]) -> tuple[dict[str, str], list[Found]]:
    """Replace every ${ENV_NAME} in the tree's values, in place; `$${` stands for `${` itself.

    Returns the variables used with their values, and what is wrong (line, message).
    """
    used: dict[str, str] = {}
    problems: list[Found] = []
    for node in tree.scalars():
        if node.text is not None and "${" in node.text:
            problems += _expand_scalar(node, node.text, env, used)
    return used, problems


def _expand_scalar(node: Node, text: str, env: Mapping[str, str], used: dict[str, str]) -> list[Found]:
    """Replace what one scalar refers to."""
    if text.count("${") > MOST_REFERENCES:
        node.bad = True
        return [(node.line, f"more than {MOST_REFERENCES} variables in one value")]
    problems: list[Found] = []

    def replaced(found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        if found[1] is None:
            problems.append((node.line, "a ${ that names no variable; write ${ENV_NAME}, or $${ for the characters"))
        elif not env.get(found[1]):
            state = "empty" if found[1] in env else "not set"
            problems.append((node.line, f"the environment variable {found[1]} is {state}"))
        else:
            used[found[1]] = env[found[1]]
        return used.get(found[1] or "", "")

    node.value = _DOLLAR.sub(replaced, text)
    node.bad = node.bad or bool(problems)
    return problems


def literal_secrets(tree: Node) -> Iterator[Found]:
    """Every secret written out in the file; the message does not repeat it, for logs are read by many."""
    for where, node in _secrets(tree):
        if not node.bad and not (node.text and re.search(REFERENCE, node.text.replace("$${", ""))):
            node.bad = True
            yield node.line, f"{where}: secrets are only ever ${{ENV_NAME}}"


def _secrets(tree: Node) -> Iterator[tuple[str, Node]]:
    """Where the language has secrets."""
    for upstream in tree.entries("upstreams").values():
        if key := upstream.get("key"):
            yield "key", key
        yield from (("headers", value) for value in upstream.entries("headers").values())
    for entry in tree.listed("keys"):
        if key := entry.get("key"):
            yield "key", key
