"""Issued keys in the state folder.

    keys.json           all records; written whole, synced to the disk, then put in place
    keys.json.bak       the same, written after it: what is read when keys.json is lost or damaged
    keys.json.corrupt   a damaged keys.json, moved aside by the next change
    keys.lock           held by whoever changes them

The copy is of the same state rather than of the one before: an older one would not know of the last revocation.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import orjson

from gateway.keys.record import IssuedKey
from gateway.keys.store import Decision, KeysUnavailable, Records, Snapshot
from gateway.state import State

FORMAT = 1
LOCK_SECONDS = 5.0  # a writer is done in milliseconds; one that was stopped must not hold others for ever
_Look = tuple[tuple[int, int, int, int] | None, ...]


class FileKeys:
    """A KeyStore in one folder, which is made when something is first written."""

    def __init__(self, folder: Path, *, lock_seconds: float = LOCK_SECONDS) -> None:
        """`lock_seconds` is how long another writer is waited for."""
        self._state = State(folder)
        self._file = folder / "keys.json"
        self._copy = folder / "keys.json.bak"
        self._aside = folder / "keys.json.corrupt"
        self._lock = folder / "keys.lock"
        self._lock_seconds = lock_seconds
        self._seen: _Look | None = None

    async def changed(self) -> bool:
        """Say whether a file is another than when it was last read whole."""
        return self._seen is None or self._look() != self._seen

    async def load(self) -> Snapshot:
        """Read the file, or its copy; KeysUnavailable if one is there and neither can be used."""
        return await asyncio.to_thread(self._load)

    async def change(self, decide: Decision) -> Snapshot:
        """Write what is decided, if it is news; begins the file where there is none."""
        return await asyncio.to_thread(self._change, decide)

    async def aclose(self) -> None:
        """Nothing is held."""

    def _load(self) -> Snapshot:
        look = self._look()  # before reading: a change in between is then seen next time
        found = self._read()
        self._seen = look
        return found

    def _change(self, decide: Decision) -> Snapshot:
        try:
            with self._locked():
                found = self._read()
                wanted = decide(found.records)
                if found.exists and wanted == found.records:
                    return found
                records = {**found.records, **wanted}
                self._write(records, is_damaged=bool(found.trouble))
                return Snapshot(records)
        except OSError as error:
            raise KeysUnavailable(f"{self._file} cannot be written: {error.strerror or error}") from error

    def _read(self) -> Snapshot:
        records, why = _records_in(self._file)
        if records is not None:
            return Snapshot(records)
        copied, why_not_copied = _records_in(self._copy)
        if copied is not None:
            return Snapshot(copied, trouble=f"{self._file} {why}; its copy {self._copy.name} is used")
        if why == why_not_copied == _MISSING:
            return Snapshot({}, exists=False)
        raise KeysUnavailable(f"{self._file} {why}, and its copy {why_not_copied}")

    def _write(self, records: Records, *, is_damaged: bool) -> None:
        keys = [key.model_dump(mode="json") for key in records.values()]
        data = orjson.dumps({"format": FORMAT, "keys": keys}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        if is_damaged and self._file.exists():
            self._file.replace(self._aside)
        for path in (self._file, self._copy):
            self._put(path, data)

    def _put(self, path: Path, data: bytes) -> None:
        """Put it there whole and for good: after a power cut either the old or the new is there."""
        draft = path.with_name(f".{path.name}.draft")
        with os.fdopen(self._open(draft, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._state.create()
        descriptor = self._open(self._lock, os.O_RDWR)
        try:
            self._wait_for(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _wait_for(self, descriptor: int) -> None:
        until = time.monotonic() + self._lock_seconds
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise KeysUnavailable(f"{self._lock} is held by another process") from error
                time.sleep(0.01)

    def _open(self, path: Path, flags: int) -> int:
        """Open a private file of ours. What root makes, as in a container, belongs to whoever owns the folder."""
        descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return descriptor

    def _look(self) -> _Look:
        return tuple(_look(path) for path in (self._file, self._copy))


_MISSING = "is missing"


def _records_in(path: Path) -> tuple[Records | None, str]:
    """The records, or why there are none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None, _MISSING
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
    try:
        return _parsed(data), ""
    except (ValueError, KeyError, TypeError):  # its text would quote the file
        return None, "is damaged"


def _parsed(data: bytes) -> Mapping[str, IssuedKey]:
    """The records of a whole file; one that cannot be read makes all of it damaged, else a change would lose it."""
    told = orjson.loads(data)
    if told["format"] != FORMAT:
        raise ValueError("written by another release")
    keys = [IssuedKey.model_validate(one) for one in told["keys"]]
    return {key.hash: key for key in keys}


def _look(path: Path) -> tuple[int, int, int, int] | None:
    """What tells one state of a file from another."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
