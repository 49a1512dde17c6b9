"""Every policy version that came into force, kept in a folder: named, compared, put back.

Laws of this module:

* One file a version, written whole and made durable before the index tells of it: a cut of power loses no version.
* The index is one JSON object a line, only ever added to. A last line that was cut off is as if it were not there.
* Who writes holds the folder's lock; who reads needs none.
* `record` is called by whoever put the policy in force; others only give names and put versions back.

HistoryError
├── NoSuchVersion      no version of this id or name is kept, or what is kept of it is damaged
├── BadName            what cannot name a version
└── CannotRestore      the policy file is not ours to write
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from policies.difference import difference
from policies.durable import put
from policies.scalars import Name
from policies.target import Target, TargetRefused
from policies.versions import MOST_LINES, MOST_NAMED, VERSION, Event, bounded, names, read_events, times

MOST_REPLACED = 20  # copies of what a restored version replaced
LARGEST_TEXT = 4_000_000  # bytes
LARGEST_INDEX = 32_000_000  # bytes
LOCK_SECONDS = 5.0
_LIKE_A_VERSION = re.compile(r"[0-9a-f]{12}")
_NAME: TypeAdapter[str] = TypeAdapter(Name)


class HistoryError(Exception):
    """The history cannot do this; the text says why and holds no secret."""


class NoSuchVersion(HistoryError):
    """No such version is kept."""


class BadName(HistoryError):
    """This cannot name a version."""


class CannotRestore(HistoryError):
    """The policy file cannot be written."""


@dataclass(frozen=True, slots=True)
class Version:
    """One time that a policy came into force: `at` in Unix seconds; `name` is "" while it has none."""

    version: str
    at: float
    name: str
    bytes: int
    is_in_force: bool


class History:
    """The versions kept in one folder, which is made when the first is."""

    def __init__(self, folder: Path, *, patience: float = LOCK_SECONDS) -> None:
        """`patience` is how many seconds a writer waits for another."""
        self._folder = folder
        self._patience = patience
        self._index = folder / "index.jsonl"

    def record(self, version: str, text: str, at: float, name: str = "") -> bool:
        """Keep a version that came into force at this time; False if it is the one on top already.

        Raises OSError, or HistoryError for what cannot be kept.
        """
        data = text.encode("utf-8")
        if not VERSION.fullmatch(version) or not math.isfinite(at) or len(data) > LARGEST_TEXT:
            raise HistoryError("this version cannot be kept: its id, its time or its length is none")
        with self._locked():
            events = self._events()
            top = next(reversed(times(events)), None)
            is_new = top is None or top.version != version or not self._is_whole(top)
            if is_new:
                put(self._file(version), data)
                self._add(Event(version, at, _digest(data), len(data)), events)
        if name:
            self.name(version, name)
        return is_new

    def list(self) -> Sequence[Version]:
        """Every time that a policy came into force, newest first: in the order of recording, whatever the clock did.

        Raises HistoryError.
        """
        events = self._events()
        named, kept = names(events), times(events)
        return [
            Version(event.version, event.at, named.get(event.version, ""), event.size, event is kept[-1])
            for event in reversed(kept)
        ]

    def find(self, said: str) -> str:
        """The version of this id, or of this name. Raises HistoryError."""
        events = self._events()
        if any(event.version == said for event in times(events)):
            return said
        for version, name in names(events).items():
            if name == said:
                return version
        raise NoSuchVersion("no such version is kept")

    def text(self, version: str) -> str:
        """The policy file as it was, `${ENV_NAME}` unresolved. Raises HistoryError."""
        event = next((event for event in reversed(times(self._events())) if event.version == version), None)
        if event is None:
            raise NoSuchVersion("no such version is kept")
        try:
            data = _read(self._file(version), LARGEST_TEXT)
        except OSError as error:
            raise NoSuchVersion(f"what is kept of this version cannot be read: {error.strerror}") from error
        if _digest(data) != event.digest:
            raise NoSuchVersion("what is kept of this version is damaged")
        return data.decode("utf-8")

    def name(self, version: str, name: str) -> None:
        """Give a version a name, by which it is found and never dropped; "" takes it away.

        Raises HistoryError or OSError.
        """
        if not self._index.exists():
            raise NoSuchVersion("no such version is kept")  # and no folder is made for it
        with self._locked():
            events = self._events()
            if all(event.version != version for event in times(events)):
                raise NoSuchVersion("no such version is kept")
            if name:
                _check_name(name, version, names(events))
            self._add(Event(version, name=name), events)

    def diff(self, a: str, b: str) -> str:
        """How the text of version `b` differs from that of `a`, as a unified diff. Raises HistoryError."""
        return difference(self.text(a), self.text(b), a, b)

    def restore(self, version: str, target: Path) -> Path | None:
        """Put a version's text into the policy file, whole or not at all, and keep what was there.

        Returns where that is kept; None if there was no file. Raises NoSuchVersion or CannotRestore.
        """
        text = self.text(version)
        with self._locked():
            try:
                found = Target(target)
                replaced = self._keep(found.content()) if found.exists else None
                found.write(text.encode("utf-8"))
            except TargetRefused as error:
                raise CannotRestore(str(error)) from error
            except OSError as error:
                raise CannotRestore(f"the policy file cannot be written: {error.strerror}") from error
        return replaced

    def _keep(self, data: bytes) -> Path:
        """Keep what a restored version replaces; the oldest such copies go."""
        folder = self._folder / "replaced"
        folder.mkdir(mode=0o700, exist_ok=True)
        kept = sorted(path for path in folder.glob("*.yaml") if path.stem.isdecimal())
        path = folder / f"{int(kept[-1].stem) + 1 if kept else 1:08d}.yaml"
        put(path, data)
        for old in kept[: max(0, len(kept) + 1 - MOST_REPLACED)]:
            old.unlink(missing_ok=True)
        return path

    def _file(self, version: str) -> Path:
        return self._folder / f"{version}.yaml"

    def _is_whole(self, event: Event) -> bool:
        try:
            return _digest(_read(self._file(event.version), LARGEST_TEXT)) == event.digest
        except OSError:
            return False

    def _events(self) -> Sequence[Event]:
        try:
            return read_events(_read(self._index, LARGEST_INDEX))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HistoryError(f"the history cannot be read: {error.strerror}") from error

    def _add(self, event: Event, events: Sequence[Event]) -> None:
        """Add a line to the index; now and then write it anew without what is too old."""
        after = [*events, event]
        if len(after) <= MOST_LINES:
            _append(self._index, event.line())
            return
        kept = bounded(after)
        put(self._index, b"".join(each.line() for each in kept))
        self._sweep({each.version for each in kept})

    def _sweep(self, versions: set[str]) -> None:
        """Delete the texts that the index no longer names, and drafts that a crash left."""
        for path in [*self._folder.glob("*.yaml"), *self._folder.glob(".*.yaml.*")]:
            if path.name.startswith(".") or path.stem not in versions:
                path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder, which is made if need be. Raises HistoryError if another holds it for long, or OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._folder / "lock", flags, 0o600)
        try:
            _lock(descriptor, time.monotonic() + self._patience)
            yield
        finally:
            os.close(descriptor)


def _check_name(name: str, version: str, named: Mapping[str, str]) -> None:
    """Refuse a name that is none, or another version's."""
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise BadName("a name has 1 to 200 printable characters and no blanks at its ends") from error
    if _LIKE_A_VERSION.fullmatch(name):
        raise BadName("this reads like a version, not like the name of one")
    if any(taken == name and other != version for other, taken in named.items()):
        raise BadName("another version has this name; take it away there first")
    if version not in named and len(named) >= MOST_NAMED:
        raise BadName(f"{MOST_NAMED:,} versions have names; take one away first")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(path: Path, most: int) -> bytes:
    """A file of ours, as far as it is at most so long. Raises OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
        return file.read(most)


def _append(path: Path, line: bytes) -> None:
    """Add a line durably; one that was cut off before it is ended first, so that it spoils no other."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        data = b"\n" * is_torn + line
        if os.write(descriptor, data) < len(data):
            raise OSError("only a part of the line could be written")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, until: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise HistoryError("another process holds the history; try again") from None
            time.sleep(0.02)
        else:
            return
