"""The files of one engine: where each lies under the state directory, and how one is written whole and private."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOG_BYTES = 1_000_000
SAMPLES = 64
SAMPLE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class EngineFiles:
    """Paths of the engine with this key. Everything here is readable by the owner only."""

    state: Path
    key: str

    @property
    def spec(self) -> Path:
        """What the engine process is to serve."""
        return self.state / f"engine-{self.key}.spec.json"

    @property
    def endpoint(self) -> Path:
        """Where the engine listens, once it answers."""
        return self.state / f"engine-{self.key}.json"

    @property
    def log(self) -> Path:
        """What the engine said while it started; the one before it ends in `.1`."""
        return self.state / f"engine-{self.key}.log"


def digest_of(path: Path) -> str:
    """What a file of weights holds, in short: its size and samples from all over it, since it may be gigabytes.

    "" if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest = hashlib.blake2b(str(size).encode(), digest_size=12)
            for number in range(SAMPLES):
                file.seek(size * number // SAMPLES)
                digest.update(file.read(SAMPLE_BYTES))
    except OSError:
        return ""
    return digest.hexdigest()


def write_private(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, mode 0600. Raises OSError and leaves no half-written file behind."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(data)
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise


def open_log(path: Path) -> int:
    """Open a log to append to and return its descriptor; a full one is first set aside, so that two bound the disk."""
    with suppress(FileNotFoundError):
        if path.stat().st_size >= LOG_BYTES:
            path.replace(path.with_name(path.name + ".1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
