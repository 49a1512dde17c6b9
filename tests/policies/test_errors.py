"""How the problems of a file read."""

from __future__ import annotations

from policies.errors import PolicyError, Problem


def test_one_problem_a_line() -> None:
    """The error prints FILE:LINE: message, as editors and compilers do, and keeps the problems apart."""
    problems = [Problem("policy.yaml", 3, "one"), Problem("policy.yaml", 7, "two")]
    error = PolicyError(problems)
    assert str(error) == "policy.yaml:3: one\npolicy.yaml:7: two"
    assert error.problems == problems
