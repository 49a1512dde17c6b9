"""Folding a streamed answer into the plain one it stands for.

Texts are joined, lists of log-probabilities chained, tool calls merged by their index. Fields nobody has heard of
survive too, as long as it is clear what they say: where a field comes with two different values, or in pieces that
might have to be joined, a strict fold gives up rather than lose something.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import orjson

from caching.errors import Unfaithful

FIRST = ("id", "object", "created", "model")  # the order that people know
WHOLE = {"chat.completion.chunk": "chat.completion"}
DROPPED = frozenset({"obfuscation"})  # padding against guessing texts by their length
TEXTS = frozenset({"content", "reasoning_content", "reasoning", "refusal", "arguments", "input", "text"})
FIXED = frozenset({"role", "id", "type", "name"})  # of messages and tool calls: some servers repeat them in every delta
LAST = frozenset(
    {
        *FIRST,
        *("system_fingerprint", "service_tier", "usage", "timings"),
        *("index", "finish_reason", "stop_reason"),
        *("content_filter_results", "prompt_filter_results", "content_filter_offsets"),  # Azure's
        "x_groq",  # an id at first, at the end the same id and more
    }
)
MAX_INDEX = 1000  # of a choice or a tool call; an index must not decide how much memory a list takes


def fold(chunks: Iterable[dict[str, Any]], *, strict: bool = True) -> dict[str, Any]:
    """One plain answer out of the chunks of a stream, choices in the order of their index. The chunks are not edited.

    Raises Unfaithful for chunks of no known shape and, if `strict`, wherever something would be lost; otherwise the
    last value counts.
    """
    folding = _Fold(strict)
    for chunk in chunks:
        folding.add(_object(chunk, "chunk"))
    return folding.result()


def is_same(one: object, other: object) -> bool:
    """Say whether two values are the same JSON, order of keys aside. Unlike `==` it tells 1, 1.0 and true apart.

    Raises Unfaithful for what cannot be written as JSON.
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    return _sorted(one) == _sorted(other) if isinstance(one, dict | list) else one == other


def _sorted(value: object) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:  # nested too deeply, or half a character
        raise Unfaithful(f"a value cannot be written as JSON: {error}") from error


class _Pieces(list[str]):
    """A text that is still coming; joined once, since adding to a long string copies it every time."""


class _Calls(dict[int, dict[str, Any]]):
    """Tool calls by their index, while they may still come in any order."""


class _Fold:
    """One answer being put together."""

    __slots__ = ("_answer", "_choices", "_open", "_strict")

    def __init__(self, strict: bool) -> None:  # noqa: FBT001  the only argument of a private class
        self._strict = strict
        self._answer: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._open: list[dict[str, Any]] = []  # whatever was made here and may hold _Pieces or _Calls

    def add(self, chunk: dict[str, Any]) -> None:
        for name, value in chunk.items():
            if name == "choices":
                for choice in _list(value, name):
                    self._add_choice(_object(choice, "choice"))
            elif name in LAST:
                _keep_last(self._answer, name, value)
            elif name not in DROPPED:
                self._keep(self._answer, name, value)

    def result(self) -> dict[str, Any]:
        for told in self._open:
            for name, value in told.items():
                if type(value) is _Pieces:
                    told[name] = "".join(value)
                elif type(value) is _Calls:
                    told[name] = self._listed(value)
        choices = [self._choices[index] for index in sorted(self._choices)]
        if self._strict and not choices:
            raise Unfaithful("the stream has no choices")
        if self._strict and not all(("message" in choice) != ("text" in choice) for choice in choices):
            raise Unfaithful("a choice has neither a message nor a text, or both")
        answer = self._answer
        if isinstance(kind := answer.get("object"), str):
            answer["object"] = WHOLE.get(kind, kind)
        first = {name: answer.pop(name) for name in FIRST if name in answer}
        return {**first, "choices": choices, **answer}

    def _listed(self, calls: _Calls) -> list[dict[str, Any]]:
        count = max(calls, default=-1) + 1
        if self._strict and count != len(calls):
            raise Unfaithful("a tool call is missing between others")
        return [calls.get(index, {}) for index in range(count)]

    def _new(self) -> dict[str, Any]:
        self._open.append({})
        return self._open[-1]

    def _add_choice(self, choice: dict[str, Any]) -> None:
        index = self._index(choice, 0)
        told = self._choices.get(index)
        if told is None:
            told = self._choices[index] = self._new()
        for name, value in choice.items():
            if name == "delta":
                self._add_delta(self._inner(told, "message"), _object(value or {}, name))
            elif name == "text":
                self._join(told, name, value)
            elif name == "logprobs":
                self._chain_parts(told, name, value)
            elif name == "token_ids":  # vLLM's
                self._chain(told, name, value)
            elif name in LAST:
                _keep_last(told, name, value)
            elif name != "message":
                self._keep(told, name, value, (list,))
            elif value is not None:
                raise Unfaithful("a streamed choice has a whole message")

    def _inner(self, told: dict[str, Any], name: str) -> dict[str, Any]:
        inner = told.get(name)
        if inner is None:
            inner = told[name] = self._new()
        return cast(dict[str, Any], inner)  # made here, like every value of these names

    def _add_delta(self, told: dict[str, Any], delta: dict[str, Any]) -> None:
        for name, value in delta.items():
            if value is None:
                told.setdefault(name, None)
            elif name in TEXTS:
                self._join(told, name, value)
            elif name == "tool_calls":
                self._add_tool_calls(told, value)
            elif name == "function_call":
                self._add_function(told, name, value)
            elif name == "audio" and self._strict:
                raise Unfaithful("the answer has audio")
            else:
                self._keep_part(told, name, value)

    def _add_function(self, told: dict[str, Any], name: str, delta: object) -> None:
        if delta is None:
            told.setdefault(name, None)
            return
        function = self._inner(told, name)
        for field, value in _object(delta, name).items():
            if field in TEXTS:
                self._join(function, field, value)
            else:
                self._keep_part(function, field, value)

    def _add_tool_calls(self, told: dict[str, Any], deltas: object) -> None:
        calls = told.get("tool_calls")
        if calls is None:
            calls = told["tool_calls"] = _Calls()
        for part in _list(deltas, "tool_calls"):
            delta = _object(part, "tool call")
            index = self._index(delta, max(calls, default=-1) + 1)
            call = calls.get(index)
            if call is None:
                call = calls[index] = self._new()
            self._add_tool_call(call, delta)

    def _add_tool_call(self, call: dict[str, Any], delta: dict[str, Any]) -> None:
        for name, value in delta.items():
            if name in {"function", "custom"}:
                self._add_function(call, name, value)
            elif name != "index":
                self._keep_part(call, name, value)

    def _index(self, fields: dict[str, Any], default: int) -> int:
        index = fields.get("index")
        if index is None and not self._strict:
            index = default
        if type(index) is not int or not 0 <= index <= MAX_INDEX:
            raise Unfaithful("a choice or a tool call has no index, or one that cannot be right")
        return index

    def _join(self, told: dict[str, Any], name: str, value: object) -> None:
        kept = told.get(name)
        if isinstance(value, str) and (kept is None or type(kept) is _Pieces):
            if kept is None:
                kept = told[name] = _Pieces()
            kept.append(value)
        else:  # some models answer with lists of parts
            self._keep(told, name, value, (list,))

    def _chain_parts(self, told: dict[str, Any], name: str, value: object) -> None:
        if value is None:
            told.setdefault(name, None)
            return
        if told.get(name) is None:
            told[name] = {}
        for part, values in _object(value, name).items():
            self._chain(told[name], part, values)

    def _chain(self, told: dict[str, Any], name: str, values: object) -> None:
        kept = told.get(name)
        if isinstance(values, list) and isinstance(kept, list):
            kept.extend(values)
        else:
            self._keep(told, name, list(values) if isinstance(values, list) else values)

    def _keep(self, told: dict[str, Any], name: str, value: object, in_pieces: tuple[type, ...] = ()) -> None:
        """Keep the only value of a field; of the types `in_pieces` even equal ones may be parts of a whole."""
        kept = told.get(name)
        if kept is None:
            told[name] = value
        elif value is not None:
            if self._strict and not (is_same(kept, value) and not (value and isinstance(value, in_pieces))):
                raise Unfaithful(f"the stream has several values of '{name}'")
            told[name] = value

    def _keep_part(self, told: dict[str, Any], name: str, value: object) -> None:
        """Keep a field of a delta."""
        if name not in FIXED:
            self._keep(told, name, value, (str, list))
        elif told.get(name) and value:
            self._keep(told, name, value)
        else:
            _keep_last(told, name, value)


def _keep_last(told: dict[str, Any], name: str, value: object) -> None:
    """The last value counts; but an empty one says nothing, as the `model` of Azure's filter events."""
    if value or told.get(name) is None:
        told[name] = value


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unfaithful(f"a {what} is no object")
    return value


def _list(value: object, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Unfaithful(f"'{what}' is no list")
    return value
