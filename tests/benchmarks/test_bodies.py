"""Tests of what load generator and upstream say to each other."""

from __future__ import annotations

import orjson
import pytest

from benchmarks.bodies import CHUNKS, SIZES, STAMP, Kind, Size, completion, events, request_body, usage_event, wanted


@pytest.mark.parametrize("size", ["1.7k", "100k"])
@pytest.mark.parametrize("kind", ["plain", "burst", "whole", "paced", "error", "garbage", "cut", "hang"])
def test_a_request_has_its_size_and_says_what_it_wants(kind: Kind, size: Size) -> None:
    """Each body is valid JSON of exactly the promised bytes, and the upstream reads its kind from it."""
    body = request_body(kind, size).numbered(42)
    assert len(body) == SIZES[size]
    assert orjson.loads(body)["stream"] is (kind in {"burst", "whole", "paced", "cut"})
    assert wanted(body) == kind


def test_no_two_requests_are_equal() -> None:
    """A number in each body keeps every cache from answering."""
    body = request_body("plain", "1.7k")
    assert body.numbered(1) != body.numbered(2)
    assert len(body.numbered(1)) == len(body.numbered(10**11))


def test_a_marker_survives_another_serializer() -> None:
    """A gateway that parses the body and writes it anew, keys sorted, does not hide what is wanted."""
    again = orjson.dumps(orjson.loads(request_body("burst", "1.7k").numbered(1)), option=orjson.OPT_SORT_KEYS)
    assert wanted(again) == "burst"


def test_a_request_without_marker_gets_what_stream_says() -> None:
    """A curl by hand is answered too."""
    assert wanted(b'{"stream": true}') == "burst"
    assert wanted(b'{"stream":false}') == "plain"


def test_a_stream_has_66_chunks_and_stamps_of_one_width() -> None:
    """All chunks but the last carry one stamp of 16 digits, so that every answer of a kind has the same length."""
    stream = events()
    assert len(stream) == CHUNKS
    assert [len(STAMP.findall(event)) for event in stream] == [1] * (CHUNKS - 1) + [0]
    assert all(event.startswith(b"data: ") and event.endswith(b"\n\n") for event in stream)


def test_answers_are_chat_completions() -> None:
    """The plain answer and the usage event have the fields that clients read."""
    answer = orjson.loads(completion())
    assert answer["model"] == "static"
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]
    assert orjson.loads(usage_event().removeprefix(b"data: "))["choices"] == []
