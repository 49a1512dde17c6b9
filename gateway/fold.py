"""Folding a streamed answer into the plain one it stands for.

Texts are joined, lists of log-probabilities chained, tool calls merged by their index; of everything else the last
value that is not null counts, so that fields nobody has heard of survive too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

TEXTS = frozenset({"content", "reasoning_content", "reasoning", "refusal", "arguments", "text"})
FIRST = ("id", "object", "created", "model")  # the order that people know
WHOLE = {"chat.completion.chunk": "chat.completion"}


def fold(chunks: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """One plain answer out of the chunks of a stream, choices in the order of their index."""
    answer: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for choice in chunk.get("choices") or ():
            _add_choice(choices.setdefault(choice.get("index", 0), {}), choice)
        _keep_last(answer, {name: value for name, value in chunk.items() if name != "choices"})
    kind = answer.get("object")
    if isinstance(kind, str):
        answer["object"] = WHOLE.get(kind, kind)
    first = {name: answer.pop(name) for name in FIRST if name in answer}
    return {**first, "choices": [choices[index] for index in sorted(choices)], **answer}


def _add_choice(told: dict[str, Any], choice: dict[str, Any]) -> None:
    for name, value in choice.items():
        if name == "delta":
            _add_delta(told.setdefault("message", {}), value or {})
        elif name == "text":
            told["text"] = told.get("text", "") + (value or "")
        elif name == "logprobs" and isinstance(value, dict):
            _chain(told, name, value)
        else:
            _keep_last(told, {name: value})


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            _add_tool_calls(message.setdefault(name, []), value or [])
        elif name in TEXTS and isinstance(value, str):
            message[name] = (message.get(name) or "") + value
        else:
            _keep_last(message, {name: value})


def _add_tool_calls(told: list[dict[str, Any]], calls: list[dict[str, Any]]) -> None:
    for call in calls:
        at = call.get("index", len(told))
        while len(told) <= at:
            told.append({})
        for name, value in call.items():
            if name == "function":
                _add_delta(told[at].setdefault(name, {}), value or {})
            elif name != "index":
                _keep_last(told[at], {name: value})


def _chain(told: dict[str, Any], name: str, lists: dict[str, Any]) -> None:
    kept = told.get(name)
    if not isinstance(kept, dict):
        kept = told[name] = {}
    for part, value in lists.items():
        if isinstance(value, list) and isinstance(kept.get(part), list):
            kept[part].extend(value)
        else:
            kept[part] = list(value) if isinstance(value, list) else kept.get(part, value)


def _keep_last(told: dict[str, Any], fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        if value is not None or name not in told:
            told[name] = value
