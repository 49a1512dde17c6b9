"""Server-sent events: whole events come out, however the bytes were cut."""

from __future__ import annotations

import itertools
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import sse

ENDS = ["\n", "\r\n", "\r"]
LINE = st.sampled_from(
    ["data: {}", 'data: {"a": "x\\n\\ny"}', "data: [DONE]", ": hello", "event: e", "data:é", "id: 1"]
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], list[int]]:
    """Events with one kind of line end, and places to cut them at."""
    end = draw(st.sampled_from(ENDS))
    made = draw(st.lists(st.lists(LINE, min_size=1, max_size=3), max_size=6))
    events = [(end.join(lines) + end * 2).encode() for lines in made]
    size = sum(map(len, events))
    return events, sorted(draw(st.lists(st.integers(0, size), max_size=12)))


@given(streams())
def test_any_cutting_gives_the_same_events(made: tuple[list[bytes], list[int]]) -> None:
    """Wherever a stream is cut, its events are the same, in blocks of whole events, and nothing is left."""
    events, cuts = made
    whole = b"".join(events)
    splitter = sse.EventSplitter()
    places = [0, *cuts, len(whole)]
    blocks = [splitter.feed(whole[a:b]) for a, b in itertools.pairwise(places)]
    assert b"".join(blocks) + splitter.rest == whole
    assert [event for block in blocks if block for event in sse.events(block)] == events
    assert splitter.rest == b""


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_no_byte_is_lost(pieces: list[bytes]) -> None:
    """Whatever a server sends, every byte comes out, in order."""
    splitter = sse.EventSplitter()
    blocks = [splitter.feed(piece) for piece in pieces]
    assert b"".join(blocks) + splitter.rest == b"".join(pieces)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n"])
def test_every_empty_line_ends_an_event(end: bytes) -> None:
    """An empty line ends an event in every mixture of line ends, even when it comes byte by byte."""
    splitter = sse.EventSplitter()
    got = b"".join(splitter.feed(bytes([byte])) for byte in b"data: 1" + end + b"data: 2" + end)
    assert b"data: 1" in got
    assert b"data: 2" in got + (splitter.rest if end == b"\r\r" else b"")


def test_an_event_has_a_longest_size() -> None:
    """An event without end is refused before it fills the memory."""
    splitter = sse.EventSplitter()
    assert splitter.feed(b"x" * (sse.MAX_EVENT_BYTES - 1)) == b""
    with pytest.raises(sse.EventTooLong):
        splitter.feed(b"xx")


def test_a_long_event_in_small_pieces_is_cheap() -> None:
    """The work for an event that comes in many small pieces grows with its size, not with the square of it."""

    def seconds(size: int) -> float:
        splitter, began = sse.EventSplitter(), perf_counter()
        for _ in range(size // 500):
            splitter.feed(b"x" * 500)
        return perf_counter() - began

    seconds(100_000)
    assert seconds(6_000_000) < 40 * max(seconds(600_000), 0.001)
