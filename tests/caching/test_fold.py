"""What a stream folds into."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching.errors import Unfaithful
from caching.fold import fold, is_same
from tests.caching.strategies import SCALARS, answers, streams


def chunk(delta: dict[str, Any], index: int = 0, **choice: Any) -> dict[str, Any]:
    """One chunk with one choice."""
    return {"id": "a", "object": "chat.completion.chunk", "choices": [{"index": index, "delta": delta, **choice}]}


def test_texts_are_joined() -> None:
    """Content, reasoning and refusals are joined, each for itself."""
    parts: list[dict[str, Any]] = [{"role": "assistant", "content": None}]
    parts += [{"reasoning_content": "Hm"}, {"reasoning_content": "m."}]
    answer = fold([chunk(part) for part in [*parts, {"content": "Hel"}, {"content": "lo"}, {"refusal": "No"}]])
    message = {"role": "assistant", "content": "Hello", "reasoning_content": "Hmm.", "refusal": "No"}
    assert answer["choices"][0]["message"] == message
    assert answer["object"] == "chat.completion"


def test_tool_calls_are_merged_by_index() -> None:
    """Interleaved parts of parallel tool calls end in their own call."""

    def part(index: int, arguments: str, **more: Any) -> dict[str, Any]:
        return chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments}, **more}]})

    answer = fold([part(0, '{"a"', id="x", type="function"), part(1, "{", id="y"), part(0, ":1}"), part(1, "}")])
    calls = answer["choices"][0]["message"]["tool_calls"]
    assert calls[0] == {"id": "x", "type": "function", "function": {"arguments": '{"a":1}'}}
    assert calls[1] == {"id": "y", "function": {"arguments": "{}"}}


def test_choices_usage_and_the_unknown_are_kept() -> None:
    """Choices stand in their order, log-probabilities are chained, usage and unknown fields survive."""
    chunks = [
        chunk({"content": "b"}, 1, logprobs={"content": [{"token": "b"}], "refusal": None}, finish_reason=None),
        chunk({"content": "a"}, 0, odd={"x": 1}),
        chunk({"content": "c"}, 1, logprobs={"content": [{"token": "c"}], "refusal": None}, finish_reason="stop"),
        {"id": "a", "choices": [], "usage": {"prompt_tokens": 3}, "timings": {"n": 1}},
    ]
    answer = fold(chunks)
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["a", "bc"]
    assert [token["token"] for token in answer["choices"][1]["logprobs"]["content"]] == ["b", "c"]
    assert answer["choices"][1]["finish_reason"] == "stop"
    assert answer["choices"][0]["odd"] == {"x": 1}
    assert (answer["usage"], answer["timings"]) == ({"prompt_tokens": 3}, {"n": 1})


def test_completions_are_folded_too() -> None:
    """The older endpoint's texts are joined."""
    parts = [{"object": "text_completion", "choices": [{"index": 0, "text": text}]} for text in ("a", "b", "")]
    answer = fold(parts)
    assert answer["object"] == "text_completion"
    assert answer["choices"][0]["text"] == "ab"


@given(st.lists(st.text()))
def test_no_text_is_lost(texts: list[str]) -> None:
    """However a text is cut into deltas, the fold has all of it."""
    answer = fold([chunk({"content": text}) for text in texts] or [chunk({"content": ""})])
    assert answer["choices"][0]["message"]["content"] == "".join(texts)


@given(st.data())
def test_every_cutting_folds_into_the_answer(data: st.DataObject) -> None:
    """However an answer is cut into a stream, its fold is the answer; the strict and the lenient one agree."""
    answer = data.draw(answers())
    chunks = data.draw(streams(answer))
    before = orjson.dumps(chunks)
    assert is_same(fold(chunks), answer)
    assert is_same(fold(chunks, strict=False), answer)
    assert orjson.dumps(chunks) == before


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk({"x": "a"}), chunk({"x": "b"})],
        [chunk({"x": "a"}), chunk({"x": "a"})],
        [chunk({"x": [1]}), chunk({"x": [1]})],
        [chunk({"x": 1}), chunk({"x": True})],
        [chunk({}, x=1), chunk({}, x=2)],
        [chunk({}, x=[5]), chunk({}, x=[5])],
        [{**chunk({}), "x": 1}, {**chunk({}), "x": 1.0}],
        [chunk({"content": "a"}), chunk({"content": ["b"]})],
        [chunk({"audio": {"id": "a"}})],
        [chunk({"tool_calls": [{"index": 0, "id": "a"}]}), chunk({"tool_calls": [{"index": 0, "id": "b"}]})],
        [chunk({"tool_calls": [{"index": 0, "function": {"name": part}}]}) for part in ("get_", "weather")],
        [chunk({"tool_calls": [{"index": 1, "id": "a"}]})],
        [chunk({"tool_calls": [{"id": "a"}]})],
        [{"choices": [{"delta": {"content": "a"}}]}],
        [{"choices": [{"index": 0, "finish_reason": "stop"}]}],
        [{"choices": [{"index": 0, "delta": {}, "text": "a"}]}],
        [{"choices": []}],
        [],
    ],
)
def test_what_would_be_lost_is_refused(chunks: list[dict[str, Any]]) -> None:
    """Two values of one field, pieces of an unknown one, audio, gaps and missing indices have no faithful fold."""
    with pytest.raises(Unfaithful):
        fold(chunks)


@pytest.mark.parametrize(
    "bad",
    [
        1,
        {"choices": 1},
        {"choices": [1]},
        {"choices": [{"index": 0, "delta": 1}]},
        {"choices": [{"index": "0"}]},
        {"choices": [{"index": [0]}]},
        {"choices": [{"index": True}]},
        {"choices": [{"index": -1}]},
        {"choices": [{"index": 10**9}]},
        {"choices": [{"index": 0, "logprobs": 1}]},
        {"choices": [{"index": 0, "message": {}}]},
        chunk({"tool_calls": 1}),
        chunk({"tool_calls": [1]}),
        chunk({"tool_calls": [{"index": 10**9}]}),
        chunk({"tool_calls": [{"index": 0, "function": 1}]}),
        chunk({"function_call": 1}),
    ],
)
def test_what_is_no_chunk_is_refused(bad: Any) -> None:
    """A chunk of no known shape is refused even leniently, and an index cannot ask for a huge list."""
    for strict in (True, False):
        with pytest.raises(Unfaithful):
            fold([bad], strict=strict)


def test_a_lenient_fold_keeps_the_last() -> None:
    """An engine's plain call is answered even where a field has two values or a tool call no index."""
    parts = [{"x": 1, "tool_calls": [{"id": "a"}]}, {"x": 2, "tool_calls": [{"id": "b"}]}]
    message = fold([chunk(part) for part in parts], strict=False)["choices"][0]["message"]
    assert message == {"x": 2, "tool_calls": [{"id": "a"}, {"id": "b"}]}


def test_constants_may_be_repeated() -> None:
    """Servers that send role, id and name with every delta, or empty after the first, mean one value."""
    call = {"index": 0, "id": "x", "type": "function", "function": {"name": "f", "arguments": "a"}}
    again = {**call, "id": "", "function": {"name": "f", "arguments": "b"}}
    answer = fold([chunk({"role": "assistant", "tool_calls": [part]}) for part in (call, again)])
    told = {"id": "x", "type": "function", "function": {"name": "f", "arguments": "ab"}}
    assert answer["choices"][0]["message"] == {"role": "assistant", "tool_calls": [told]}


def test_empty_names_do_not_replace_real_ones() -> None:
    """The filter events of Azure have an empty model and object; the answer keeps its own."""
    filters = {"id": "", "object": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    answer = fold([filters, {**chunk({"content": "a"}), "model": "m"}, filters])
    assert (answer["id"], answer["object"], answer["model"]) == ("a", "chat.completion", "m")


def test_the_older_function_call_is_joined() -> None:
    """The arguments of a `function_call` are joined as those of tool calls are."""
    parts: list[dict[str, Any]] = [{"name": "f", "arguments": ""}, {"arguments": "{"}, {"arguments": "}"}]
    answer = fold([chunk({"content": None, "function_call": part}) for part in parts])
    assert answer["choices"][0]["message"] == {"content": None, "function_call": {"name": "f", "arguments": "{}"}}


def test_missing_parts_are_no_parts() -> None:
    """Chunks without choices, null choices and null deltas add nothing."""
    chunks: list[dict[str, Any]] = [{}, {"choices": None}, {"choices": [{"index": 0, "delta": None}]}]
    assert fold([*chunks, chunk({"content": "a"})])["choices"] == [{"index": 0, "message": {"content": "a"}}]


NAMES = ["choices", "delta", "index", "message", "text", "content", "tool_calls", "function", "arguments", "logprobs"]
MESS = st.recursive(
    SCALARS | st.just(0),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(st.data())
def test_nothing_but_unfaithful_is_raised(data: st.DataObject) -> None:
    """Whatever the chunks of a stream are replaced by, a fold ends, or says why it cannot."""
    chunks = data.draw(streams(data.draw(answers())))
    for chunk in data.draw(st.lists(st.sampled_from(chunks), max_size=3)):
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else chunk
        places = [place for place in (chunk, choice, choice.get("delta")) if isinstance(place, dict)]
        data.draw(st.sampled_from(places))[data.draw(st.sampled_from(NAMES))] = data.draw(MESS)
    for strict in (True, False):
        with contextlib.suppress(Unfaithful):
            fold(chunks, strict=strict)


def test_depth_is_no_danger() -> None:
    """A value nested as deeply as a parser allows is refused, not followed until the stack ends."""
    deep = orjson.loads(b"[" * 900 + b"]" * 900)
    call = orjson.loads(b'{"function_call":' * 900 + b"1" + b"}" * 900)
    with pytest.raises(Unfaithful):
        fold([chunk({"x": 0, "y": deep}), chunk({"y": orjson.loads(b"[" * 900 + b"]" * 900)})])
    fold([chunk(call)])
