"""The language's values: defaults, which rule applies, and that each field explains itself."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from policies.model import Model, Part, Policy, Rule, Upstream


def parts() -> list[type[Part]]:
    """Every part of the language."""
    return Part.__subclasses__()


def test_every_field_explains_itself() -> None:
    """Schema and docs are made from the descriptions, so each field has one: a sentence."""
    for part in parts():
        for name, field in part.model_fields.items():
            assert (field.description or "").endswith("."), f"{part.__name__}.{name}"


def test_defaults() -> None:
    """A policy of one server and one model has the documented defaults everywhere else."""
    upstream = Upstream(url="http://127.0.0.1:8000/v1")
    assert (upstream.timeouts.connect, upstream.timeouts.first_byte, upstream.timeouts.idle) == (2.0, 60.0, 60.0)
    assert (upstream.breaker.window, upstream.breaker.open, upstream.breaker.slow) == (20, 10.0, None)
    assert Model.model_validate({"targets": [{"upstream": "a"}]}).serves == ["chat", "completions", "embeddings"]
    assert Policy().limits.body == 32_000_000
    assert Policy().limits.messages is None


def test_a_policy_never_changes() -> None:
    """A policy in use cannot be edited in place."""
    with pytest.raises(ValidationError):
        Policy().version = 1


def test_a_model_needs_a_target() -> None:
    """A model that nobody answers is refused."""
    with pytest.raises(ValidationError):
        Model.model_validate({"targets": []})


def test_the_first_rule_that_fits() -> None:
    """Rules are tried in order by model, tenant and endpoint; what a rule does not give fits every call."""
    policy = Policy.model_validate(
        {
            "rules": [
                {"name": "batch", "match": {"tenant": "acme", "model": "gpt-*", "endpoint": "chat"}},
                {"name": "acme", "match": {"tenant": "ac?e"}},
                {"name": "vectors", "match": {"endpoint": "embeddings"}},
            ]
        }
    )
    assert policy.rule_for("gpt-4o", "acme", "chat").name == "batch"
    assert policy.rule_for("gpt-4o", "acme", "completions").name == "acme"
    assert policy.rule_for("GPT-4o", "acme", "chat").name == "acme"
    assert policy.rule_for("any", "local", "embeddings").name == "vectors"


def test_the_rule_when_none_fits() -> None:
    """A call that no rule fits gets every default, under the name "default"."""
    assert Policy().rule_for("gpt-4o", "local", "chat") == Rule(name="default")
    assert Rule(name="default").timeouts.total == 600.0
    assert (Rule(name="default").retry.attempts, Rule(name="default").retry.budget) == (3, 0.1)


def test_a_complaint_repeats_no_input() -> None:
    """The error of a policy made in code does not show what was given, for it may be a secret."""
    with pytest.raises(ValidationError) as refused:
        Policy.model_validate({"keys": [{"name": "a", "key": "my-secret", "tenant": "t"}]})
    assert "my-secret" not in str(refused.value)
