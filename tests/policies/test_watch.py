"""A change of the policy file is noticed however it was made, and told once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from policies.document import read_text
from policies.watch import Watcher


def in_place(path: Path) -> None:
    """Write into the file, as an editor does on a single mounted file."""
    with path.open("r+") as file:
        file.write("b: 22\n")


def by_rename(path: Path) -> None:
    """Write another file of the same size and times, and move it over the first."""
    before = path.stat()
    other = path.with_suffix(".new")
    other.write_text("b: 2\n")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def by_link(path: Path) -> None:
    """Turn the file into a link to another."""
    other = path.with_suffix(".other")
    other.write_text("b: 2\n")
    path.unlink()
    path.symlink_to(other.name)


def by_permission(path: Path) -> None:
    """Change who may read it: a file that could not be read now can."""
    path.chmod(0o640)


@pytest.mark.parametrize("change", [in_place, by_rename, by_link, by_permission, Path.unlink])
def test_each_change_is_told_once(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Whatever the kind of change, it is told at the next look and not again."""
    path = tmp_path / "policy.yaml"
    path.write_text("a: 1\n")
    os.utime(path, ns=(0, 0))
    watcher = Watcher(path)
    assert not watcher.changed()
    change(path)
    assert [watcher.changed() for _ in range(3)] == [True, False, False]


def test_a_swapped_folder(tmp_path: Path) -> None:
    """Kubernetes swaps a link to the folder above, and keeps the file's own link and times as they are."""
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "policy.yaml").write_text("a: 1\n")
        os.utime(tmp_path / version / "policy.yaml", ns=(0, 0))
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    watcher = Watcher(tmp_path / "policy.yaml")
    (tmp_path / "..data_tmp").symlink_to("two")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert [watcher.changed(), watcher.changed()] == [True, False]


def kubelet_writes(volume: Path, stamp: str, text: str) -> None:
    """Put a new version of a ConfigMap in place as kubelet's atomic writer does, and remove the one before."""
    before = os.path.realpath(volume / "..data")
    (volume / f"..{stamp}").mkdir(mode=0o755)
    (volume / f"..{stamp}" / "policy.yaml").write_text(text)
    (volume / "..data_tmp").symlink_to(f"..{stamp}")
    (volume / "..data_tmp").rename(volume / "..data")
    if not (volume / "policy.yaml").is_symlink():
        (volume / "policy.yaml").symlink_to("..data/policy.yaml")
    if before != str(volume / "..data"):
        shutil.rmtree(before)


def test_a_configmap_that_is_updated(tmp_path: Path) -> None:
    """Each update of a mounted ConfigMap is told once, and what is read then is the new text, never a part of it."""
    kubelet_writes(tmp_path, "2026_11_21_08_00_00.1", "a: 1\n")
    watcher = Watcher(tmp_path / "policy.yaml")
    for number in range(2, 6):
        assert not watcher.changed()
        kubelet_writes(tmp_path, f"2026_11_21_08_00_00.{number}", f"a: {number}\n")
        assert [watcher.changed(), watcher.changed()] == [True, False]
        assert read_text(tmp_path / "policy.yaml") == f"a: {number}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["..2026_11_21_08_00_00.5", "..data", "policy.yaml"]


def test_a_file_that_comes_back(tmp_path: Path) -> None:
    """A file that goes and comes back is told both times, so that the complaint about it ends."""
    path = tmp_path / "policy.yaml"
    watcher = Watcher(path)
    assert not watcher.changed()
    path.write_text("a: 1\n")
    assert [watcher.changed(), watcher.changed()] == [True, False]
    path.rename(tmp_path / "away.yaml")
    assert [watcher.changed(), watcher.changed()] == [True, False]
    (tmp_path / "away.yaml").rename(path)
    assert [watcher.changed(), watcher.changed()] == [True, False]


@pytest.mark.parametrize("path", [Path("/nowhere/at/all"), Path("a\0b"), Path("/dev/null/x")])
def test_what_cannot_be_looked_at(path: Path) -> None:
    """A path that leads nowhere is no change and no crash."""
    assert not Watcher(path).changed()


def test_a_loop_of_links(tmp_path: Path) -> None:
    """Links in a circle lead nowhere either."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert not Watcher(tmp_path / "a").changed()
