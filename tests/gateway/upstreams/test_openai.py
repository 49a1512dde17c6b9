"""The OpenAI-compatible upstream by itself: what is read of a Retry-After, and what a stream may look like."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.trace import Attempt
from gateway.upstreams.openai import LONGEST_REST, _retry_after
from gateway.upstreams.watch import StreamWatch, looks_right

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 7 "}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "-1"}, 0),
        ({"retry-after-ms": "inf"}, LONGEST_REST),
        ({"retry-after-ms": "nan"}, None),
        ({"retry-after-ms": "soon"}, None),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30),
        ({"retry-after": "Tue, 14 Nov 2023 22:00:00 GMT"}, 0),
        ({"retry-after": "Tue, 14 Nov 9999 22:00:00 GMT"}, LONGEST_REST),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "9" * 500}, LONGEST_REST),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds and dates are read; what makes no sense is none, what is absurd is bounded."""
    assert _retry_after(headers, lambda: NOW) == seconds


@given(st.sampled_from(["retry-after", "retry-after-ms"]), st.text(max_size=40) | st.floats().map(str))
def test_retry_after_never_raises(name: str, value: str) -> None:
    """Whatever a server says, the wait is none, or finite and bearable."""
    seconds = _retry_after({name: value}, lambda: NOW)
    assert seconds is None or (0 <= seconds <= LONGEST_REST and math.isfinite(seconds))


@pytest.mark.parametrize(
    ("block", "right"),
    [
        (b"", True),
        (b'data: {"a": 1}\n\n', True),
        (b'data: {"a": 1}\n\ndata: {"b": 2}\n\n', True),
        (b'data: {"a": 1}\n\ndata: [DONE]\n\n', True),
        (b"data: [DONE]\n\n", True),
        (b"data: <html>\n\n", False),
        (b'data: {"a": \n\n', False),
        (b'data: {"a": 1}\n\ndata: nonsense\n\n', False),
        (b'data: {"a": 1}\n\ndata: [DONE]\n\ndata: {"b": 2}\n\n', False),
        (b'data: {"a": \n\ndata: [DONE]\n\n', False),
        (b'data: {"a": 1}\r\n\r\n', False),
        (b": comment\n\n", True),
    ],
)
def test_looks(block: bytes, *, right: bool) -> None:
    """What looks right needs no reading; everything else is read event by event."""
    assert looks_right(block, block.count(b"data:")) is right


def watched(*blocks: bytes, withhold: bool = False) -> tuple[StreamWatch, bytes]:
    """A watch that has seen these blocks, and what the client gets."""
    watch = StreamWatch(Attempt("u", "m", 0.0), withhold=withhold)
    return watch, b"".join(watch.see(block) for block in blocks)


def test_done_is_a_line_of_its_own() -> None:
    """A model that writes "[DONE]" has not ended its stream."""
    watch, _ = watched(b'data: {"choices":[{"delta":{"content":"[DONE]"}}]}\n\n')
    assert not watch.is_done
    assert watched(b"data: [DONE]\n\n")[0].is_done
    assert watched(b"data: [DONE]\r\n\r\n")[0].is_done
    assert watched(b'data: {"choices":[]}\n\ndata:[DONE]\n\n')[0].is_done


@pytest.mark.parametrize(
    "event",
    [
        b": ping\n\n",
        b"event: message\nid: 7\ndata: {}\n\n",
        b"retry: 100\n\n",
        b"data: {}\r\n\r\n",
        b"data:{}\n\n",
        b"\n\n",
        b'data: {"t": "\\ud83d", "error": null}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\"error\\": {"}}]}\n\n',
    ],
)
def test_unusual_events_pass(event: bytes) -> None:
    """Comments, ids, other line ends and half characters are no faults, and pass as they are."""
    watch, got = watched(event)
    assert got == event
    assert watch.error is None


def test_events_before_a_broken_one_pass() -> None:
    """In a block that holds a broken event, what stands before it reaches the client."""
    watch, got = watched(b'data: {"a": 1}\n\ndata: {"b"\n\ndata: {"c": 3}\n\n')
    assert got == b'data: {"a": 1}\n\n'
    assert watch.error is not None
    assert watch.error[0] == "garbage"


def test_the_last_usage_counts() -> None:
    """Usage that is repeated is cumulative: the last one counts, never their sum."""
    watch, _ = watched(*(b'data: {"choices":[{}],"usage":{"completion_tokens":%d}}\n\n' % n for n in (1, 2, 3)))
    assert watch.attempt.usage is not None
    assert watch.attempt.usage.completion == 3


def test_only_the_usage_chunk_is_withheld() -> None:
    """Usage beside a choice is part of the answer; the chunk that is nothing else is withheld."""
    beside = b'data: {"choices":[{}],"usage":{"completion_tokens":1}}\n\n'
    alone = b'data: {"choices":[],"usage":{"completion_tokens":1}}\n\n'
    assert watched(beside, alone, withhold=True)[1] == beside
    assert watched(beside, alone)[1] == beside + alone
