"""The policy file as something to write: followed through links, unless somebody else manages it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from policies.document import LARGEST_FILE
from policies.durable import put

NEW_FILE = 0o644  # mode of a policy file that was not there; it holds no secret


class TargetRefused(Exception):
    """This file is not ours to write; the text says why."""


class Target:
    """One policy file. Raises TargetRefused, when made, for one that may not be written, and OSError."""

    def __init__(self, path: Path) -> None:
        self._real = Path(os.path.realpath(path))
        if _is_managed(path, self._real):
            raise TargetRefused(
                "the policy file is mounted from a Kubernetes ConfigMap or Secret, which would undo an edit here: "
                "change it where it is kept"
            )
        self._found = _stat(self._real)
        if self._found is not None and not stat.S_ISREG(self._found.st_mode):
            raise TargetRefused("the policy file is not a regular file")
        if not os.access(self._real if self.exists else self._real.parent, os.W_OK):
            raise TargetRefused("the policy file cannot be written: it is read-only here")

    @property
    def exists(self) -> bool:
        """Say whether there is a file now."""
        return self._found is not None

    def content(self) -> bytes:
        """What stands in the file. Raises OSError or, for one longer than any policy, TargetRefused."""
        with self._real.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise TargetRefused("what stands in the policy file is too long for a policy, so it is left alone")
        return data

    def write(self, data: bytes) -> None:
        """Put this into the file whole or not at all; mode and owner stay. Raises OSError."""
        if self._found is None:
            put(self._real, data, NEW_FILE)
        else:
            put(self._real, data, stat.S_IMODE(self._found.st_mode), (self._found.st_uid, self._found.st_gid))


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _is_managed(path: Path, real: Path) -> bool:
    """Say whether kubelet put the file there: behind `..data`, a link to a folder whose name begins with two dots."""
    names = {part for part in real.parts if part.startswith("..")}
    return bool(names) or (path.is_symlink() and (path.parent / "..data").is_symlink())
