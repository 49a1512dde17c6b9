"""A rule that no call ever reaches is refused, with the rule that takes its calls."""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path

import pytest

from policies.model import ENDPOINTS, Endpoint, Match, Policy, Rule
from policies.reach import covers
from tests.policies.files import SMALL, problems

ENDPOINTS_OR_ANY: tuple[Endpoint | None, ...] = (None, "chat")
BEHIND = "7: no call ever reaches this rule: {} fits every call before it"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{name: all}", "{name: b, match: {model: small}}"),
        ("{name: all, match: {}}", "{name: b}"),
        ('{name: all, match: {model: "*"}}', "{name: b}"),
        ("{name: all, match: {model: small}}", "{name: b, match: {model: small}}"),
        ("{name: all, match: {tenant: local}}", "{name: b, match: {tenant: local, endpoint: chat}}"),
        ('{name: all, match: {model: "s*"}}', "{name: b, match: {model: small}}"),
        ('{name: all, match: {tag: "a*"}}', "{name: b, match: {tag: ab}}"),
        ("{name: all, match: {header: {X-A: b}}}", "{name: b, match: {header: {x-a: b, x-c: d}}}"),
    ],
)
def test_a_rule_behind_another(tmp_path: Path, first: str, second: str) -> None:
    """A rule behind one that fits all of its calls, or more, is told at its line."""
    text = SMALL + f"rules:\n  - {first}\n  - {second}\n"
    assert problems(tmp_path, text) == [BEHIND.format('rule "all" on line 6')]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{name: a, match: {model: small}}", "{name: b}"),
        ("{name: a, match: {tag: x}}", "{name: b}"),
        ('{name: a, match: {tag: "*"}}', "{name: b}"),
        ('{name: a, match: {header: {x-a: "*"}}}', "{name: b}"),
        ("{name: a, match: {endpoint: chat}}", "{name: b, match: {model: small}}"),
        ('{name: a, match: {model: "sm*"}}', '{name: b, match: {model: "s*"}}'),
    ],
)
def test_a_rule_that_has_calls_left(tmp_path: Path, first: str, second: str) -> None:
    """A rule behind a narrower one, or another one, passes: a call may lack every tag and every header."""
    assert problems(tmp_path, SMALL + f"rules:\n  - {first}\n  - {second}\n") == []


def test_what_does_not_fit_the_language(tmp_path: Path) -> None:
    """A broken rule is told as such; it stands before no other and behind none."""
    for broken in ("[]", "5", "{name: a, match: 5}", "{name: a, match: {header: [x]}}", "{match: {modle: x}}"):
        found = problems(tmp_path, SMALL + f"rules:\n  - {broken}\n  - {{name: b}}\n")
        assert found
        assert not any("ever reaches" in problem for problem in found)


def test_a_rule_without_a_name(tmp_path: Path) -> None:
    """The rule that takes the calls is told by its line where it has no name."""
    found = problems(tmp_path, SMALL + "rules:\n  - {match: {}}\n  - {name: b}\n")
    assert BEHIND.format("the rule on line 6") in found


def test_no_call_is_left() -> None:
    """Where one match is said to cover another, no call fits the other alone."""
    globs, tags = (None, "a", "a*", "*"), (None, "a", "*")
    headers: list[dict[str, str]] = [{}, {"h": "a"}, {"H": "*"}]
    matches = [
        Match(model=model, endpoint=endpoint, tag=tag, header=header)
        for model, endpoint, tag, header in product(globs, ENDPOINTS_OR_ANY, tags, headers)
    ]
    calls = list(product(("a", "ab", "b"), ENDPOINTS, ((), ("a",), ("b",)), ({}, {"h": "a"}, {"h": "b"})))
    for wide, narrow in product(matches, matches):
        policy = Policy(rules=[Rule(name="wide", match=wide), Rule(name="narrow", match=narrow)])
        if covers(wide, narrow):
            reached = {policy.rule_for(model, "t", endpoint, tag, sent).name for model, endpoint, tag, sent in calls}
            assert "narrow" not in reached


def test_thousands_of_rules(tmp_path: Path) -> None:
    """Many rules are compared with the first hundred only, so that a hostile file costs little."""
    rules = "".join(f"  - {{name: r{i}, match: {{tag: t{i}}}}}\n" for i in range(4000))
    start = time.process_time()
    assert problems(tmp_path, SMALL + "rules:\n" + rules) == []
    assert time.process_time() - start < 20
