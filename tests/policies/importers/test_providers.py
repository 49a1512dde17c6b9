"""Who is meant by a model's name in LiteLLM's configuration."""

from __future__ import annotations

import pytest

from policies.importers.providers import provider_and_model


@pytest.mark.parametrize(
    ("full", "given", "found"),
    [
        ("openai/gpt-4o", None, ("openai", "gpt-4o")),
        ("openrouter/anthropic/claude", None, ("openrouter", "anthropic/claude")),
        ("gpt-4o", None, ("openai", "gpt-4o")),
        ("claude-sonnet-4-5", None, ("anthropic", "claude-sonnet-4-5")),
        ("something", None, ("", "something")),
        ("deepseek-chat", "deepseek", ("deepseek", "deepseek-chat")),
        ("deepseek/deepseek-chat", "deepseek", ("deepseek", "deepseek-chat")),
        ("org/model", "openai", ("openai", "org/model")),
        ("", None, ("", "")),
    ],
)
def test_who_is_meant(full: str, given: str | None, found: tuple[str, str]) -> None:
    """The word before the first slash, the provider given beside the name, or who is known by such names."""
    assert provider_and_model(full, given) == found
