"""The two forms of an answer: the plain document and the stream. One is kept; the other is made when asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from caching import documents, sse
from caching.errors import Unfaithful
from caching.expand import expand, prove
from caching.fold import fold

HUGE = re.compile(rb"[:,\[]-?\d(?:\.\d+)?e\+(?:19|[2-9]\d|\d{3})")  # as orjson writes what is beyond 64 bits
HAS_USAGE = re.compile(rb'"usage"\s*:\s*[^n\s]')  # and not null
NO_USAGE = "the stream does not say its usage, which a plain answer does"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # may begin a stream, says the standard, and means nothing


class Answer:
    """One answer in the form it came in.

    Folding replaces the stream by the plain document, which is the smaller one; from then on streams are made of it.
    Safe to use from several threads: two may both do the same work, and whose result stays makes no difference.
    """

    __slots__ = ("_form", "_is_proven")

    def __init__(self, form: bytes | Sequence[bytes] | _Stream, *, is_proven: bool = False) -> None:
        self._form = form
        self._is_proven = is_proven  # that the plain document can be streamed without a loss

    @classmethod
    def of_plain(cls, body: bytes, *, is_proven: bool = False) -> Answer:
        """An answer that came as one JSON document. It is not read before someone wants it as a stream.

        `is_proven`: it is known that it can be streamed without a loss.
        """
        return cls(body, is_proven=is_proven)

    @classmethod
    def of_stream(cls, frames: Sequence[bytes]) -> Answer:
        """An answer that came as a stream. Each frame is a block of whole events; the sequence must not change."""
        return cls(frames)

    @property
    def is_proven(self) -> bool:
        """Say whether it is known that its plain form can be streamed without a loss."""
        return self._is_proven

    @property
    def is_plain(self) -> bool:
        """Say whether it is held in its plain form."""
        return isinstance(self._form, bytes)

    @property
    def size(self) -> int:
        """Bytes held."""
        form = self._form
        if isinstance(form, bytes):
            return len(form)
        return len(form.body) if isinstance(form, _Stream) else sum(map(len, form))

    def plain(self) -> bytes:
        """The plain JSON document. Raises Unfaithful if the stream cannot be told as one, and back again.

        Nor can one that does not say its usage: clients rely on that of a plain answer.
        """
        form = self._form
        if isinstance(form, bytes):
            return form
        answer = fold(_chunks(self._stream(form).body))
        if answer.get("usage") is None:
            raise Unfaithful(NO_USAGE)
        prove(expand(answer), answer)
        plain = documents.dumps(answer)
        _check_numbers(plain)
        self._is_proven = True
        self._form = plain
        return plain

    def events(self, *, usage: bool) -> bytes:
        """A whole body of server-sent events that ends in `[DONE]`; the usage event is left out unless asked for.

        Of a stream they are its own events, without comments. Raises Unfaithful if a plain answer cannot be streamed.
        """
        form = self._form
        if isinstance(form, bytes):
            return self._expanded(form, usage=usage)
        stream = self._stream(form)
        return stream.body if usage else stream.without_usage()

    def _stream(self, form: Sequence[bytes] | _Stream) -> _Stream:
        if isinstance(form, _Stream):
            return form
        body = _tidy(b"".join(form))
        stream = _Stream(body, tuple(_usage_spans(body)))
        self._form = stream
        return stream

    def _expanded(self, plain: bytes, *, usage: bool) -> bytes:
        answer = documents.loads(plain)
        chunks = expand(answer)
        if not self._is_proven:
            prove(chunks, answer)
            _check_numbers(documents.dumps(answer))
            self._is_proven = True
        if not usage and not chunks[-1]["choices"]:
            del chunks[-1]
        return b"data: " + b"\n\ndata: ".join([documents.dumps(chunk) for chunk in chunks]) + b"\n\n" + sse.DONE


@dataclass(frozen=True, slots=True)
class _Stream:
    """A body of events, each ended by LF LF, and where in it those lie that bear nothing but the usage."""

    body: bytes
    spans: tuple[tuple[int, int], ...]

    def without_usage(self) -> bytes:
        return _cut(self.body, self.spans)


def may_say_usage(body: bytes) -> bool:
    """Say whether a stream may bear its usage, without parsing it; False only where it surely does not."""
    return HAS_USAGE.search(body) is not None


def without_usage(block: bytes) -> bytes:
    """A block of whole events without those that bear a usage and no choice. Cheap where there is none."""
    return _cut(block, _usage_spans(block)) if b'"usage"' in block else block


def _cut(block: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
    if not spans:
        return block
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), len(block)]
    return b"".join([block[end:start] for end, start in zip(ends, starts, strict=True)])


def _usage_spans(block: bytes) -> list[tuple[int, int]]:
    spans = _spans_any(block) if b"\r" in block else _spans_of_matches(block)
    return [(start, end) for start, end in spans if _is_usage_only(block[start:end])]


def _spans_of_matches(block: bytes) -> Iterator[tuple[int, int]]:
    """Events that may bear a usage, found without looking at the others."""
    end = 0
    while match := HAS_USAGE.search(block, end):
        start = block.rfind(b"\n\n", end, match.start())
        start = start + 2 if start >= 0 else end
        end = block.find(b"\n\n", match.end())
        end = end + 2 if end >= 0 else len(block)
        yield start, end


def _spans_any(block: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    for event in sse.events(block):
        if HAS_USAGE.search(event):
            yield start, start + len(event)
        start += len(event)


def _is_usage_only(event: bytes) -> bool:
    try:
        chunk = sse.json_of(event)
    except ValueError:  # what is not JSON is not ours to remove
        return False
    return chunk is not None and chunk.get("choices") == [] and chunk.get("usage") is not None


def _tidy(body: bytes) -> bytes:
    """The events of a body up to its end, without comments, each ended by LF LF, and `[DONE]`."""
    if body.startswith(b"data: {") and b"\r" not in body and b"\n:" not in body and _is_done_last(body):
        return body
    kept: list[bytes] = []
    for event in sse.events(body.removeprefix(BYTE_ORDER_MARK)):
        lines = [line for line in event.splitlines() if line and not line.startswith(b":")]
        if b"[DONE]" in event and (sse.data_of(event) or b"").strip() == b"[DONE]":
            break
        if lines:
            kept.append(b"\n".join(lines) + b"\n\n")
    return b"".join(kept) + sse.DONE


def _is_done_last(body: bytes) -> bool:
    return body.endswith(b"\n\n" + sse.DONE) and body.find(b"\ndata: [DONE]") == len(body) - len(sse.DONE) - 1


def _chunks(body: bytes) -> Iterator[dict[str, Any]]:
    for event in sse.events(body):
        try:
            chunk = sse.json_of(event)
        except ValueError as error:
            raise Unfaithful("an event is not a JSON object") from error
        if chunk is not None:
            yield chunk


def _check_numbers(written: bytes) -> None:
    """Refuse integers of more than 64 bits: parsing them into floats has lost their last digits."""
    if HUGE.search(written):
        raise Unfaithful("the answer has numbers too large to be kept exactly")
