"""What one part of a policy says of another, or of the disk: every name must exist, nothing may be a silent no-op.

These checks read the tree rather than the finished model, so that all problems of a file are told at once, the unknown
key and the unknown upstream alike. They expect nothing of the tree's shape; the model complains about that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from policies.costs import idle_money
from policies.document import Found, Node, quoted
from policies.model import LOCAL_TENANT, Cache, Part, RuleCache
from policies.reach import unreached
from policies.scalars import LONGEST_NAME, has_glob
from policies.upstreams import BUNDLED_PREFIX
from policies.words import suggestion

_P = TypeVar("_P", bound=Part)
KEY_HEADERS = frozenset({"api-key", "authorization", "cookie", "proxy-authorization", "x-api-key"})
INSTALL_PROVIDERS = "pip install 'sluice-gateway[providers]'"


def check(tree: Node, installed: Callable[[str], bool]) -> Iterator[Found]:
    """Every problem between parts of the policy, as (line, message). `installed` tells whether a module is there."""
    return chain(
        _models(tree),
        _providers(tree, installed),
        _files(tree),
        _duplicate_names(tree, "keys"),
        _duplicate_names(tree, "rules"),
        _duplicate_keys(tree),
        _key_models(tree),
        _rule_models(tree),
        _rule_headers(tree),
        _baselines(tree),
        _lifetimes(tree),
        idle_money(tree),
        unreached(tree),
    )


def doubts(tree: Node) -> Iterator[Found]:
    """What is probably a slip but may be right, as (line, message): tenants that no key of the file stands for."""
    named = (key.get("tenant") for key in tree.listed("keys"))
    names = {LOCAL_TENANT: LOCAL_TENANT, **{name.value: name.text or "" for name in named if name and name.value}}
    for rule in tree.listed("rules"):
        if (match := rule.get("match")) and (glob := match.get("tenant")):
            for line, message in _unmatched(glob, names, "tenant"):
                yield line, f"{message}; only a key that is not in this file could bear it"


def _models(tree: Node) -> Iterator[Found]:
    """No models at all, and targets that name no upstream."""
    models, upstreams = tree.entries("models"), tree.entries("upstreams")
    if not models and not _is_broken(tree, "models"):
        yield tree.line, "the policy has no models, so it could answer nothing"
    for target in chain.from_iterable(model.listed("targets") for model in models.values()):
        name = target.get("upstream")
        if name and name.value and not name.bad and name.value not in upstreams:
            yield name.line, f"no upstream is named {quoted(name.text or '')}{suggestion(name.value, upstreams)}"


def _is_broken(tree: Node, section: str) -> bool:
    """Say whether a section is there but is no mapping, of which the model complains by itself."""
    node = tree.get(section)
    return node is not None and (node.bad or node.fields is None)


def _providers(tree: Node, installed: Callable[[str], bool]) -> Iterator[Found]:
    """Providers that need the litellm library where it is missing."""
    for upstream in tree.entries("upstreams").values():
        if (provider := upstream.get("provider")) and provider.text and not installed("litellm"):
            yield provider.line, f"a provider needs the litellm library: {INSTALL_PROVIDERS}"


def _files(tree: Node) -> Iterator[Found]:
    """Files that are not there. Paths are whole by now."""
    for upstream in tree.entries("upstreams").values():
        for kind in ("gguf", "ca"):
            path = upstream.get(kind)
            if path and path.value and not path.bad and not _is_file(path.value):
                yield path.line, f"{kind}: there is no file {quoted(path.text or '')}"


def _is_file(path: str) -> bool:
    if path.startswith(BUNDLED_PREFIX):
        return True
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # too long a name, a NUL
        return False


def _duplicate_names(tree: Node, section: str) -> Iterator[Found]:
    """Two keys or two rules of one name."""
    first: dict[str, int] = {}
    for entry in tree.listed(section):
        if (name := entry.get("name")) and name.value and not name.bad:
            if name.value in first:
                shown = quoted(name.text or "")
                yield name.line, f"{section}: duplicate name {shown}; the first is on line {first[name.value]}"
            first.setdefault(name.value, name.line)


def _duplicate_keys(tree: Node) -> Iterator[Found]:
    """Two keys of one value, written out as its digest or not: whose call would it be?"""
    first: dict[str, int] = {}
    for entry in tree.listed("keys"):
        for node, digest in _digests(entry):
            if digest in first:
                yield node.line, f"this key has the same value as the one on line {first[digest]}"
            first.setdefault(digest, node.line)


def _digests(entry: Node) -> Iterator[tuple[Node, str]]:
    """What one entry says its key is, as `sha256:` and hexadecimal digits."""
    if (key := entry.get("key")) and key.value and not key.bad:
        yield key, f"sha256:{hashlib.sha256(key.value.encode('utf-8', 'surrogatepass')).hexdigest()}"
    if (digest := entry.get("hash")) and digest.value and not digest.bad:
        yield digest, digest.value


def _key_models(tree: Node) -> Iterator[Found]:
    """Keys that allow models which do not exist."""
    names = {name: name for name in tree.entries("models")}
    for key in tree.listed("keys"):
        for glob in key.listed("models"):
            yield from _unmatched(glob, names, "model")


def _rule_models(tree: Node) -> Iterator[Found]:
    """Rules for models that do not exist."""
    names = {name: name for name in tree.entries("models")}
    for rule in tree.listed("rules"):
        if (match := rule.get("match")) and (glob := match.get("model")):
            yield from _unmatched(glob, names, "model")


def _rule_headers(tree: Node) -> Iterator[Found]:
    """Rules that look at a header in which keys come: the file would hold one."""
    for rule in tree.listed("rules"):
        for name, node in (rule.get("match") or Node(1)).entries("header").items():
            if name.lower() in KEY_HEADERS:
                yield node.line, f"{quoted(name)} bears keys, so no rule may look at it; match a tenant or a tag"


def _baselines(tree: Node) -> Iterator[Found]:
    """Models measured against one that does not exist."""
    models = tree.entries("models")
    for model in models.values():
        name = model.get("baseline")
        if name and name.value and not name.bad and name.value not in models:
            yield name.line, f"baseline: no model is named {quoted(name.text or '')}{suggestion(name.value, models)}"


def _lifetimes(tree: Node) -> Iterator[Found]:
    """Rules that would serve answers which `cache.retention` has deleted by then."""
    stores = _read(Cache, tree.get("cache") or Node(1, fields={}))
    for node in filter(None, (rule.get("cache") for rule in tree.listed("rules"))):
        given = node.get("ttl") or node.get("stale_while_revalidate") or node.get("stale_if_error")
        cache = _read(RuleCache, node)
        if stores and cache and given and _longest(cache) > stores.retention:
            yield (
                given.line,
                "the ttl, stale time included, is longer than cache.retention, which deletes answers before",
            )


def _longest(cache: RuleCache) -> float:
    """How long after it was made an answer may serve, in seconds."""
    return cache.ttl + max(cache.stale_while_revalidate, cache.stale_if_error)


def _read(part: type[_P], node: Node) -> _P | None:
    """One part of the policy; None where it does not fit the language, of which the model complains by itself."""
    try:
        return part.model_validate(node.plain())
    except ValidationError:
        return None


def _unmatched(glob: Node, names: Mapping[str, str], kind: str) -> Iterator[Found]:
    """A glob, or a plain name, that means none of the names (each given with how the file writes it)."""
    if glob.bad or not glob.value or len(glob.value) > LONGEST_NAME:
        return
    shown = quoted(glob.text or "")
    if not has_glob(glob.value):
        if glob.value not in names:
            yield glob.line, f"no {kind} is named {shown}{suggestion(glob.value, names.values())}"
    elif not any(fnmatchcase(name, glob.value) for name in names):
        yield glob.line, f"{shown} matches no {kind}{suggestion(glob.value, names.values())}"
