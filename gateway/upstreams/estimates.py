"""What an answer took where its server does not tell it, or tells what cannot be: counts of ours, marked as such."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from gateway.call import Call
from gateway.trace import Usage

BYTES_PER_TOKEN = 4  # a common estimate for English; marked as one wherever it is used
# Pictures inside the JSON of a prompt. The type is bounded, so that no body makes the search slow.
PICTURE = re.compile(rb"data:[\w/+.=;\\-]{0,100};base64,[\w+/=\\-]*")
SPOKEN = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call", "text")


def estimate(call: Call, said: int) -> Usage:
    """What a call took of which nothing is told: the prompt is judged by its bytes, the answer is `said` tokens."""
    return Usage(prompt_tokens(call.body), said, estimated=True)


def completed(call: Call, told: Usage | None, said: int) -> Usage:
    """The usage as told, but for what it cannot be: no prompt, or no answer where `said` tokens of one came."""
    if told is None:
        return estimate(call, said)
    if told.prompt and (told.completion or not said):
        return told
    prompt = told.prompt or prompt_tokens(call.body)
    return replace(told, prompt=prompt, completion=told.completion or said, estimated=True)


def of_answer(call: Call, told: Usage | None, answer: Mapping[str, Any]) -> Usage:
    """The usage of a plain answer, or of a chunk, of which this much was told."""
    if told is not None and told.prompt and told.completion:
        return told
    return completed(call, told, tokens_in(sum(map(_bytes, _spoken(answer)))))


def of_part(call: Call, size: int) -> Usage:
    """What a call took whose plain answer broke off after so many bytes; numbers of an embedding are no tokens."""
    return estimate(call, 0 if call.endpoint == "embeddings" else tokens_in(size))


def prompt_tokens(body: bytes) -> int:
    """About how many tokens a request holds, without the pictures in it."""
    size = len(body)
    if b";base64," in body:
        size -= sum(found.end() - found.start() for found in PICTURE.finditer(body))
    return size // BYTES_PER_TOKEN


def tokens_in(size: int) -> int:
    """About how many tokens so many bytes of text are; no text is without one."""
    return -(-size // BYTES_PER_TOKEN)


def _spoken(answer: Mapping[str, Any]) -> Iterator[object]:
    """Everything that the choices of an answer say."""
    choices = answer.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            message = choice.get("message", choice.get("delta"))
            said = message if isinstance(message, dict) else choice
            yield from (said[name] for name in SPOKEN if said.get(name))


def _bytes(said: object) -> int:
    if isinstance(said, str):
        return len(said.encode("utf-8", "replace"))
    try:
        return len(orjson.dumps(said))
    except orjson.JSONEncodeError:  # half a character, or a depth that can be read but not written again
        return 1
