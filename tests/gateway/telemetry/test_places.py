"""Tests of gateway.telemetry.places: providers and servers in the conventions' words."""

from __future__ import annotations

import pytest

from gateway.telemetry.places import Place, places
from policies.upstreams import Upstream


@pytest.mark.parametrize(
    ("upstream", "place"),
    [
        (Upstream(url="https://api.openai.com/v1"), Place("openai", "api.openai.com", 443)),
        (Upstream(url="http://gpu-1:8000/v1"), Place("openai", "gpu-1", 8000)),
        (Upstream(url="https://api.deepseek.com/v1"), Place("deepseek", "api.deepseek.com", 443)),
        (Upstream(provider="bedrock"), Place("aws.bedrock")),
        (Upstream(provider="anthropic", base="https://proxy.example"), Place("anthropic", "proxy.example", 443)),
        (Upstream(engine="llama.cpp", gguf="bundled:sluice-tiny"), Place("llama.cpp")),
    ],
    ids=lambda value: value.provider if isinstance(value, Place) else "",
)
def test_who_stands_behind_an_upstream(upstream: Upstream, place: Place) -> None:
    """A server by URL, a provider by its name in litellm, an engine of our own."""
    assert places({"it": upstream}) == {"it": place}
