"""Expanding a plain answer into the chunks of a stream that stands for it: `fold(expand(a)) == a`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from caching.errors import Unfaithful
from caching.fold import fold, is_same

FRAME = ("id", "object", "created", "model", "system_fingerprint", "service_tier")  # on every chunk
HELD_BACK = ("logprobs", "finish_reason")  # null until they come, as strict clients expect


def expand(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The chunks of a plain answer; the last one alone bears the usage, if there is one. Raises Unfaithful.

    Each choice begins with its message, then come its tool calls, one by one, then how it finished. What else the
    answer says stands in the first chunk, since that is the one of which accumulating clients keep every field.
    """
    kind = answer.get("object")
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise Unfaithful("the answer has no choices")
    if kind not in ("chat.completion", "text_completion"):  # a tuple: what cannot be hashed may stand here
        raise Unfaithful("the answer is of no known kind")
    frame = {name: answer[name] for name in FRAME if name in answer}
    usage = answer.get("usage")
    rest = {name: value for name, value in answer.items() if name not in FRAME and name != "choices"}
    if usage is not None:
        del rest["usage"]
    if kind == "chat.completion":
        frame["object"] = "chat.completion.chunk"
        choices = [part for at, choice in enumerate(choices) for part in _parts(_checked(choice, at), at)]
    else:
        choices = [_checked(choice, at) for at, choice in enumerate(choices)]
    chunks = [{**frame, "choices": [choice]} for choice in choices]
    chunks[0].update(rest)
    if usage is not None:
        chunks.append({**frame, "choices": [], "usage": usage})
    return chunks


def prove(chunks: Iterable[dict[str, Any]], answer: Mapping[str, Any]) -> None:
    """Fold the chunks of an answer back. Raises Unfaithful unless they say the same, which is the law above."""
    folded = fold(chunks)
    if not is_same(folded, answer) and not is_same(folded, _without_indices(answer)):
        raise Unfaithful("the answer cannot be streamed without a loss")


def _checked(choice: object, at: int) -> dict[str, Any]:
    if not isinstance(choice, dict) or type(choice.get("index")) is not int or choice["index"] != at:
        raise Unfaithful("the choices are not numbered in order")  # clients take the index for the place in the list
    return choice


def _parts(choice: dict[str, Any], at: int) -> Iterator[dict[str, Any]]:
    message, logprobs = choice.get("message"), choice.get("logprobs")
    if not isinstance(message, dict) or "delta" in choice:
        raise Unfaithful("a choice has no message")
    if message.get("audio") is not None:
        raise Unfaithful("the answer has audio")
    first = {"index": at, "delta": message, **{name: None for name in HELD_BACK if name in choice}}
    calls = message.get("tool_calls")
    told = {name: value for name, value in message.items() if name != "tool_calls"} if calls else message
    if logprobs is None:
        yield {**first, "delta": told}
    else:  # not with the first chunk of a choice: the openai package would take those twice
        yield {**first, "delta": {"role": told["role"]} if "role" in told else {}}
        told = {name: value for name, value in told.items() if name != "role"}
        yield {**first, "delta": told, "logprobs": logprobs}
    for call in _numbered(calls or []):
        yield {**first, "delta": {"tool_calls": [call]}}
    rest = {name: value for name, value in choice.items() if name not in {"index", "message", "logprobs"}}
    yield {**first, "delta": {}, **rest}


def _numbered(calls: object) -> Iterator[dict[str, Any]]:
    if not isinstance(calls, list):
        raise Unfaithful("'tool_calls' is no list")
    for at, call in enumerate(calls):
        if not isinstance(call, dict) or call.get("index", at) != at:
            raise Unfaithful("the tool calls are not numbered in order")
        yield {"index": at, **call}


def _without_indices(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer without the index that some servers give tool calls in plain answers too; `expand` has checked it."""
    choices = []
    for choice in answer["choices"]:
        if isinstance(message := choice.get("message"), dict) and message.get("tool_calls"):
            calls = [{name: value for name, value in call.items() if name != "index"} for call in message["tool_calls"]]
            choice = {**choice, "message": {**message, "tool_calls": calls}}  # noqa: PLW2901  a changed copy
        choices.append(choice)
    return {**answer, "choices": choices}
