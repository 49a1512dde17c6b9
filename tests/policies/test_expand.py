"""${ENV_NAME} is replaced in values, and secrets come from nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from policies.document import parse
from policies.expand import expand, literal_secrets


def expanded(text: str, env: Mapping[str, str]) -> object:
    """A text's values after expansion, where nothing is wrong."""
    tree, _ = parse(text)
    _, wrong = expand(tree, env)
    assert wrong == []
    return tree.plain()


def test_whole_and_inside() -> None:
    """A variable may be the whole value or a part of it, several times."""
    env = {"A": "one", "B_2": "two"}
    assert expanded("a: ${A}\nb: 'Bearer ${A}'\nc: [x${A}${B_2}y]\n", env) == {
        "a": "one", "b": "Bearer one", "c": ["xonetwoy"],
    }  # fmt: skip


def test_an_escaped_dollar() -> None:
    """`$${` stands for `${`; a lone dollar for itself."""
    assert expanded("a: $${A}\nb: cost $5\nc: $A\n", {"A": "one"}) == {"a": "${A}", "b": "cost $5", "c": "$A"}


def test_values_are_not_expanded_again() -> None:
    """A variable whose value looks like a reference stays as it is."""
    assert expanded("a: ${A}\n", {"A": "${B}", "B": "secret"}) == {"a": "${B}"}


def test_values_are_no_yaml() -> None:
    """A variable cannot add keys, end a line or become null."""
    assert expanded("a: ${A}\n", {"A": "x\nb: 2"}) == {"a": "x\nb: 2"}
    assert expanded("a: ${A}\n", {"A": "null"}) == {"a": "null"}


@pytest.mark.parametrize(("env", "state"), [({}, "not set"), ({"NAME": ""}, "empty")])
def test_an_unset_variable(env: dict[str, str], state: str) -> None:
    """A variable that is unset or empty is named with its line."""
    tree, _ = parse("a: 1\nb: x${NAME}\n")
    assert expand(tree, env)[1] == [(2, f"the environment variable NAME is {state}")]


@pytest.mark.parametrize("text", ["a: '${}'\n", "a: '${1A}'\n", "a: '${A-B}'\n", "a: '${A:-default}'\n", "a: '${A'\n"])
def test_a_reference_that_is_none(text: str) -> None:
    """A `${` that names no variable is a mistake, not text."""
    tree, _ = parse(text)
    assert "names no variable" in expand(tree, {"A": "one"})[1][0][1]


def test_a_variable_repeated_without_end() -> None:
    """A long variable in one value a thousand times is refused before it fills the memory."""
    tree, _ = parse("a: " + "${A}" * 1000 + "\n")
    assert expand(tree, {"A": "x" * 100_000})[1] == [(1, "more than 20 variables in one value")]


def test_only_used_variables_are_told() -> None:
    """The version depends on the variables the policy names, not on the rest of the environment."""
    tree, _ = parse("a: ${A}\n# ${C}\n")
    assert expand(tree, {"A": "one", "B": "two", "C": "three"})[0] == {"A": "one"}


@pytest.mark.parametrize(
    "text",
    [
        "upstreams: {a: {key: sk-live-123}}\n",
        "upstreams: {a: {headers: {Authorization: Bearer sk-live-123}}}\n",
        "keys: [{key: sk-live-123}]\n",
        "keys: [{key: $${sk_live_123}}]\n",
        "keys: [{key: [sk-live-123]}]\n",
        "keys: [{key: {sk-live-123: 1}}]\n",
    ],
)
def test_secrets_written_out(text: str) -> None:
    """A key or header that stands in the file itself is refused without repeating it."""
    tree, _ = parse(text)
    [(line, message)] = list(literal_secrets(tree))
    assert (line, "secrets are only ever ${ENV_NAME}" in message, "live" in message) == (1, True, False)
