"""What of a client's JSON may reach a provider: an allowlist, since the library takes hosts and keys by the same road.

litellm's functions take request fields, credentials, hosts, callbacks and routing as keyword arguments of one
namespace, and put unknown ones where its providers look for credentials. So an unknown field cannot be passed on
safely, and dropping it would be a lie: it is refused with a 400 that names it. Upstreams by `url` pass everything.

Laws:

* Only names listed here become keyword arguments; `tests/gateway/upstreams/providers/test_request.py` holds them
  against the library's own list of arguments.
* No message makes the gateway, or a provider with our credentials, fetch from an address that a client chose.
* What says nothing about the answer (`HINTS`), or only what is so anyway (`NEUTRAL`), is left out where the provider
  does not take it. Anything else that it does not take is a 400.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gateway.errors import BadRequest

_SAMPLING = {
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "n",
    "presence_penalty",
    "seed",
    "stop",
    "temperature",
    "top_p",
    "user",
}
FIELDS: Mapping[str, frozenset[str]] = {
    "chat": frozenset(
        _SAMPLING
        | {
            "audio",
            "function_call",
            "functions",
            "max_completion_tokens",
            "messages",
            "modalities",
            "parallel_tool_calls",
            "prediction",
            "reasoning_effort",
            "response_format",
            "safety_identifier",
            "service_tier",
            "thinking",
            "tool_choice",
            "tools",
            "top_k",
            "top_logprobs",
            "verbosity",
            "web_search_options",
        }
    ),
    "completions": frozenset(_SAMPLING | {"best_of", "echo", "prompt", "suffix", "top_k"}),
    "embeddings": frozenset({"dimensions", "input", "user"}),
}
OURS = frozenset(
    {"model", "stream", "stream_options", "encoding_format", "cache", "prompt_cache_key"}
)  # we act on them
HINTS = frozenset({"metadata", "prompt_cache_retention", "safety_identifier", "store", "user"})
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "stop": ([],),
    "suffix": ("",),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
}
_ALWAYS = frozenset({"input", "messages", "prompt", "top_k"})  # no provider lists these as optional
_TEXT = frozenset({"text", "thinking", "reasoning", "input", "arguments", "title", "context", "name", "id"})
_FETCHES_BY_ITSELF = frozenset({"anthropic"})  # takes https addresses as they are, and the library passes them on


def keywords(endpoint: str, body: Mapping[str, Any], provider: str, takes: Collection[str] | None) -> dict[str, Any]:
    """The keyword arguments for one request. Raises BadRequest that names the fields that cannot be passed on."""
    given = {name: value for name, value in body.items() if value is not None and name not in OURS}
    given = {name: value for name, value in given.items() if not _may_go(name, value, endpoint, takes)}
    refused = [name for name in given if not _is_taken(name, endpoint, takes)]
    if refused:
        names = ", ".join(f"'{name[:60]}'" for name in refused[:10])
        raise BadRequest(f"Provider '{provider}' does not take {names}.", param=refused[0][:60])
    _check_tools(given.get("tools"), provider)
    for index, message in enumerate(given.get("messages", ())):
        _check_media(message, f"messages[{index}]", provider)
    return given


def _is_taken(name: str, endpoint: str, takes: Collection[str] | None) -> bool:
    return name in FIELDS[endpoint] and (takes is None or name in takes or name in _ALWAYS)


def _may_go(name: str, value: object, endpoint: str, takes: Collection[str] | None) -> bool:
    """Say whether a field is left out without harm."""
    if _is_taken(name, endpoint, takes):
        return False
    return name in HINTS or value in NEUTRAL.get(name, ())


def _check_tools(tools: object, provider: str) -> None:
    """Refuse tools that are not functions: other kinds name servers, and the library has hooks for some."""
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise BadRequest(f"Provider '{provider}' takes tools of type 'function' only.", param="tools")


def _check_media(message: Any, where: str, provider: str) -> None:
    if not isinstance(message, dict):
        raise BadRequest(f"'{where}' must be an object.", param=where)
    for name in ("content", "images"):
        for address in _addresses(message.get(name) if isinstance(message.get(name), list) else ()):
            if provider in _FETCHES_BY_ITSELF and address.lower().startswith("https://"):
                continue
            raise BadRequest(
                "Files and images must be sent as data: URLs; the gateway fetches nothing for a client.", param=where
            )


def _addresses(value: object) -> Iterator[str]:
    """Every string that could be fetched from, in all that is not plain text."""
    if isinstance(value, str):
        text = value.strip()
        if "://" in text[:4096] and not text.lower().startswith("data:"):
            yield text
    elif isinstance(value, dict):
        for name, part in value.items():
            if name not in _TEXT and not (name == "content" and isinstance(part, str)):
                yield from _addresses(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _addresses(part)
