"""Tests of the upstream whose answers say which question they are for."""

from __future__ import annotations

import pytest

from benchmarks.echo import Broken, answer, call, digest, question, text_of


def test_an_answer_names_its_question_and_its_call_in_both_forms() -> None:
    """The plain document and the stream say the same, and it begins with the digest of the messages."""
    events, plain = answer(call("7", stream=True), 3, 8)
    said = text_of(200, plain)
    assert said.startswith(digest(question("7")) + " call 3 w0")
    assert text_of(200, b"".join(events) + b"data: [DONE]\n\n") == said
    assert len(events) == 8


def test_other_questions_have_other_digests() -> None:
    """No answer to one call can pass as the answer to another."""
    assert digest(question("7")) != digest(question("8"))


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (500, b"{}", "status 500"),
        (200, b"{}", "no chat completion"),
        (200, b"<html>", "a stream without its end"),
        (200, b'data: {"choices": []}\n\n', "a stream without its end"),
        (200, b'data: {"error": {}}\n\ndata: [DONE]\n\n', "no chat completion"),
    ],
)
def test_what_is_no_whole_answer_is_broken(status: int, body: bytes, why: str) -> None:
    """Errors, streams without their end and error events are no answers."""
    with pytest.raises(Broken, match=why):
        text_of(status, body)
