"""Files of an engine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.engines.files import LOG_BYTES, EngineFiles, digest_of, open_log, write_private


def test_a_private_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    """The endpoint file holds a key."""
    write_private(tmp_path / "file", b"secret")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "file").read_bytes() == b"secret"


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    """Readers never see half a file."""
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_private(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_log_is_set_aside(tmp_path: Path) -> None:
    """An engine that crashes for months fills two files, not the disk."""
    log = EngineFiles(tmp_path, "key").log
    log.write_bytes(b"x" * LOG_BYTES)
    descriptor = open_log(log)
    os.write(descriptor, b"new")
    os.close(descriptor)
    assert log.read_bytes() == b"new"
    assert log.with_name(log.name + ".1").stat().st_size == LOG_BYTES


def test_a_log_is_appended_to_and_private(tmp_path: Path) -> None:
    """What the process before said is kept, for its owner."""
    log = EngineFiles(tmp_path, "key").log
    for word in (b"one ", b"two"):
        descriptor = open_log(log)
        os.write(descriptor, word)
        os.close(descriptor)
    assert log.read_bytes() == b"one two"
    assert log.stat().st_mode & 0o777 == 0o600


def test_digest(tmp_path: Path) -> None:
    """Weights of one length and name are told apart where they differ by more than a few bytes; none have ""."""
    path = tmp_path / "weights.gguf"
    path.write_bytes(bytes(10_000_000))
    one = digest_of(path)
    assert one == digest_of(path)
    path.write_bytes(bytes(9_000_000) + b"\1" * 1_000_000)
    assert digest_of(path) not in ("", one)
    assert digest_of(tmp_path / "none.gguf") == ""
