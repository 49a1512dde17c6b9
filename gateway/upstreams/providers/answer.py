"""litellm's answers as OpenAI's JSON: whole documents, chunks of a stream, and what each of them says."""

from __future__ import annotations

import array
import base64
import sys
from collections.abc import Mapping
from typing import Any

_SPOKEN = (
    "content",
    "reasoning_content",
    "refusal",
    "tool_calls",
    "function_call",
    "audio",
    "images",
    "thinking_blocks",
)


def document(answer: Any) -> dict[str, Any]:
    """One of the library's answers or chunks as plain JSON, without its nulls but with those that OpenAI writes."""
    value: dict[str, Any] = answer.model_dump(exclude_none=True)
    for choice in value.get("choices", ()):
        choice.setdefault("finish_reason", None)
        if "message" in choice:
            choice["message"].setdefault("content", None)
        if value.get("object") == "text_completion":
            choice.setdefault("text", "")
            choice.setdefault("logprobs", None)
    return value


def is_answer(value: Mapping[str, Any], endpoint: str) -> bool:
    """Say whether a document holds what was asked for."""
    parts = value.get("data" if endpoint == "embeddings" else "choices")
    return isinstance(parts, list) and bool(parts)


def with_base64(value: dict[str, Any]) -> dict[str, Any]:
    """Embeddings as base64 of little-endian 32-bit floats, which OpenAI's clients ask for; providers seldom do it."""
    return {**value, "data": [{**part, "embedding": _base64(part.get("embedding"))} for part in value["data"]]}


def _base64(vector: Any) -> Any:
    if not isinstance(vector, list):
        return vector
    floats = array.array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode()


def finish_of(chunk: Mapping[str, Any]) -> str | None:
    """Why a choice of this chunk ended, if one did."""
    return next((choice["finish_reason"] for choice in chunk.get("choices", ()) if choice.get("finish_reason")), None)


def is_said(chunk: Mapping[str, Any]) -> bool:
    """Say whether a chunk holds more than a role: text, reasoning, a tool call, or an end."""
    return finish_of(chunk) is not None or any(
        choice.get("text") or any(choice.get("delta", {}).get(name) for name in _SPOKEN)
        for choice in chunk.get("choices", ())
    )


def text_bytes(chunk: Mapping[str, Any]) -> int:
    """Bytes of text, reasoning and tool arguments in a chunk, from which tokens are estimated."""
    total = 0
    for choice in chunk.get("choices", ()):
        delta = choice.get("delta", {})
        texts = [choice.get("text"), delta.get("content"), delta.get("reasoning_content")]
        texts += [call.get("function", {}).get("arguments") for call in delta.get("tool_calls", ())]
        total += sum(len(text.encode()) for text in texts if isinstance(text, str))
    return total


def without_usage(chunk: Mapping[str, Any]) -> dict[str, Any]:
    """A chunk for a client that did not ask for token counts."""
    return {name: value for name, value in chunk.items() if name != "usage"}
