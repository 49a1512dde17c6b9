"""A policy file and an environment in; a checked Policy out, or every problem with its file and line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from types import UnionType
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from policies.checks import check, doubts
from policies.document import Found, Node, UnreadableError, parse, printable, quoted, read_text
from policies.errors import PolicyError, Problem
from policies.expand import expand, literal_secrets
from policies.model import BUNDLED_PREFIX, Part, Policy
from policies.words import suggestion

__all__ = ["LoadedPolicy", "PolicyError", "Problem", "load", "load_text"]

MOST_PROBLEMS = 100  # told of one file; nobody reads more at once

_EXPECTED = {  # pydantic speaks of Python's types; people who edit YAML know these words
    "dict_type": "a mapping of keys to values is expected here",
    "model_type": "a mapping of keys to values is expected here",
    "list_type": "a list is expected here",
    "string_type": "a single value is expected here",
}


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy ready for use. `text` is the file's own, so it holds no secret; `version` changes with any of them.

    `doubts` are what is probably a slip of the pen but may be right.
    """

    policy: Policy
    version: str
    path: Path
    text: str
    doubts: tuple[Problem, ...] = ()


def _is_installed(module: str) -> bool:
    """Say whether a module could be imported, without importing it."""
    return find_spec(module) is not None


def load(
    path: Path,
    env: Mapping[str, str],
    extra_gguf: Sequence[Path] = (),
    *,
    is_installed: Callable[[str], bool] = _is_installed,
) -> LoadedPolicy:
    """Read a policy; each file of `extra_gguf` becomes an engine and a model named by the file's stem.

    Raises:
        PolicyError: with all problems of the file, none of which tells a secret.
    """
    try:
        text = read_text(path)
    except UnreadableError as error:
        raise PolicyError([Problem(str(path), error.line, error.message)]) from error
    return load_text(text, path, env, extra_gguf, is_installed=is_installed)


def load_text(
    text: str,
    path: Path,
    env: Mapping[str, str],
    extra_gguf: Sequence[Path] = (),
    *,
    is_installed: Callable[[str], bool] = _is_installed,
) -> LoadedPolicy:
    """The policy of a text, as if it stood in the file at `path`. Raises PolicyError, as `load` does."""
    try:
        tree, problems = parse(text)
    except UnreadableError as error:
        raise PolicyError([Problem(str(path), error.line, error.message)]) from error
    used, unset = expand(tree, env)
    problems += unset
    problems += literal_secrets(tree)
    problems += _add_engines(tree, extra_gguf)
    _make_paths_whole(tree, path.parent)
    policy, misfits = _validated(tree)
    problems += misfits
    problems += islice(check(tree, is_installed), MOST_PROBLEMS + 1)
    if problems or policy is None:
        raise PolicyError(_told(path, problems))
    return LoadedPolicy(
        policy, _version(text, used, extra_gguf), path, text, tuple(_told(path, islice(doubts(tree), MOST_PROBLEMS)))
    )


def _told(path: Path, problems: Iterable[Found]) -> list[Problem]:
    """The problems in the order of the file, each once, and no more of them than anyone reads."""
    found = sorted(set(problems))
    told = [Problem(str(path), line, message) for line, message in found[:MOST_PROBLEMS]]
    if len(found) > MOST_PROBLEMS:
        told.append(Problem(str(path), told[-1].line, "and more problems"))
    return told


def _add_engines(tree: Node, files: Sequence[Path]) -> list[Found]:
    """Put the user's own weights into the tree, as if the file had named them."""
    top = tree.fields if tree.fields is not None else {}
    upstreams, models = (top.setdefault(name, Node(1, fields={})) for name in ("upstreams", "models"))
    problems: list[Found] = []
    for file in files:
        name = file.stem
        if name in (upstreams.fields or {}) or name in (models.fields or {}):
            problems.append((1, f"--gguf {quoted(file.name)}: the policy already has an entry named {quoted(name)}"))
        elif upstreams.fields is not None and models.fields is not None:
            weights = _scalar(str(file.absolute()))
            upstreams.fields[name] = Node(1, fields={"engine": _scalar("llama.cpp"), "gguf": weights})
            target = Node(1, fields={"upstream": _scalar(name)})
            models.fields[name] = Node(1, fields={"targets": Node(1, items=[target])})
    return problems


def _scalar(text: str) -> Node:
    return Node(1, text=text, value=text)


def _make_paths_whole(tree: Node, folder: Path) -> None:
    """Read paths from the policy's own folder, wherever the gateway was started."""
    for upstream in tree.entries("upstreams").values():
        for node in (upstream.get("gguf"), upstream.get("ca")):
            if node and node.value and not node.value.startswith(BUNDLED_PREFIX):
                node.value = str((folder / node.value).absolute())


def _validated(tree: Node) -> tuple[Policy | None, list[Found]]:
    """The policy, or what does not fit the language."""
    try:
        return Policy.model_validate(tree.plain()), []
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    misfits = [(*_node_at(tree, detail["loc"]), detail) for detail in found]
    complaints = [(node.line, detail) for node, exact, detail in misfits if not (exact and node.bad)]
    complaints.sort(key=lambda complaint: complaint[0])
    return None, [(line, _words(detail)) for line, detail in complaints[: MOST_PROBLEMS + 1]]


def _node_at(tree: Node, loc: Sequence[int | str]) -> tuple[Node, bool]:
    """The node a complaint is about, or the nearest one above it, and whether it is the very node."""
    node = tree
    for step in loc:
        below = node.items[step] if isinstance(step, int) and node.items else node.get(str(step))
        if below is None:
            return node, False
        node = below
    return node, True


def _words(detail: ErrorDetails) -> str:
    """One complaint in plain words. Only keys of the file are repeated, never values."""
    where = ".".join(printable(str(step)) for step in detail["loc"] if step != "[key]")
    if detail["type"] == "extra_forbidden":
        above, key = detail["loc"][:-1], str(detail["loc"][-1])
        place = where.rpartition(f".{printable(key)}")[0]
        return f"unknown key {quoted(key)}{f' in {place}' if place else ''}{suggestion(key, _keys_at(above))}"
    if detail["type"] == "missing":
        return f"{where} is missing"
    message = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else detail["msg"]
    message = _EXPECTED.get(detail["type"], message[:1].lower() + message[1:])
    return f"{where}: {message}" if where else message


def _keys_at(loc: Sequence[int | str]) -> Iterable[str]:
    """The keys the language knows at a place in the file."""
    kind: Any = Policy
    for step in loc:
        part = _part_of(kind)
        kind = part.model_fields[str(step)].annotation if part else get_args(kind)[-1]  # values of a dict, of a list
    part = _part_of(kind)
    return part.model_fields if part else ()


def _part_of(kind: Any) -> type[Part] | None:
    """The part of the language that a field holds, if it holds one; `Machine | None` holds a Machine."""
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    return next((each for each in kinds if isinstance(each, type) and issubclass(each, Part)), None)


def _version(text: str, used: Mapping[str, str], extra_gguf: Sequence[Path]) -> str:
    """A short name for this text with these values: too short to tell the values, long enough to tell two apart."""
    digest = hashlib.blake2b(digest_size=6, person=b"sluice-policy")
    values = (part for name in sorted(used) for part in (name, used[name]))
    for part in [text, *map(str, extra_gguf), *values]:
        content = part.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()
