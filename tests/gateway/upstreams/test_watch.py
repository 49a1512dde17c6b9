"""What is seen of a stream that passes by: usage wherever it stands, and nothing changed for the client."""

from __future__ import annotations

import pytest

from gateway.trace import Attempt, Usage
from gateway.upstreams.watch import StreamWatch

TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"usage":null}\n\n'
COUNTS = b'{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}'
ALONE = b'data: {"choices":[],"usage":%b}\n\n' % COUNTS


def watched(*blocks: bytes, withhold: bool = False) -> tuple[StreamWatch, bytes]:
    """A watch that has seen these blocks, and what the client gets."""
    watch = StreamWatch(Attempt("u", "m", 0.0), withhold=withhold)
    return watch, b"".join(watch.see(block) for block in blocks)


def test_null_is_no_usage() -> None:
    """Chunks that say `"usage":null` pass untouched and count nothing."""
    watch, got = watched(TEXT, TEXT * 3, withhold=True)
    assert got == TEXT * 4
    assert watch.attempt.usage is None


@pytest.mark.parametrize(
    "block",
    [
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"r","usage":%b}}\n\n' % COUNTS,
        b'data: {"choices":[{"delta":{},"finish_reason":"stop","usage":%b}]}\n\n' % COUNTS,
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage" : %b}\n\n' % COUNTS,
        b'data: {"choices":[{"delta":{},"finish_reason":"stop","usage":%b}],"usage":%b}\n\n' % (COUNTS, COUNTS),
        TEXT + b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"usage":%b}}\n\n' % COUNTS + TEXT,
        b'data: {"choices":[],"x_groq":{"usage":%b}}\n\n' % COUNTS,
    ],
)
def test_usage_is_seen_where_it_stands(block: bytes) -> None:
    """Usage in `x_groq`, in a choice or beside one is counted, and the client gets every byte of it."""
    watch, got = watched(block, withhold=True)
    assert got == block
    assert watch.attempt.usage == Usage(3, 2)


def test_zeros_do_not_wipe_out_a_usage() -> None:
    """A server that ends with a usage of zeros has not taken back what it told before."""
    zeros = b'data: {"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}\n\n'
    assert watched(ALONE, zeros)[0].attempt.usage == Usage(3, 2)
    assert watched(zeros)[0].attempt.usage == Usage()


def test_text_about_usage_is_no_usage() -> None:
    """A model that writes JSON with a usage in it reports none."""
    block = b'data: {"choices":[{"delta":{"content":"{\\"usage\\": {\\"prompt_tokens\\": 9}}"}}]}\n\n'
    watch, got = watched(block, withhold=True)
    assert got == block
    assert watch.attempt.usage is None
