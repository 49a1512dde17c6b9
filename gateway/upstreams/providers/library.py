"""The litellm library, loaded so that it keeps to itself: it fetches nothing, reads no files, prints and logs nothing.

Whoever imports this module loads the library (seconds, and more than 150 MB), so only `providers.py` does, and that
only when a policy names a provider. Everything we ask of the library goes through `ask` and `takes`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import warnings
from collections.abc import Mapping
from typing import Any

import httpx

# The library reads these while it is being imported, so they must stand in the environment before.
os.environ.update(
    {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches a price map from the internet
        "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",  # the same, at the first call to Anthropic
        "LITELLM_MODE": "PRODUCTION",  # else it reads a `.env` file from any folder above its own
        "MAX_IMAGE_URL_DOWNLOAD_SIZE_MB": "0",  # else it fetches what a client's message points to
    }
)
litellm: Any = importlib.import_module("litellm")
_http: Any = importlib.import_module("litellm.llms.custom_httpx.http_handler")
_context: Any = importlib.import_module("litellm._internal_context")
_CALLS = {"chat": "acompletion", "completions": "atext_completion", "embeddings": "aembedding"}
# At DEBUG the library writes prompts, and the HTTP libraries under it write URLs and headers, which may hold keys.
_LOUD = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")
_CHATTY = ("httpx", "httpcore")
_NEVER_SENT = r"coroutine '(AnthropicChatCompletion|BaseLLMHTTPHandler)\..*' was never awaited"


def quiet() -> None:
    """Turn off the library's printing and logging for this process. Safe to call again."""
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    litellm.disable_hf_tokenizer_download = True  # else it fetches a tokenizer to count a stream
    for name in _LOUD:
        logging.getLogger(name).disabled = True
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # A client that leaves while the library still translates leaves a coroutine behind that asks nobody.
    warnings.filterwarnings("ignore", message=_NEVER_SENT, category=RuntimeWarning)


def takes(provider: str, model: str, endpoint: str) -> frozenset[str] | None:
    """The OpenAI request fields a provider's model takes; None where the library cannot tell."""
    kind = "embeddings" if endpoint == "embeddings" else "chat_completion"
    names = litellm.get_supported_openai_params(model=model, custom_llm_provider=provider, request_type=kind)
    return None if names is None else frozenset(names)


def handler_over(transport: httpx.AsyncBaseTransport) -> Any:
    """The HTTP client the library wants, over a transport of ours; no redirects, no proxy settings."""
    handler = _http.AsyncHTTPHandler(transport=transport, follow_redirects=False)
    handler.client = handler.client  # marks the client as not its own: else its finalizer starts a task to close it
    return handler


class _Unused(httpx.AsyncBaseTransport):
    """A wire that leads nowhere."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, request=request)


def warm_up() -> None:
    """Make one call that reaches nobody, off the event loop: the library's first one takes half a second of imports."""
    quiet()
    keywords: dict[str, Any] = {
        "model": "anthropic/none",
        "api_key": "none",
        "messages": [{"role": "user", "content": "none"}],
    }
    keywords |= {"client": handler_over(_Unused()), "stream": True}
    with contextlib.suppress(litellm.NotFoundError):
        asyncio.run(ask("chat", keywords))


async def ask(endpoint: str, keywords: Mapping[str, Any]) -> Any:
    """Call the library once: no retries, none of its callbacks, its log handlers or its tool gateway."""
    fixed: dict[str, Any] = {"num_retries": 0, "max_retries": 0, "drop_params": False}
    if endpoint != "embeddings":
        # Its MCP gateway wants a package that is not installed, and fails every call that has tools.
        fixed["_skip_mcp_handler"] = True
    token = _context.is_internal_call.set(True)  # the library's own switch for calls that it shall not log
    try:
        return await getattr(litellm, _CALLS[endpoint])(**keywords, **fixed)
    finally:
        _context.is_internal_call.reset(token)
