"""An answer in the form that is asked for, whatever the form it came in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching import sse
from caching.errors import Unfaithful
from caching.fold import fold, is_same
from caching.forms import Answer, may_say_usage, without_usage
from tests.caching.strategies import Json, answers, bodies, streams

USAGE = b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
HEAD = b'"id":"a","object":"chat.completion.chunk","created":1,"model":"m"'
HELLO = b'data: {%b,"choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"}}]}\n\n' % HEAD
END = b'data: {%b,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n' % HEAD
PLAIN: Json = {
    "id": "a",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"total_tokens": 3},
}


def chunks_of(body: bytes) -> list[Json]:
    """What the events of a body bear."""
    assert body.endswith(sse.DONE)
    return [chunk for event in sse.events(body) if (chunk := sse.json_of(event)) is not None]


@given(st.data())
def test_a_stream_serves_both_forms(data: st.DataObject) -> None:
    """A stream is served with its own events; folded, if it says its usage, it is the answer, and so expanded again."""
    answer = data.draw(answers())
    chunks = data.draw(streams(answer))
    kept = Answer.of_stream(data.draw(bodies(chunks)))
    assert chunks_of(kept.events(usage=True)) == chunks
    alone = [chunk for chunk in chunks if chunk["choices"] or chunk.get("usage") is None]
    assert chunks_of(kept.events(usage=False)) == alone
    if answer.get("usage") is None:
        with pytest.raises(Unfaithful):
            kept.plain()
    else:
        assert is_same(orjson.loads(kept.plain()), answer)
        assert kept.size == len(kept.plain())
    assert is_same(fold(chunks_of(kept.events(usage=True))), answer)


@given(answers())
def test_a_plain_answer_serves_both_forms(answer: Json) -> None:
    """A plain answer is served as the bytes that came; its events fold into it, without the usage if none is asked."""
    body = orjson.dumps(answer)
    kept = Answer.of_plain(body)
    told = kept.events(usage=True)
    assert is_same(fold(chunks_of(told)), answer)
    assert kept.plain() == body
    without = {name: value for name, value in answer.items() if name != "usage" or value is None}
    assert is_same(fold(chunks_of(kept.events(usage=False))), without)
    assert Answer.of_plain(body).events(usage=True) == told


def test_events_are_the_very_same() -> None:
    """The bytes of a stream are served as they came, with or without the usage event."""
    kept = Answer.of_stream([HELLO, END + USAGE + sse.DONE])
    assert kept.events(usage=True) == HELLO + END + USAGE + sse.DONE
    assert kept.events(usage=False) == HELLO + END + sse.DONE


def test_a_usage_that_never_came_is_not_made_up() -> None:
    """Asked for the usage of a stream that had none, none is sent."""
    assert Answer.of_stream([HELLO, END, sse.DONE]).events(usage=True) == HELLO + END + sse.DONE


def test_comments_and_line_ends_are_not_kept() -> None:
    """Keep-alives go, other line ends become LF, what follows `[DONE]` is not sent; fields like `event` stay."""
    lines = HELLO.replace(b"\n", b"\r\n")
    wild = b"\xef\xbb\xbf: hi\n\n" + lines + b": hi\r\n\r\nevent: x\r\n: hi\r\n" + END + b"data:[DONE]\n\n" + HELLO
    assert Answer.of_stream([wild]).events(usage=True) == HELLO + b"event: x\n" + END + sse.DONE


@pytest.mark.parametrize("last", [b"", b"data: [DONE]", b"data: [DONE]\n", b"data:[DONE]\r\n\r\n", END[:0]])
def test_every_body_ends_once(last: bytes) -> None:
    """However a server ends its stream, ours ends in one `[DONE]`."""
    assert Answer.of_stream([HELLO + END + last]).events(usage=True) == HELLO + END + sse.DONE


@pytest.mark.parametrize("silent", [b"", b'data: {"choices":[],"usage":null}\n\n'])
def test_a_stream_without_usage_has_no_plain_form(silent: bytes) -> None:
    """Who asks for a plain answer relies on its usage, so a stream that does not say it stays one."""
    kept = Answer.of_stream([HELLO, END + silent, sse.DONE])
    with pytest.raises(Unfaithful, match="does not say its usage"):
        kept.plain()
    assert kept.events(usage=True) == HELLO + END + silent + sse.DONE


def test_usage_beside_a_choice_is_enough() -> None:
    """Some servers put the usage on the chunk that ends the choice."""
    end = END.replace(b"}]}", b'}],"usage":{"total_tokens":3}}')
    assert orjson.loads(Answer.of_stream([HELLO, end, sse.DONE]).plain()) == PLAIN


@given(st.data())
def test_no_usage_is_overlooked(data: st.DataObject) -> None:
    """A stream that says its usage is never taken for one that does not."""
    answer = data.draw(answers())
    body = b"".join(data.draw(bodies(data.draw(streams(answer)))))
    assert may_say_usage(body) or answer.get("usage") is None


@pytest.mark.parametrize("block", [HELLO, HELLO.replace(b"Hello", b'\\"usage\\":{}'), b'data: {"usage": null}\n\n'])
def test_usage_that_is_not_said(block: bytes) -> None:
    """A null is none, and nor is a text that speaks of one."""
    assert not may_say_usage(block)


def test_folding_drops_the_stream() -> None:
    """Once folded only the plain document is held, and streams are made of it."""
    kept = Answer.of_stream([HELLO, END, USAGE, sse.DONE])
    assert kept.size == len(HELLO + END + USAGE + sse.DONE)
    assert orjson.loads(kept.plain()) == PLAIN
    assert kept.size == len(kept.plain())
    assert is_same(fold(chunks_of(kept.events(usage=True))), PLAIN)


@pytest.mark.parametrize(
    "stream",
    [
        b"data: {oops}\n\n",
        b"data: [1]\n\n",
        b"",
        USAGE,
        HELLO + HELLO.replace(b"content", b"x_new") + HELLO.replace(b"content", b"x_new"),
        HELLO.replace(b'"index":0', b'"index":1'),
        HELLO.replace(b'"Hello"', b'"\\ud800"'),
        HELLO.replace(b'"Hello"', b"[" * 300 + b"]" * 300),
        HELLO.replace(b'"created":1', b'"created":-123456789012345678901'),
    ],
)
def test_an_unfaithful_stream_stays_one(stream: bytes) -> None:
    """A stream with no faithful fold is refused as a plain answer, and still served as the stream it is."""
    kept = Answer.of_stream([stream + sse.DONE])
    for _ in range(2):
        with pytest.raises(Unfaithful):
            kept.plain()
    assert kept.events(usage=True) == stream + sse.DONE


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"choices":[]}', b'{"data":[]}', orjson.dumps(PLAIN).replace(b":1,", b":123456789012345678901,")],
)
def test_an_unfaithful_document_stays_one(body: bytes) -> None:
    """A document that cannot be streamed is refused as a stream, and still served as the document it is."""
    kept = Answer.of_plain(body)
    for _ in range(2):
        with pytest.raises(Unfaithful):
            kept.events(usage=True)
    assert kept.plain() == body


def test_two_threads_may_ask_at_once() -> None:
    """Asked for both forms by several threads, each gets a whole answer."""
    for _ in range(20):
        kept = Answer.of_stream([HELLO, END, USAGE, sse.DONE])

        def ask(usage: bool, kept: Answer = kept) -> tuple[Any, Json]:  # noqa: FBT001  mapped over
            told = fold(chunks_of(kept.events(usage=usage)))
            return orjson.loads(kept.plain()), told if usage else {**told, "usage": PLAIN["usage"]}

        with ThreadPoolExecutor(4) as threads:
            assert all(told == (PLAIN, PLAIN) for told in threads.map(ask, [True, False] * 4))


@given(st.data())
def test_usage_events_are_removed(data: st.DataObject) -> None:
    """Of any block, exactly the events that bear a usage and no choice go; the others stay byte for byte."""
    block = b"".join(data.draw(bodies(data.draw(streams(data.draw(answers()))))))
    kept = [event for event in sse.events(block) if not is_usage(sse.json_of(event))]
    assert without_usage(block) == b"".join(kept)


def is_usage(chunk: Json | None) -> bool:
    """Say whether a chunk bears a usage and no choice."""
    return chunk is not None and chunk["choices"] == [] and chunk.get("usage") is not None


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b": hi\n\n",
        HELLO,
        b'data: {"choices":[],"usage":null}\n\n',
        b'data: {"choices":[{"index":0,"delta":{}}],"usage":{}}\n\n',
        b'data: {"choices":[],"x":"\\"usage\\":{}"}\n\n',
        b'data: {"choices":[],"x":{"usage":{}}}\n\n',
        b'data: {"choices":[],"usage":{oops}\n\n',
        b'data: ["usage"]\n\n',
    ],
)
def test_other_events_stay(block: bytes) -> None:
    """A usage that is null, elsewhere, beside choices, or not JSON does not take its event away."""
    assert without_usage(block) == block
    assert without_usage(block + USAGE + HELLO + USAGE) == block + HELLO


def test_a_big_block_is_searched_once() -> None:
    """Many events that bear usages are each looked at once: no block makes the search quadratic."""
    block = (HELLO + USAGE) * 2000
    assert without_usage(block) == HELLO * 2000
