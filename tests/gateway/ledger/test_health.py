"""Tests of gateway.ledger.health: the words for a failure, and one log line a change."""

from __future__ import annotations

import errno
import sqlite3

import pytest

from gateway.ledger.health import Health, reason


def test_only_changes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred failures of one kind are one line, another kind is one more, and so is the end of it."""
    health = Health("ledger")
    health.well()
    for _ in range(100):
        health.failing("disk full")
    health.failing("read-only")
    for _ in range(100):
        health.well()
    assert [r.getMessage() for r in caplog.records] == [
        "ledger: failing: disk full; calls go on",
        "ledger: failing: read-only; calls go on",
        "ledger: works again (was: read-only)",
    ]
    assert str(health) == "ok"


def test_reasons_name_no_path() -> None:
    """What is shown on /readyz says what failed and not where."""
    assert reason(OSError(errno.ENOSPC, "No space left", "/secret/place")) == "disk full"
    assert reason(PermissionError(errno.EACCES, "no", "/secret/place")) == "no permission"
    assert reason(sqlite3.OperationalError("unable to open /secret/place")) == "OperationalError"
