"""Whose prices count for an upstream."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.money.lists import caches_unasked, list_of
from policies.model import Upstream


@pytest.mark.parametrize(
    ("fields", "provider"),
    [
        ({"url": "https://api.openai.com/v1"}, "openai"),
        ({"url": "https://API.OpenAI.com:443/v1"}, "openai"),
        ({"url": "https://eu.api.openai.com/v1"}, "openai"),
        ({"url": "https://generativelanguage.googleapis.com/v1beta/openai"}, "gemini"),
        ({"url": "https://acme.openai.azure.com/openai/v1"}, "azure"),
        ({"url": "https://openrouter.ai/api/v1"}, "openrouter"),
        ({"url": "https://api.openai.com.evil.example/v1"}, None),
        ({"url": "https://notapi.openai.com.example/v1"}, None),
        ({"url": "https://evilapi.openai.com/v1"}, None),
        ({"url": "https://openai.com/v1"}, None),
        ({"url": "http://127.0.0.1:8000/v1"}, None),
        ({"url": "http://[::1]:8000/v1"}, None),
        ({"url": "http://127.0.0.1:8000/v1", "price_list": "openai"}, "openai"),
        ({"url": "https://api.openai.com/v1", "price_list": "azure"}, "azure"),
        ({"provider": "anthropic"}, "anthropic"),
        ({"provider": "bedrock_converse"}, "bedrock"),
        ({"provider": "anthropic", "price_list": "vertex_ai"}, "vertex_ai"),
        ({"engine": "llama.cpp", "gguf": "bundled:sluice-tiny"}, None),
    ],
)
def test_whose_prices(fields: dict[str, Any], provider: str | None) -> None:
    """The policy's word, then the provider, then a host that is known, whole or after a dot; never a likeness."""
    assert list_of(Upstream(**fields)) == provider


def test_who_caches_unasked() -> None:
    """Claude caches a prefix only where the request asks, wherever it is served."""
    assert caches_unasked("openai", "gpt-4o")
    assert caches_unasked(None, "mine")
    assert not caches_unasked("anthropic", "whatever")
    assert not caches_unasked("vertex_ai", "claude-sonnet-4-5")
    assert not caches_unasked("bedrock", "amazon.nova-pro-v1:0")
