"""litellm's answers as OpenAI's JSON."""

from __future__ import annotations

import base64
import struct

from gateway.upstreams.providers.answer import document, finish_of, is_said, text_bytes, with_base64
from gateway.upstreams.providers.library import litellm


def test_document_keeps_the_nulls_that_openai_writes() -> None:
    """`content` and `finish_reason` are always there; the library's own nulls and private fields are not."""
    answer = litellm.ModelResponse(choices=[{"message": {"role": "assistant", "content": None}}])
    answer._hidden_params["api_key"] = "sk-hidden"
    value = document(answer)
    assert value["choices"][0]["message"]["content"] is None
    assert "finish_reason" in value["choices"][0]
    assert "system_fingerprint" not in value
    assert "hidden" not in str(value)


def test_embeddings_as_base64() -> None:
    """Vectors become little-endian 32-bit floats, as OpenAI's clients decode them."""
    value = with_base64({"data": [{"index": 0, "embedding": [0.5, -2.0]}]})
    assert struct.unpack("<2f", base64.b64decode(value["data"][0]["embedding"])) == (0.5, -2.0)


def test_role_alone_says_nothing() -> None:
    """A chunk with only a role is not yet an answer; text, reasoning, a tool call or an end is."""
    assert not is_said({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
    for delta in ({"content": "x"}, {"reasoning_content": "x"}, {"tool_calls": [{"function": {"arguments": ""}}]}):
        assert is_said({"choices": [{"delta": delta}]})
    assert is_said({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    assert is_said({"choices": [{"text": "x"}]})


def test_text_is_counted_in_bytes() -> None:
    """Text, reasoning and tool arguments count, in UTF-8."""
    call = {"function": {"arguments": "{}"}}
    delta = {"content": "é", "reasoning_content": "ab", "tool_calls": [call]}
    assert text_bytes({"choices": [{"delta": delta}]}) == 6
    assert finish_of({"choices": [{"delta": delta}]}) is None
