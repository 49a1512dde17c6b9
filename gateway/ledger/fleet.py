"""A fleet's ledger: each worker publishes its rows to a Redis stream that every admin plane reads.

Laws of this module:

* Publishing never fails and costs the journal at most `deadline` seconds a round. While Redis is gone it costs nothing
  but a try now and then, the seldomer the longer it is gone; later tries may take up to LONGEST seconds, for a Redis
  that is only far away needs some to be connected to.
* What Redis did not take waits in a bounded backlog, the oldest first; over the bound the oldest are dropped, counted.
* An entry keeps its number however often it is sent. By it Redis counts and keeps each once, and so does who reads.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from caching.errors import StoreUnavailable
from gateway.ledger.health import Health, reason
from gateway.ledger.packing import Entry, Packed, Sums, pack
from gateway.ledger.rows import Row

logger = logging.getLogger(__name__)

DEADLINE, LONGEST = 0.25, 1.0  # seconds of the journal's thread in one round; doubled with each failure in a row
REST, LONGEST_REST = 1.0, 16.0  # seconds without a try after a failure; doubled with each in a row
BACKLOG_BYTES = 32 * 1024 * 1024
_ID = re.compile(r"[0-9a-f]{32}")


class Log(Protocol):
    """Where entries go. For one thread."""

    def append(self, entry: Entry, sums: Sums, seconds: float) -> None:
        """Keep the entry and add to the sums, both or neither, once however often asked. Raises StoreUnavailable."""
        ...

    def close(self) -> None:
        """Let go of Redis."""
        ...


def gateway_id(folder: Path) -> str:
    """Who this gateway is in its fleet: a random name, made once for a state directory. Raises OSError.

    All its processes agree on it. A directory that is copied to another machine must leave `gateway.id` behind.
    """
    path = folder / "gateway.id"
    found = _stored(path)
    if not found:
        _store(path, secrets.token_hex(16))
        found = _stored(path)
    return found


def known_id(folder: Path) -> str:
    """As `gateway_id`; "", told in the log, where that fails: without it one's own rows would look like another's."""
    try:
        return gateway_id(folder)
    except OSError as error:
        logger.error("fleet ledger: off, this gateway's id cannot be kept: %s", reason(error))
        return ""


def _stored(path: Path) -> str:
    try:
        path.chmod(0o600)
        text = path.read_bytes()[:64].decode("ascii", "replace").strip()
    except FileNotFoundError:
        return ""
    return text if _ID.fullmatch(text) else ""


def _store(path: Path, name: str) -> None:
    """Keep the name unless another process was first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(name.encode() + b"\n")
        if path.exists() and not _stored(path):
            draft.replace(path)  # an earlier run was cut off after creating an empty file
        else:
            with suppress(FileExistsError):
                os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Waiting:
    entry: Entry
    packed: Packed


def publisher(folder: Path, url: str) -> Publisher | None:
    """What a worker publishes with; None, told in the log, if the state directory can hold no id. Raises ValueError."""
    from gateway.ledger.stream import RedisStream  # noqa: PLC0415 - only a gateway with Redis pays for its client

    name = known_id(folder)
    return Publisher(name, RedisStream(url)) if name else None


class Publisher:
    """One worker's rows on their way to the fleet. For one thread; `status` may be asked by any."""

    def __init__(
        self,
        gateway: str,
        log: Log,
        *,
        deadline: float = DEADLINE,
        room: int = BACKLOG_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`gateway` as `gateway_id` names it; `room` is for the backlog, in bytes."""
        self.health = Health("fleet ledger")
        self._gateway = gateway
        self._run = secrets.token_hex(8)
        self._log = log
        self._deadline = deadline
        self._room = room
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._number = 0
        self._rows = 0  # in the backlog
        self._dropped = 0
        self._told = False  # of dropped rows, since Redis last took one
        self._rest, self._patience = REST, deadline
        self._retry_at = 0.0

    def publish(self, rows: Sequence[Row]) -> None:
        """Send these rows after those that wait, as far as time allows; with none, those that wait."""
        self._take(rows)
        now = self._clock()
        if self._waiting and now >= self._retry_at:
            self._send(now)

    def close(self) -> None:
        """Try once more, and let go of Redis; what Redis did not take is lost to the fleet, not to our own ledger."""
        self._patience = self._deadline
        if self._waiting:
            self._send(self._clock())
        if self._waiting:
            logger.warning("fleet ledger: %d records did not reach Redis before the end", self._rows)
        self._log.close()

    def status(self) -> dict[str, Any]:
        """Whether Redis takes rows, how many wait and how many were given up."""
        reason = self.health.reason
        return {
            "state": "failing" if reason else "ok",
            "reason": reason,
            "backlog": self._rows,
            "dropped": self._dropped,
        }

    def _take(self, rows: Sequence[Row]) -> None:
        left = len(rows)
        for packed in pack(rows):
            self._number += 1
            left -= packed.count
            self._bytes += len(packed.data)
            self._rows += packed.count
            self._waiting.append(_Waiting(Entry(self._gateway, self._run, self._number, packed.data), packed))
        if left:
            self._drop(left)
        while self._bytes > self._room:
            self._drop(self._done())

    def _send(self, now: float) -> None:
        """Send what waits; no entry is begun that would have less than half of the time."""
        end = now + self._patience
        try:
            while self._waiting and (left := end - self._clock()) >= self._patience / 2:
                first = self._waiting[0]
                self._log.append(first.entry, first.packed.sums, left)
                self._done()
        except StoreUnavailable as error:
            self.health.failing(str(error))
            self._retry_at = self._clock() + self._rest
            self._rest = min(2 * self._rest, LONGEST_REST)
            self._patience = min(2 * self._patience, max(LONGEST, self._deadline))
            return
        self.health.well()
        self._rest, self._patience, self._told = REST, self._deadline, False

    def _done(self) -> int:
        """Take the first that waits out of the backlog; how many rows it has."""
        first = self._waiting.popleft()
        self._bytes -= len(first.packed.data)
        self._rows -= first.packed.count
        return first.packed.count

    def _drop(self, count: int) -> None:
        self._dropped += count
        if not self._told:
            self._told = True
            logger.warning("fleet ledger: records are dropped: more wait than there is room for, or they are too big")
