"""The language's values: defaults, which rule applies, and that each field explains itself."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from policies.model import Key, Match, Model, Policy, Price, Rule, Upstream
from tests.policies.files import parts


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


def test_rules_by_tag_and_header() -> None:
    """One tag of the call must fit, and every header named; without them such a rule fits no call."""
    policy = Policy.model_validate(
        {
            "rules": [
                {"name": "nightly", "match": {"tag": "batch-*"}},
                {"name": "beta", "match": {"header": {"X-Stage": "beta*", "x-app": "*"}}},
            ]
        }
    )
    assert policy.rule_for("m", "t", "chat").name == "default"
    assert policy.rule_for("m", "t", "chat", ["a", "batch-1"]).name == "nightly"
    assert policy.rule_for("m", "t", "chat", [], {"x-stage": "beta-2", "x-app": ""}).name == "beta"
    assert policy.rule_for("m", "t", "chat", [], {"x-stage": "beta-2"}).name == "default"
    assert [Match(tag="a").asks_the_call, Match(header={"a": "b"}).asks_the_call] == [True, True]
    assert not Match(model="m", tenant="t", endpoint="chat").asks_the_call


def test_one_key() -> None:
    """A key is given itself or by its digest, never both and never neither."""
    for given in ({}, {"key": "k" * 16, "hash": "sha256:" + "0" * 64}):
        with pytest.raises(ValidationError, match="exactly one of key and hash"):
            Key.model_validate({"name": "a", "tenant": "t", **given})


def test_a_price_says_something() -> None:
    """A price without its line for input is refused, and so is one beside a machine: a call has one price."""
    with pytest.raises(ValidationError, match="line for input"):
        Price(output=1)
    with pytest.raises(ValidationError, match="one price"):
        Upstream.model_validate({"url": "http://a/v1", "machine": {"usd_per_hour": 1}, "prices": {"*": {"input": 1}}})


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
