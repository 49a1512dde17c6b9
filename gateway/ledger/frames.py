"""Records in a spool's segment: frames, each with its length, its checksum and its place, one behind the other.

A segment begins with `HEAD`. A frame that is not whole yet is waited for while its writer lives. Bytes that are no
frame are passed over up to the next frame that is one; by the frames' numbers one knows how many records were lost.
"""

from __future__ import annotations

import marshal
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.ledger.record import VERSION

HEAD = b"sluice spool %03d\n" % VERSION
LONGEST = 128 * 2**20  # bytes of a frame; a length that says more is damaged
_MAGIC = b"\xf5Slc"
_FRAME = struct.Struct("<4sIIII")  # magic, bytes of payload, checksum, records before it in the segment, records in it
_PLACE = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that was read: where it lies in the segment, and what is in it."""

    begin: int
    end: int
    first: int  # records before it
    records: Sequence[bytes]
    dropped: int  # records that the worker could not keep, since the frame before


def frame(records: Sequence[bytes], first: int, dropped: int) -> bytes:
    """A frame of these records, before which `first` were written to the segment."""
    payload = marshal.dumps((dropped, list(records)), 2)
    place = _PLACE.pack(first, len(records))
    return _FRAME.pack(_MAGIC, len(payload), zlib.crc32(payload, zlib.crc32(place)), first, len(records)) + payload


@dataclass(frozen=True, slots=True)
class Read:
    """What was found in a piece of a segment."""

    frames: list[Frame]
    end: int  # where to go on reading
    wants: int = 0  # bytes that the next piece must have, to hold the next frame
    torn: int = 0  # records of the last frame, which never was whole; as far as one can tell


def parse(data: bytes, offset: int, *, is_all: bool) -> Read:
    """The frames in a piece of a segment that begins at `offset`; `is_all`: there is and will be no more behind it."""
    frames: list[Frame] = []
    at = 0
    while at < len(data):
        found, length = _at(data, at, offset)
        if found is not None:
            frames.append(found)
            at = found.end - offset
            continue
        if at + length > len(data) and not is_all:
            return Read(frames, offset + at, length)
        after = _next(data, at + 1, offset)
        if after is None and not is_all:
            return Read(frames, offset + at, 2 * len(data))  # the next good frame may be further on, or yet to come
        if after is None:
            return Read(frames, offset + len(data), torn=_torn(data[at:]))
        at = after
    return Read(frames, offset + at, _FRAME.size)


def _torn(data: bytes) -> int:
    """How many records the frame that begins here would have had, as far as one can tell; at least one."""
    if len(data) < _FRAME.size:
        return 1
    magic, length, _, _, count = _FRAME.unpack_from(data)
    return count if magic == _MAGIC and 0 < count <= length else 1


def _at(data: bytes, at: int, offset: int) -> tuple[Frame | None, int]:
    """The frame that begins here, or None and how many bytes are needed to tell."""
    if at + _FRAME.size > len(data):
        return None, _FRAME.size
    magic, length, checksum, first, count = _FRAME.unpack_from(data, at)
    if magic != _MAGIC or length > LONGEST:
        return None, 0
    begin, end = at + _FRAME.size, at + _FRAME.size + length
    if end > len(data):
        return None, end - at
    payload = data[begin:end]
    if zlib.crc32(payload, zlib.crc32(_PLACE.pack(first, count))) != checksum:
        return None, 0
    dropped, records = _payload(payload)
    return Frame(offset + at, offset + end, first, records, dropped), end - at


def _payload(payload: bytes) -> tuple[int, list[bytes]]:
    told: Any = marshal.loads(payload)  # noqa: S302 - we wrote it: the file is ours alone and its checksum agrees
    dropped, records = told
    return dropped, records


def _next(data: bytes, at: int, offset: int) -> int | None:
    """Where the next good frame begins, if there is one."""
    return next((place for place in _magics(data, at) if _at(data, place, offset)[0] is not None), None)


def _magics(data: bytes, at: int) -> Iterator[int]:
    while (at := data.find(_MAGIC, at)) >= 0:
        yield at
        at += 1
