"""Files that are there whole or not at all, also after a cut of power."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def put(path: Path, data: bytes, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Write a file beside its place, make it durable, and move it there. Raises OSError; then nothing changed.

    `owner` is a user and a group that the file shall belong to where we may give it away.
    """
    draft = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
    try:
        _write(draft, data, mode, owner)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)  # on a full disk it would lie there, empty
        raise
    _sync_folder(path.parent)


def _write(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        if owner is not None:
            _give(file.fileno(), owner)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def _give(descriptor: int, owner: tuple[int, int]) -> None:
    """Leave the file with who owned the one before it: root must not lock the gateway out of its policy."""
    found = os.fstat(descriptor)
    if (found.st_uid, found.st_gid) != owner:
        try:
            os.fchown(descriptor, *owner)
        except PermissionError:
            return  # only root gives files away; who wrote this one owns it


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
