"""The policy file is written where it really lies, unless somebody else manages it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from policies.target import Target, TargetRefused


def test_a_link_of_ones_own(tmp_path: Path) -> None:
    """A link to a file elsewhere stays a link; the file it leads to is written, as an editor would."""
    (tmp_path / "real.yaml").write_text("old\n")
    (tmp_path / "policy.yaml").symlink_to("real.yaml")
    target = Target(tmp_path / "policy.yaml")
    assert (target.exists, target.content()) == (True, b"old\n")
    target.write(b"new\n")
    assert (tmp_path / "policy.yaml").is_symlink()
    assert (tmp_path / "real.yaml").read_text() == "new\n"


@pytest.mark.parametrize("place", ["policy.yaml", "mounted/policy.yaml"])
def test_a_mount_of_kubernetes(tmp_path: Path, place: str) -> None:
    """A file behind `..data` is refused, also where a link leads to the folder above it."""
    (tmp_path / "..2026_11_21_08").mkdir()
    (tmp_path / "..2026_11_21_08/policy.yaml").write_text("mounted\n")
    (tmp_path / "..data").symlink_to("..2026_11_21_08")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    (tmp_path / "mounted").symlink_to(".")
    with pytest.raises(TargetRefused, match="ConfigMap"):
        Target(tmp_path / place)


def test_what_is_no_file(tmp_path: Path) -> None:
    """A folder, a pipe and a device are refused; a pipe is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(TargetRefused, match="not a regular file"):
            Target(path)


def test_a_file_too_long_for_a_policy(tmp_path: Path) -> None:
    """Something else that stands there is not replaced: it may be no policy at all."""
    (tmp_path / "big").write_bytes(b"#" * 1_000_001)
    with pytest.raises(TargetRefused, match="too long"):
        Target(tmp_path / "big").content()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everything")
def test_a_file_that_is_read_only(tmp_path: Path) -> None:
    """A file that its owner made read-only is left alone, although it could be replaced."""
    (tmp_path / "policy.yaml").touch(0o444)
    with pytest.raises(TargetRefused, match="read-only"):
        Target(tmp_path / "policy.yaml")
