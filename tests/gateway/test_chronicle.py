"""A policy is kept in the history when a worker serves it, not when it was only read."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from gateway.chronicle import AGAIN_SECONDS, LOOK_SECONDS, Chronicle
from policies.history import History
from policies.loader import LoadedPolicy
from policies.model import Policy


class Gateway:
    """A clock, and what workers say that they serve."""

    def __init__(self, folder: Path) -> None:
        self.served: Collection[str] = ()
        self.seconds = 0.0
        self.looks = 0
        self.history = History(folder)
        self.chronicle = Chronicle(folder, self.in_force, clock=lambda: self.seconds, now=lambda: 1000 + self.seconds)

    def in_force(self) -> Collection[str]:
        """What workers serve; each look is counted."""
        self.looks += 1
        return self.served

    def kept(self) -> list[tuple[str, float]]:
        """What is in the history, newest first."""
        return [(each.version, each.at) for each in self.history.list()]


def loaded(version: str) -> LoadedPolicy:
    """A policy of this version."""
    return LoadedPolicy(Policy(), version, Path("p.yaml"), f"# {version}\n")


def test_only_what_is_served_is_kept(tmp_path: Path) -> None:
    """A policy that was read is waited for; once a worker serves it, it is kept, and nobody looks again."""
    gateway = Gateway(tmp_path)
    gateway.chronicle.tick()
    gateway.chronicle.expect(loaded("a1"))
    gateway.chronicle.tick()
    assert (gateway.kept(), gateway.looks) == ([], 1)
    gateway.served, gateway.seconds = {"a1"}, LOOK_SECONDS
    gateway.chronicle.tick()
    gateway.seconds = 100.0
    gateway.chronicle.tick()
    assert (gateway.kept(), gateway.looks) == ([("a1", 1000 + LOOK_SECONDS)], 2)


def test_an_edit_that_never_came_into_force(tmp_path: Path) -> None:
    """A policy that no worker took is forgotten when the next is read."""
    gateway = Gateway(tmp_path)
    gateway.chronicle.expect(loaded("refused"))
    gateway.chronicle.tick()
    gateway.chronicle.expect(loaded("good"))
    gateway.served = {"good"}
    gateway.chronicle.tick()
    assert [version for version, _ in gateway.kept()] == ["good"]


def test_a_disk_that_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A history that cannot be written costs one line a minute, and is written when it can be."""
    (tmp_path / "policies").write_text("in the way")
    gateway = Gateway(tmp_path / "policies")
    gateway.chronicle.expect(loaded("a1"))
    gateway.served = {"a1"}
    for second in range(30):
        gateway.seconds = float(second)
        gateway.chronicle.tick()
    assert len(caplog.records) == 1
    (tmp_path / "policies").unlink()
    gateway.seconds += AGAIN_SECONDS
    gateway.chronicle.tick()
    assert [version for version, _ in gateway.kept()] == ["a1"]
