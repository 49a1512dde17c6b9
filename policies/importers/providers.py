"""Providers as LiteLLM names them: who speaks OpenAI's format, who is well known, who is meant by a bare name."""

from __future__ import annotations

OPENAI = "https://api.openai.com/v1"
OPENAI_LIKE = frozenset(
    {
        "custom_openai", "hosted_vllm", "litellm_proxy", "llamafile", "lm_studio", "openai", "openai_like",
        "text-completion-openai", "vllm",
    }
)  # fmt: skip
WELL_KNOWN = frozenset(
    {
        "ai21", "anthropic", "anyscale", "azure", "azure_ai", "bedrock", "cerebras", "cloudflare", "codestral",
        "cohere", "cohere_chat", "dashscope", "databricks", "deepinfra", "deepseek", "fireworks_ai", "friendliai",
        "gemini", "github", "groq", "huggingface", "hyperbolic", "jina_ai", "lambda_ai", "mistral", "moonshot",
        "nebius", "novita", "nscale", "nvidia_nim", "oci", "ollama", "ollama_chat", "openrouter", "perplexity",
        "predibase", "replicate", "sagemaker", "sagemaker_chat", "sambanova", "snowflake", "together_ai", "triton",
        "vertex_ai", "vertex_ai_beta", "volcengine", "voyage", "watsonx", "xai", "xinference",
    }
)  # fmt: skip # others are carried over too, with a note
_GUESSES = (
    ("gpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("chatgpt-", "openai"),
    ("text-embedding-", "openai"),
    ("claude-", "anthropic"),
    ("gemini-", "vertex_ai"),
)


def provider_and_model(full: str, given: str | None) -> tuple[str, str]:
    """Who answers, and by which name: of `PROVIDER/NAME`, or of a name and the provider given beside it.

    The provider is "" where it cannot be told.
    """
    head, slash, rest = full.partition("/")
    if given:
        return given, rest if slash and head == given else full
    if slash:
        return head, rest
    return next((provider for start, provider in _GUESSES if full.startswith(start)), ""), full
