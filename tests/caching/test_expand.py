"""What a plain answer is streamed as."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from caching.errors import Unfaithful
from caching.expand import expand, prove
from caching.fold import fold, is_same
from tests.caching.strategies import SCALARS, Json, answers


def plain(said: Json, **choice: Any) -> Json:
    """A plain answer with one choice."""
    choice = {"index": 0, "message": said, "finish_reason": "stop", **choice}
    return {"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def accumulated(chunks: list[Json]) -> Json:
    """What the openai package makes of these chunks."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.construct(**chunk))
    return state.current_completion_snapshot.to_dict()


@given(answers())
def test_the_law(answer: Json) -> None:
    """The fold of what an answer expands to is the answer, and `prove` says so."""
    chunks = expand(answer)
    assert is_same(fold(chunks), answer)
    prove(chunks, answer)


def without_nulls(value: Any) -> Any:
    """The value without fields that are null: the package adds those of its types."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


@given(answers().filter(lambda answer: answer["object"] == "chat.completion"))
def test_the_openai_package_agrees(answer: Json) -> None:
    """The package that most clients use accumulates the chunks to every message, log-probability and field."""
    told = without_nulls(accumulated(expand(answer)))
    wanted = without_nulls(answer)
    for name in wanted.keys() - {"choices", "system_fingerprint"}:  # the fingerprint is the last chunk's
        assert told[name] == wanted[name]
    for choice, said in zip(wanted["choices"], told["choices"], strict=True):
        for call in said["message"].get("tool_calls", []):
            del call["index"]
        assert said["message"] == choice["message"]
        assert said["finish_reason"] == choice["finish_reason"]
        for kind in ("content", "refusal"):
            assert said.get("logprobs", {}).get(kind, []) == choice.get("logprobs", {}).get(kind, [])


def test_how_it_is_told() -> None:
    """The message first, then each tool call by itself, the end, and the usage; every chunk names the answer."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    answer = plain({"role": "assistant", "content": None, "tool_calls": [call, call]})
    *told, usage = expand({**answer, "usage": {"total_tokens": 1}, "provider": "P"})
    deltas: list[Json] = [{"role": "assistant", "content": None}]
    deltas += [{"tool_calls": [{"index": 0, **call}]}, {"tool_calls": [{"index": 1, **call}]}, {}]
    assert [chunk["choices"][0]["delta"] for chunk in told] == deltas
    assert [chunk["choices"][0]["finish_reason"] for chunk in told] == [None, None, None, "stop"]
    assert [chunk.get("provider") for chunk in told] == ["P", None, None, None]
    assert usage == {
        **{name: answer[name] for name in ("id", "created", "model")},
        "object": "chat.completion.chunk",
        "choices": [],
        "usage": {"total_tokens": 1},
    }
    assert all({"id", "object", "created", "model"} <= chunk.keys() for chunk in told)


def test_indices_of_tool_calls_do_no_harm() -> None:
    """Some servers number the tool calls of plain answers too; such answers can be streamed."""
    answer = plain({"role": "assistant", "tool_calls": [{"index": 0, "id": "c"}, {"index": 1, "id": "d"}]})
    prove(expand(answer), answer)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {**plain({}), "choices": None},
        {**plain({}), "choices": []},
        {**plain({}), "choices": [1]},
        {**plain({}), "object": "list"},
        {**plain({}), "object": ["list"]},
        {**plain({}), "obfuscation": "x"},
        plain({}, index=1),
        plain({}, index=None),
        plain({}, message=1),
        plain({}, delta={}),
        plain({}, text=""),
        plain({}, logprobs=1),
        plain({"audio": {"id": "a"}}),
        plain({"tool_calls": {"a": 1}}),
        plain({"tool_calls": [1]}),
        plain({"tool_calls": [{"index": 1}]}),
        plain({"tool_calls": [{"function": None}, {"index": True}]}),
        {**plain({}), "object": "text_completion"},
        {"object": "text_completion", "choices": [{"index": 0, "text": "a", "delta": {}}]},
        {"object": "text_completion", "choices": [{"index": 0, "text": "a"}, {"index": 0, "text": "b"}]},
    ],
)
def test_what_cannot_be_streamed_is_refused(answer: Json) -> None:
    """What has no choices, audio, no order or no known shape is refused; it is never streamed with a loss."""
    with pytest.raises(Unfaithful):
        prove(expand(answer), answer)


NAMES = ["choices", "index", "message", "text", "delta", "content", "tool_calls", "function", "logprobs", "object"]
MESS = st.recursive(
    SCALARS | st.just("chat.completion"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(st.data())
def test_nothing_but_unfaithful_is_raised(data: st.DataObject) -> None:
    """Whatever the fields of an answer are replaced by, it can be streamed, or it is said why it cannot."""
    answer = data.draw(answers())
    choice = answer["choices"][0]
    places = [place for place in (answer, choice, choice.get("message")) if place is not None]
    for place in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        place[data.draw(st.sampled_from(NAMES))] = data.draw(MESS)
    with contextlib.suppress(Unfaithful):
        prove(expand(answer), answer)
