"""OpenAI's wire format: what is read of requests and answers, and what is made of them."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import wire
from gateway.errors import BadRequest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(st.text(max_size=5), JSON, max_size=4)


@given(st.binary(max_size=60))
def test_parse_answer_never_raises(body: bytes) -> None:
    """Whatever an upstream sends is an object or nothing."""
    answer = wire.parse_answer(body)
    assert answer is None or isinstance(answer, dict)


@given(OBJECT)
def test_errors_in_hostile_answers(answer: dict[str, Any]) -> None:
    """Whatever an answer holds, looking for its error gives an error or none."""
    error = wire.error_of(answer)
    assert error is None or isinstance(error, dict)


def test_lone_surrogates_in_answers() -> None:
    """Engines cut characters in two; the answer is still read."""
    assert wire.parse_answer(b'{"choices": [], "text": "\\ud83d"}') is not None


@given(OBJECT, st.sampled_from(["", " ", "\n\t"]))
def test_usage_is_put_in_front(fields: dict[str, Any], blank: str) -> None:
    """Asking for the usage changes one field and none of the client's."""
    fields = {**fields, "model": "m"}
    raw = (blank + json.dumps(fields)).encode()
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return  # NaN and the like: no JSON
    made = orjson.loads(wire.with_usage_chunk(raw, body))
    assert made.pop("stream_options") == {"include_usage": True}
    assert made == body


@pytest.mark.parametrize(
    ("answered", "asked", "same"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o-2024-08-06", "gpt-4o", True),
        ("gpt-4o-mini", "gpt-4o", False),
        ("gpt-4o-mini-2024-07-18", "gpt-4o", False),
        ("gpt-4-0613", "gpt-4", True),
        ("gpt-4o", "gpt-4", False),
        ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet-latest", True),
        ("openai/gpt-4o", "gpt-4o", True),
        ("gpt-4o", "openai/gpt-4o", True),
        ("llama3:latest", "llama3", True),
        ("llama3:8b", "llama3", False),
        ("gemini-2.0-flash-exp", "gemini-2.0-flash", True),
        ("model@v2", "model", True),
        ("", "m", True),
        (None, "m", True),
        (5, "m", True),
        ("M", "m", False),
        ("m" * 100_000, "m", False),
    ],
)
def test_is_model(answered: object, asked: str, *, same: bool) -> None:
    """An answer may add a path or a version to the name asked for; another model is another."""
    assert wire.is_model(answered, asked) is same


def test_accepted_models() -> None:
    """The policy may accept other names, by globs."""
    assert wire.is_model("our-deployment", "gpt-4o", ("our-*",))
    assert not wire.is_model("their-deployment", "gpt-4o", ("our-*",))


@given(st.text(max_size=40), st.text(max_size=40))
def test_is_model_never_raises(answered: str, asked: str) -> None:
    """Any two names can be compared; equal ones are the same."""
    wire.is_model(answered, asked)
    assert wire.is_model(asked, asked)


@given(OBJECT)
def test_check_refuses_or_names_the_model(body: dict[str, Any]) -> None:
    """A body is refused as the client's mistake, or has a model's name."""
    for endpoint in ("chat", "completions", "embeddings"):
        with contextlib.suppress(BadRequest):
            assert wire.check(endpoint, body) == body["model"]


def test_messages_of_errors_hold_no_text() -> None:
    """What is told of broken JSON is where it broke, never what it said."""
    with pytest.raises(BadRequest) as told:
        wire.parse_body(b'{"messages": "my secret prompt" oops')
    assert "secret" not in told.value.message


def test_too_deep_to_write() -> None:
    """What can be read but not written again is the client's mistake."""
    deep: Any = []
    for _ in range(400):
        deep = [deep]
    with pytest.raises(BadRequest):
        wire.with_model({"model": "a", "x": deep}, "b")
