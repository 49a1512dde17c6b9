"""Tests of gateway.state: where files lie, and that nobody sees half of one."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.state import State


def mode(path: Path) -> int:
    """The permission bits."""
    return path.stat().st_mode & 0o777


def test_directory_and_files_are_the_owners_alone(tmp_path: Path) -> None:
    """The directory is 0700 and what is written into it 0600, whatever the umask allows."""
    state = State(tmp_path / "new" / "state")
    before = os.umask(0)
    try:
        state.write(state.worker(0), b"{}")
        state.admin_token()
    finally:
        os.umask(before)
    assert mode(state.dir) == 0o700
    assert mode(state.worker(0)) == mode(state.token_file) == 0o600


def test_write_replaces_whole(tmp_path: Path) -> None:
    """A second write replaces the first and leaves no draft behind."""
    state = State(tmp_path)
    state.write(state.engines, b"one, and rather long")
    state.write(state.engines, b"two")
    assert state.engines.read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["engines.json"]


def test_failed_write_keeps_what_was_there(tmp_path: Path) -> None:
    """A write that cannot be done raises OSError, the old content stays and no draft is left."""
    state = State(tmp_path)
    (tmp_path / "engines.json").mkdir()
    (tmp_path / "engines.json" / "old").touch()
    with pytest.raises(OSError, match="directory"):
        state.write(state.engines, b"new")
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["engines.json", "engines.json/old"]


def test_token_is_made_once(tmp_path: Path) -> None:
    """Whoever asks, at the same time or later, gets the same token; it has 256 bits."""
    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(lambda _: State(tmp_path).admin_token(), range(8)))
    assert tokens == {State(tmp_path).admin_token()}
    assert len(tokens.pop()) >= 43


def test_empty_token_file_gets_a_token(tmp_path: Path) -> None:
    """A token file that an interrupted start left empty does not leave the admin plane without a token."""
    state = State(tmp_path)
    state.token_file.touch()
    assert state.admin_token()
    assert state.admin_token() == state.admin_token()


def test_workers_are_listed_by_number(tmp_path: Path) -> None:
    """Only workers' files are listed, the tenth after the second."""
    state = State(tmp_path)
    for name in ("worker-10.json", "worker-2.json", "worker-x.json", ".worker-3.json.99", "engines.json"):
        (tmp_path / name).touch()
    assert state.workers() == [2, 10]
    assert State(tmp_path / "absent").workers() == []
