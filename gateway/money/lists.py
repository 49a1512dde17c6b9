"""Whose prices count for an upstream, by the provider's name in the price table."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.money.published import provider_of
from policies.model import Upstream

# Where providers serve. A host counts, and whatever stands before it with a dot; nothing that merely looks like it.
HOSTS = {
    "aihubmix.com": "aihubmix",
    "api.ai21.com": "ai21",
    "api.anthropic.com": "anthropic",
    "api.cerebras.ai": "cerebras",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.deepinfra.com": "deepinfra",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks_ai",
    "api.friendli.ai": "friendliai",
    "api.gmi-serving.com": "gmi",
    "api.groq.com": "groq",
    "api.hyperbolic.xyz": "hyperbolic",
    "api.inceptionlabs.ai": "inception",
    "api.inference.wandb.ai": "wandb",
    "api.lambda.ai": "lambda_ai",
    "api.minimax.chat": "minimax",
    "api.minimax.io": "minimax",
    "api.minimaxi.com": "minimax",
    "api.mistral.ai": "mistral",
    "api.moonshot.ai": "moonshot",
    "api.moonshot.cn": "moonshot",
    "api.morphllm.com": "morph",
    "api.novita.ai": "novita",
    "api.openai.com": "openai",
    "api.perplexity.ai": "perplexity",
    "api.sambanova.ai": "sambanova",
    "api.scaleway.ai": "scaleway",
    "api.studio.nebius.ai": "nebius",
    "api.studio.nebius.com": "nebius",
    "api.together.ai": "together_ai",
    "api.together.xyz": "together_ai",
    "api.tokenfactory.nebius.com": "nebius",
    "api.v0.dev": "v0",
    "api.voyageai.com": "voyage",
    "api.x.ai": "xai",
    "api.z.ai": "zai",
    "ai-gateway.vercel.sh": "vercel_ai_gateway",
    "cognitiveservices.azure.com": "azure",
    "dashscope-intl.aliyuncs.com": "dashscope",
    "dashscope-us.aliyuncs.com": "dashscope",
    "dashscope.aliyuncs.com": "dashscope",
    "endpoints.ai.cloud.ovh.net": "ovhcloud",
    "generativelanguage.googleapis.com": "gemini",
    "inference.api.nscale.com": "nscale",
    "inference.baseten.co": "baseten",
    "openai.azure.com": "azure",
    "openrouter.ai": "openrouter",
    "services.ai.azure.com": "azure_ai",
}
# Who caches a prompt's prefix only where the request asks for it.
_ON_REQUEST = ("anthropic", "claude", "amazon.nova", "amazon_nova")


def list_of(upstream: Upstream) -> str | None:
    """The provider whose prices count; None for a server that nobody is known to sell."""
    if upstream.price_list or upstream.provider:
        return provider_of(upstream.price_list or upstream.provider or "")
    host = (urlsplit(upstream.url).hostname or "").rstrip(".") if upstream.url else ""
    while host:
        if host in HOSTS:
            return HOSTS[host]
        host = host.partition(".")[2]
    return None


def caches_unasked(provider: str | None, model: str) -> bool:
    """Say whether the provider would cache prompt prefixes of this model without being asked to."""
    told = f"{provider or ''}/{model}".lower()
    return not any(name in told for name in _ON_REQUEST)
