"""What a stream folds into."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.fold import fold


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
