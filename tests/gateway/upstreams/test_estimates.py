"""Counts of ours, where a server tells none that can be believed."""

from __future__ import annotations

import json
from time import perf_counter
from typing import Any

import pytest

from gateway.call import Call, Caller, Target
from gateway.trace import Trace, Usage
from gateway.upstreams.estimates import completed, of_answer, of_part, prompt_tokens, tokens_in

PICTURE = "data:image/png;base64," + "iVBORw0KGgo+/A" * 1000 + "=="


def call(body: bytes = b"x" * 400, endpoint: str = "chat") -> Call:
    """A call with this body."""
    return Call(endpoint, "m", body, {}, Caller("acme"), Trace("id", 0, 0.0), 30.0, (Target("u", "m"),))


def chat(**message: Any) -> dict[str, Any]:
    """A plain answer."""
    return {"choices": [{"message": {"role": "assistant", **message}}]}


def test_pictures_are_not_words() -> None:
    """A picture inside a prompt is left out of its estimate, whether or not its slashes are escaped."""
    words = {"type": "text", "text": "What is it? " * 100}
    body = json.dumps([words, {"image_url": {"url": PICTURE}}, words, {"image_url": {"url": PICTURE}}]).encode()
    assert prompt_tokens(body) == pytest.approx(600, abs=30)
    assert prompt_tokens(body.replace(b"/", rb"\/")) == pytest.approx(600, abs=30)
    assert prompt_tokens(b"x" * 400) == 100


def test_words_about_pictures_are_words() -> None:
    """Only what is a picture is left out: a prompt cannot hide behind the word for one."""
    assert prompt_tokens(b";base64, and a long story" * 100) == 625
    assert prompt_tokens(b'"data:text/plain;base64,QUJD and a long story"') == 4


def test_no_body_makes_it_slow() -> None:
    """A body made to be searched at length takes a moment."""
    began = perf_counter()
    prompt_tokens((b"data:" + b"a" * 100) * 20_000 + b";base64,")
    assert perf_counter() - began < 2.0


@pytest.mark.parametrize(
    ("told", "said", "usage"),
    [
        (None, 7, Usage(100, 7, estimated=True)),
        (Usage(9, 5, 3, 2), 7, Usage(9, 5, 3, 2)),
        (Usage(9, 0, 3), 7, Usage(9, 7, 3, estimated=True)),
        (Usage(9), 0, Usage(9)),
        (Usage(0, 5), 7, Usage(100, 5, estimated=True)),
    ],
)
def test_completed(told: Usage | None, said: int, usage: Usage) -> None:
    """What was told stays, what was left out is estimated."""
    assert completed(call(), told, said) == usage


@pytest.mark.parametrize(
    ("answer", "completion"),
    [
        (chat(content="twelve bytes"), 3),
        (chat(content=None, reasoning_content="abcd", refusal="abcd"), 2),
        (chat(content=None, tool_calls=[{"function": {"name": "f", "arguments": "{}"}}]), 11),
        (chat(content="a"), 1),
        (chat(content="\ud83d"), 1),
        (chat(content=["\ud83d"]), 1),
        ({"choices": [{"text": "twelve bytes"}, {"text": "and more"}]}, 5),
        ({"choices": [{"delta": {"content": "abcd"}}]}, 1),
        ({"choices": [{"message": {"content": ""}}, {"message": 7}, 7, {}]}, 0),
        ({"choices": "x"}, 0),
        ({"data": [{"embedding": [0.5]}]}, 0),
    ],
)
def test_answers(answer: dict[str, Any], completion: int) -> None:
    """Of an answer without a usage the words are counted, whatever shape it has."""
    assert of_answer(call(), None, answer) == Usage(100, completion, estimated=True)
    if completion:
        assert of_answer(call(), Usage(9), answer) == Usage(9, completion, estimated=True)
    assert of_answer(call(), Usage(9, 5), answer) == Usage(9, 5)


def test_what_broke_off() -> None:
    """What came of an answer counts, but for the numbers of an embedding."""
    assert of_part(call(), 40) == Usage(100, 10, estimated=True)
    assert of_part(call(endpoint="embeddings"), 40) == Usage(100, 0, estimated=True)
    assert (tokens_in(0), tokens_in(1), tokens_in(8)) == (0, 1, 2)
