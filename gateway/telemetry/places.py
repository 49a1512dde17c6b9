"""Who stands behind an upstream: the provider's name in OpenTelemetry's GenAI conventions, and the server's address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from policies.upstreams import Upstream

# litellm's names on the left. What the conventions do not name keeps its own.
PROVIDERS = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
HOSTS = {
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
}
SPEAKS_OPENAI = "openai"  # what the conventions say of a server that is known by its format only


@dataclass(frozen=True, slots=True)
class Place:
    """One upstream, as a span tells of it."""

    provider: str
    address: str = ""
    port: int | None = None


def places(upstreams: Mapping[str, Upstream]) -> dict[str, Place]:
    """The place of every upstream of a policy."""
    return {name: _place(upstream) for name, upstream in upstreams.items()}


def _place(upstream: Upstream) -> Place:
    if upstream.engine is not None:
        return Place(upstream.engine)
    address, port = _server(upstream.url or upstream.base or "")
    if upstream.provider is not None:
        return Place(PROVIDERS.get(upstream.provider, upstream.provider), address, port)
    return Place(HOSTS.get(address, SPEAKS_OPENAI), address, port)


def _server(url: str) -> tuple[str, int | None]:
    parts = urlsplit(url)
    if not parts.hostname:
        return "", None
    return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
