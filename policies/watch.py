"""Notices that a policy file has changed, by looking at it whenever asked: no thread, no wait, no missed swap.

Looking works where notifications do not: a single file mounted into a container, a network share, and the symlinks by
which Kubernetes swaps a whole folder. The path is resolved anew each time, so every link on the way counts.
"""

from __future__ import annotations

import os
from pathlib import Path

_Look = tuple[str, int, int, int, int, int]


class Watcher:
    """Says whether a file is another than when it was last asked.

    Make it *before* the file is first read: a change in between is then reported rather than lost.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _look(path)

    def changed(self) -> bool:
        """Say whether the file changed, went or came back since the last look. Each change is reported once."""
        now = _look(self._path)
        before, self._seen = self._seen, now
        return now != before


def _look(path: Path) -> _Look | None:
    """What tells one state of the file from another; None when there is no such file.

    The time of change (ctime) stands beside that of the content (mtime) because copying tools set the latter back, and
    because a file made readable again must be read again.
    """
    try:
        real = os.path.realpath(path, strict=True)
        found = os.stat(real)
    except (OSError, ValueError):  # gone, a loop of links, a NUL in the path
        return None
    return real, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
