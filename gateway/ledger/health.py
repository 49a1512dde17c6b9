"""What is wrong with a file we write, in words for an operator, and one log line each time that changes."""

from __future__ import annotations

import errno
import logging
import sqlite3

logger = logging.getLogger(__name__)

_BY_CODE = {
    sqlite3.SQLITE_BUSY: "locked by another process",
    sqlite3.SQLITE_LOCKED: "locked by another process",
    sqlite3.SQLITE_FULL: "disk full",
    sqlite3.SQLITE_READONLY: "read-only",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_PERM: "no permission",
    sqlite3.SQLITE_IOERR: "input/output error",
}
_BY_ERRNO = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk full",
    errno.EFBIG: "disk full",
    errno.EROFS: "read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
}


def is_corrupt(error: Exception) -> bool:
    """Say whether SQLite met bytes that are no database of its own."""
    return _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def reason(error: Exception) -> str:
    """What failed, without paths or data: it is shown on /readyz to whoever may ask there."""
    if isinstance(error, OSError):
        return _BY_ERRNO.get(error.errno or 0, "input/output error")
    known = _BY_CODE.get(_code(error))
    return known or str(getattr(error, "sqlite_errorname", type(error).__name__))


def _code(error: Exception) -> int:
    """SQLite's primary code; the bits above say more than we act on."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


class Health:
    """One file's state as its writer last saw it. Written by one thread, read by any."""

    __slots__ = ("_what", "reason")

    def __init__(self, what: str) -> None:
        self._what = what
        self.reason = ""

    def failing(self, reason: str, fault: Exception | None = None) -> None:
        """Say what is wrong; logged when it is news, with a traceback where the fault is our own."""
        if reason != self.reason:
            logger.warning("%s: failing: %s; calls go on", self._what, reason, exc_info=fault)
        self.reason = reason

    def well(self) -> None:
        """Say that it works; logged when it did not before."""
        if self.reason:
            logger.warning("%s: works again (was: %s)", self._what, self.reason)
        self.reason = ""

    def __str__(self) -> str:
        return f"failing: {self.reason}" if self.reason else "ok"
