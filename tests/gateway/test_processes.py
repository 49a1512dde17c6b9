"""Processes that must always run."""

from __future__ import annotations

import subprocess
from typing import cast

import pytest

from gateway.processes import FIRST_DELAY, HEALTHY_AFTER, LONGEST_DELAY, Kept


class Fake:
    """A process that ends when the test says."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.stubborn = False
        self.asked: list[str] = []

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        return self.code

    def terminate(self) -> None:
        """Ask it to end."""
        self.asked.append("terminate")

    def kill(self) -> None:
        """End it."""
        self.asked.append("kill")
        self.stubborn = False

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        if self.stubborn:
            raise subprocess.TimeoutExpired("fake", timeout or 0)
        return 0


class Kit:
    """A kept process with a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.made: list[Fake] = []
        self.kept = Kept("worker 0", self._start, lambda: self.now)

    def _start(self) -> subprocess.Popen[bytes]:
        self.made.append(Fake())
        return cast("subprocess.Popen[bytes]", self.made[-1])

    def die(self) -> float:
        """End the process and say how long it takes until another is started."""
        self.made[-1].code = 1
        began, count = self.now, len(self.made)
        self.kept.tick()
        while len(self.made) == count:
            self.now += 0.1
            self.kept.tick()
        return self.now - began


def test_started_again_with_growing_delays() -> None:
    """A process that ends is started again, each time later, within a bound."""
    kit = Kit()
    delays = [kit.die() for _ in range(9)]
    assert delays[:3] == pytest.approx([FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY], abs=0.2)
    assert delays[-1] == pytest.approx(LONGEST_DELAY, abs=0.2)
    assert kit.kept.restarts == 9


def test_a_long_life_forgives() -> None:
    """A process that ran well for long is started again soon."""
    kit = Kit()
    for _ in range(5):
        kit.die()
    kit.now += HEALTHY_AFTER
    assert kit.die() == pytest.approx(FIRST_DELAY, abs=0.2)


def test_a_living_process_is_left_alone() -> None:
    """While it runs nothing happens."""
    kit = Kit()
    for _ in range(5):
        kit.now += 100
        kit.kept.tick()
    assert (len(kit.made), kit.kept.exit_code) == (1, None)


def test_ending() -> None:
    """It is asked to end, and killed if it does not in time; one that is gone already is no trouble."""
    kit = Kit()
    kit.made[0].stubborn = True
    kit.kept.terminate()
    kit.kept.wait(0.0)
    assert kit.made[0].asked == ["terminate", "kill"]
    gone = Kit()
    gone.made[0].code = 1
    gone.kept.tick()
    gone.kept.terminate()
    gone.kept.wait(1.0)
    assert gone.kept.exit_code is None
