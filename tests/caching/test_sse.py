"""Server-sent events: the events of a block, and what they carry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching import sse


@given(st.binary(max_size=200))
def test_events_join_to_their_block(block: bytes) -> None:
    """Cutting a block into events and joining them changes nothing."""
    assert b"".join(sse.events(block)) == block


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: a\n\n", b"a"),
        (b"data:a\r\n\r\n", b"a"),
        (b"data:  a\n\n", b" a"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b": comment\n\n", None),
        (b"event: e\nid: 1\ndata: a\n\n", b"a"),
        (b"data\n\n", None),
        (b"\n\n", None),
        (b"data: \n\n", b""),
        (b"data: a\nx", b"a"),
        (b"data: a\rdata: b\n\n", b"a\nb"),
    ],
)
def test_data(event: bytes, data: bytes | None) -> None:
    """The data of an event is that of its data lines, without the one blank after the colon."""
    assert sse.data_of(event) == data


def test_json() -> None:
    """An event carries one JSON object, or nothing to read; anything else is an error."""
    assert sse.json_of(b'data: {"a": 1}\n\n') == {"a": 1}
    assert sse.json_of(sse.DONE) is None
    assert sse.json_of(b": ping\n\n") is None
    assert sse.json_of(sse.event(b'{"a": 1}')) == {"a": 1}
    for bad in (b"data: [1]\n\n", b"data: <html>\n\n", b"data: \xff\n\n"):
        with pytest.raises(ValueError):  # noqa: PT011 - orjson's error is one
            sse.json_of(bad)
