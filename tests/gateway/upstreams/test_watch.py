"""What is seen of a stream that passes by: usage wherever it stands, and nothing changed for the client."""

from __future__ import annotations

import pytest

from gateway.call import Call, Caller, Target
from gateway.trace import Attempt, Trace, Usage
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
    assert watched(zeros)[0].attempt.usage is None


def test_text_about_usage_is_no_usage() -> None:
    """A model that writes JSON with a usage in it reports none."""
    block = b'data: {"choices":[{"delta":{"content":"{\\"usage\\": {\\"prompt_tokens\\": 9}}"}}]}\n\n'
    watch, got = watched(block, withhold=True)
    assert got == block
    assert watch.attempt.usage is None


SAID = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
EMPTY = b'data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
CALL = Call("chat", "m", b"x" * 400, {}, Caller("acme"), Trace("id", 0, 0.0), 30.0, (Target("u", "m"),))


def so_far(completion: int, text: bytes = b"a") -> bytes:
    """A chunk with a word, and with the usage up to it."""
    return b'data: {"choices":[{"delta":{"content":"%b"}}],"usage":{"prompt_tokens":9,"completion_tokens":%d}}\n\n' % (
        text,
        completion,
    )


@pytest.mark.parametrize("one_block", [True, False])
@pytest.mark.parametrize(
    ("blocks", "usage"),
    [
        ([SAID, STOP, ALONE, DONE], Usage(3, 2)),
        ([SAID, STOP, ALONE], Usage(3, 2)),  # a server that never says [DONE]
        ([SAID, SAID, ALONE, DONE], Usage(3, 2)),  # or never why it ended
        ([SAID, SAID, SAID, SAID, STOP, ALONE, DONE], Usage(3, 2)),  # several words an event may be, or fewer
        ([so_far(1), so_far(2), so_far(3), STOP, DONE], Usage(9, 3)),
        ([so_far(1), so_far(2), so_far(3), DONE], Usage(9, 3)),
        ([SAID, STOP, ALONE, EMPTY, DONE], Usage(3, 2)),  # nothing more was said
        ([so_far(1), so_far(2), so_far(3)], Usage(9, 3, estimated=True)),  # cut
        ([so_far(1), SAID, SAID, SAID], Usage(9, 4, estimated=True)),
        ([so_far(1), SAID, SAID, SAID, STOP, DONE], Usage(9, 5, estimated=True)),  # it did not tell the last of it
        ([SAID, SAID, b'data: {"choices":[],"usage":{"prompt_tokens":9}}\n\n', DONE], Usage(9, 3, estimated=True)),
        ([EMPTY, STOP, b'data: {"choices":[],"usage":{"prompt_tokens":9}}\n\n', DONE], Usage(9)),  # nothing was said
        ([SAID, SAID, b'data: {"choices":[],"usage":{}}\n\n', DONE], Usage(100, 3, estimated=True)),
        ([SAID, b'data: {"choices":[],"usage":{"completion_tokens":7}}\n\n', DONE], Usage(100, 7, estimated=True)),
        ([SAID, SAID, STOP, DONE], Usage(100, 3, estimated=True)),
        ([so_far(1), b': "error"\n\n', SAID, DONE], Usage(9, 2, estimated=True)),  # read event by event
    ],
)
def test_settled(blocks: list[bytes], usage: Usage, *, one_block: bool) -> None:
    """What a server told at its end is measured; what it left out, or told before its last word, is estimated."""
    watch, _ = watched(*([b"".join(blocks)] if one_block else blocks))
    watch.settle(CALL)
    assert watch.attempt.usage == usage
