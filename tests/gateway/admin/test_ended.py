"""Tests of gateway.admin.ended: who signed out stays out, over a restart too."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.admin.ended import Ended
from gateway.state import State


def test_kept_over_a_restart_until_its_time_is_over(tmp_path: Path) -> None:
    """A new process reads it; the next one written leaves out what has ended by itself."""
    Ended(State(tmp_path)).add("old", 100.0, 50.0)
    Ended(State(tmp_path)).add("new", 300.0, 99.0)
    assert all(cookie in Ended(State(tmp_path)) for cookie in ("old", "new"))
    Ended(State(tmp_path)).add("third", 400.0, 101.0)
    found = Ended(State(tmp_path))
    assert [cookie in found for cookie in ("old", "new", "third")] == [False, True, True]


def test_the_file_holds_no_cookie(tmp_path: Path) -> None:
    """Only digests, for its owner alone."""
    Ended(State(tmp_path)).add("secret", 100.0, 50.0)
    file = tmp_path / "sessions.json"
    assert "secret" not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": "b"}', '{"a": null}', "\x00"])
def test_a_broken_file_is_as_none(tmp_path: Path, text: str) -> None:
    """The admin plane starts, and forgets."""
    (tmp_path / "sessions.json").write_text(text)
    assert "a" not in Ended(State(tmp_path))


def test_where_nothing_can_be_written_the_process_remembers(tmp_path: Path) -> None:
    """A full disk signs nobody in again."""
    (tmp_path / "file").write_text("in the way")
    ended = Ended(State(tmp_path / "file"))
    ended.add("cookie", 100.0, 50.0)
    assert "cookie" in ended
