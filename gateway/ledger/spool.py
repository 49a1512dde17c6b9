"""The spool: files by which each worker hands its records to the recorder.

    spool/WORKER-NUMBER.log    one segment; the higher its number, the later it was begun

Laws of this module:

* Only its worker appends to a segment, and holds a lock on it meanwhile; when the lock is free the segment has ended,
  whatever became of its worker. The kernel frees it even for one that was killed.
* A segment is there under its name only once it is locked, so that no reader takes it for one that has ended.
* Only the recorder removes segments.
* Numbers never come twice: a reader remembers a segment by its name.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.ledger.frames import HEAD, Read, frame, parse
from gateway.ledger.health import Health, reason

SEGMENT = 16 * 2**20  # bytes after which a new one is begun
ROOM = 512 * 2**20  # bytes of all segments of all workers
LOOK_SECONDS = 1.0  # between two looks at how much room is left
PIECE = 512 * 1024  # bytes read at once


class Spool:
    """One worker's end: it appends. Used by one thread only; `health` may be read by any."""

    def __init__(
        self,
        folder: Path,
        worker: int,
        *,
        segment: int = SEGMENT,
        room: int = ROOM,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`segment` and `room` in bytes."""
        self.health = Health("spool")
        self._folder = folder
        self._worker = worker
        self._segment = segment
        self._room = room
        self._clock = clock
        self._file: int | None = None
        self._size = 0
        self._records = 0  # in this segment
        self._used = 0  # bytes of all segments, as last seen
        self._look_at = 0.0

    @property
    def is_full(self) -> bool:
        """Say whether there is no room until the recorder has read some."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            with suppress(OSError):
                self._used = used(self._folder)
        return self._used >= self._room

    def append(self, records: Sequence[bytes], dropped: int = 0) -> bool:
        """Append these as one frame, and how many were dropped before them; False if it cannot be done now."""
        try:
            self._append(records, dropped)
        except OSError as error:
            self.health.failing(reason(error))
            return False
        if self.is_full:
            self.health.failing("the spool is full")
        else:
            self.health.well()
        return True

    def close(self) -> None:
        """End the segment."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, records: Sequence[bytes], dropped: int) -> None:
        if self._file is None or self._size >= self._segment or not _is_there(self._file):
            self.close()
            self._begin()
        assert self._file is not None  # noqa: S101 - it was begun
        data = frame(records, self._records, dropped)
        try:
            _write(self._file, data)
        except OSError:
            self._undo()
            raise
        self._size += len(data)
        self._used += len(data)
        self._records += len(records)

    def _undo(self) -> None:
        """Take back half a frame; where that fails the segment ends with it, and the frame goes to the next."""
        try:
            os.ftruncate(self._file or 0, self._size)
            os.lseek(self._file or 0, self._size, os.SEEK_SET)
        except OSError:
            self.close()

    def _begin(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        numbers = [found.number for found in segments(self._folder) if found.worker == self._worker]
        number = max([time.time_ns(), *(number + 1 for number in numbers)])
        path = self._folder / f"{self._worker}-{number}.log"
        for left in self._folder.glob(f"{self._worker}-*.draft"):
            left.unlink(missing_ok=True)  # by one that was killed
        draft = path.with_suffix(".draft")
        file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            _write(file, HEAD)
            draft.rename(path)
        except OSError:
            os.close(file)
            draft.unlink(missing_ok=True)
            raise
        self._file, self._size, self._records = file, len(HEAD), 0


def _write(file: int, data: bytes) -> None:
    """Write all of it. Raises OSError; some of it may have been written then."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _is_there(file: int) -> bool:
    """Say whether the file still has a name: what is written to one without is lost."""
    return os.fstat(file).st_nlink > 0


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One segment as the recorder sees it."""

    number: int
    worker: int
    path: Path

    @property
    def name(self) -> str:
        """What it is remembered by."""
        return self.path.stem

    def size(self) -> int:
        """Its bytes; 0 if it is gone."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def has_ended(self) -> bool:
        """Say whether nobody will append to it any more. Raises OSError."""
        with self.path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def is_ours(self) -> bool:
        """Say whether it is one that this release can read. Raises OSError."""
        with self.path.open("rb") as file:
            return file.read(len(HEAD)) == HEAD

    def read(self, offset: int, *, is_all: bool) -> Read:
        """Some frames from `offset` on; `is_all`: it has ended, so what is not whole is damaged. Raises OSError."""
        offset = max(offset, len(HEAD))
        piece = PIECE
        with self.path.open("rb") as file:
            while True:
                file.seek(offset)
                data = file.read(piece)
                is_end = len(data) < piece
                found = parse(data, offset, is_all=is_all and is_end)
                if found.frames or is_end:
                    return found
                piece = max(2 * piece, found.wants)


def segments(folder: Path) -> list[Segment]:
    """All there are, the oldest first; none if the folder is not there."""
    found = []
    for path in folder.glob("*-*.log"):
        worker, _, number = path.stem.partition("-")
        if worker.isdecimal() and number.isdecimal():
            found.append(Segment(int(number), int(worker), path))
    return sorted(found)


def used(folder: Path) -> int:
    """Bytes of all segments."""
    return sum(segment.size() for segment in segments(folder))
