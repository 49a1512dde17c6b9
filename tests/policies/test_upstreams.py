"""An upstream is one of three kinds, and has nothing that its kind would ignore."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from policies.upstreams import BUNDLED, Upstream

SERVER = {"url": "http://127.0.0.1:8000/v1"}
PROVIDER = {"provider": "anthropic"}
ENGINE = {"engine": "llama.cpp", "gguf": "bundled:sluice-small"}


@pytest.mark.parametrize(("fields", "kind"), [(SERVER, "url"), (PROVIDER, "provider"), (ENGINE, "engine")])
def test_three_kinds(fields: dict[str, Any], kind: str) -> None:
    """An upstream says which kind it is."""
    assert Upstream.model_validate(fields).kind == kind


@pytest.mark.parametrize("fields", [{}, SERVER | PROVIDER, SERVER | ENGINE, PROVIDER | ENGINE, {"engine": "vllm"}])
def test_exactly_one_kind(fields: dict[str, Any]) -> None:
    """An upstream of no kind, of two, or of an unknown engine is refused."""
    with pytest.raises(ValidationError):
        Upstream.model_validate(fields)


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        (SERVER, {"gguf": "bundled:sluice-tiny"}),
        (SERVER, {"base": "http://127.0.0.1:1"}),
        (SERVER, {"slots": 2}),
        (PROVIDER, {"context": 4096}),
        (PROVIDER, {"ca": "ca.pem"}),
        (ENGINE, {"key": "a-secret"}),
        (ENGINE, {"headers": {"x-team": "a-secret"}}),
        (ENGINE, {"max_connections": 5}),
    ],
)
def test_nothing_is_ignored(fields: dict[str, Any], ignored: dict[str, Any]) -> None:
    """A setting that means nothing for the kind is refused by name, without its value."""
    with pytest.raises(ValidationError, match=f"{next(iter(ignored))} has no meaning") as refused:
        Upstream.model_validate(fields | ignored)
    assert "a-secret" not in str(refused.value)


def test_an_engine_needs_weights() -> None:
    """An engine without a GGUF has nothing to serve."""
    with pytest.raises(ValidationError, match="gguf"):
        Upstream.model_validate({"engine": "llama.cpp"})


def test_bundled_models_are_known() -> None:
    """The bundled models are accepted by name, and no other name is."""
    for name in BUNDLED:
        assert Upstream.model_validate({"engine": "llama.cpp", "gguf": f"bundled:{name}"}).gguf == f"bundled:{name}"
    with pytest.raises(ValidationError, match="bundled:sluice-tiny"):
        Upstream.model_validate({"engine": "llama.cpp", "gguf": "bundled:sluice-large"})


@pytest.mark.parametrize(
    "fields",
    [
        SERVER | {"headers": {"X-Team": "one", "x-team": "two"}},
        SERVER | {"key": "one", "headers": {"authorization": "Bearer two"}},
    ],
)
def test_one_header_of_a_name(fields: dict[str, Any]) -> None:
    """Of two headers with one name only one would be sent, so both are refused."""
    with pytest.raises(ValidationError):
        Upstream.model_validate(fields)


def test_equal_upstreams_are_one_tool() -> None:
    """Upstreams can be kept in a dict: equal ones are one entry, and another secret is another entry."""
    one, same = (Upstream(url="http://a/v1", key=SecretStr("k"), headers={"x-t": SecretStr("t")}) for _ in range(2))
    other = Upstream(url="http://a/v1", key=SecretStr("l"), headers={"x-t": SecretStr("t")})
    another = Upstream(url="http://a/v1", key=SecretStr("k"), headers={"x-t": SecretStr("u")})
    assert len({one, same, other, another}) == 3


def test_secrets_are_not_shown() -> None:
    """Printing an upstream prints no secret."""
    upstream = Upstream(url="http://a/v1", key=SecretStr("k-secret"), headers={"x-t": SecretStr("t-secret")})
    assert "secret" not in repr(upstream).replace("SecretStr", "") + upstream.model_dump_json()
