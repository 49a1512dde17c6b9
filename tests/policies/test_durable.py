"""A file is there whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from policies.durable import put


def test_a_file_replaced(tmp_path: Path) -> None:
    """The new content is there with its mode, and nothing else is left."""
    path = tmp_path / "a"
    path.write_text("old")
    put(path, b"new", 0o640, (os.getuid(), os.getgid()))
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o640)
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    """A link in the way is replaced; where it led nothing changes."""
    (tmp_path / "other").write_text("untouched")
    (tmp_path / "a").symlink_to("other")
    put(tmp_path / "a", b"new")
    assert [(tmp_path / name).read_text() for name in ("a", "other")] == ["new", "untouched"]
    assert not (tmp_path / "a").is_symlink()


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    """Where the file cannot be put, what was there stays and no draft is left."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").touch()
    with pytest.raises(OSError, match="directory"):
        put(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with pytest.raises(FileNotFoundError):
        put(tmp_path / "nowhere/a", b"new")


def test_a_name_as_long_as_a_name_may_be(tmp_path: Path) -> None:
    """The draft's name is no longer than the disk takes."""
    put(tmp_path / ("x" * 255), b"new")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"new"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_stays(tmp_path: Path) -> None:
    """Root that writes the gateway's policy does not lock the gateway out of it."""
    put(tmp_path / "a", b"new", 0o600, (1234, 1235))
    found = (tmp_path / "a").stat()
    assert (found.st_uid, found.st_gid) == (1234, 1235)
