"""How an engine process is started: its spec file, its log, and an environment without the gateway's secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.engines.files import EngineFiles, open_log, write_private
from gateway.engines.spec import EngineSpec

COMMAND = (sys.executable, "-P", "-m", "gateway.engines.process")  # -P: the current folder holds nothing of ours
ROOT = Path(__file__).resolve().parents[2]  # where the package `gateway` lies, so that `-m` finds this very one
PASSED_ON = (
    "CUDA",
    "GGML",
    "HIP",
    "HOME",
    "LANG",
    "LC_",
    "LD_",
    "OMP",
    "PATH",
    "PYTHON",
    "TMPDIR",
    "TZ",
    "VIRTUAL_ENV",
)


class Child(Protocol):
    """A running process; `subprocess.Popen` is one."""

    @property
    def pid(self) -> int:
        """Its id."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs; never waits."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its exit code. Raises subprocess.TimeoutExpired."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


class Launch(Protocol):
    """Starts the process of an engine."""

    def __call__(self, spec: EngineSpec, /) -> Child:
        """Start it. Raises OSError."""


@dataclass(frozen=True, slots=True)
class ProcessLaunch:
    """Starts `command STATE KEY PARENT` in a session of its own, so that a Ctrl-C meant for the gateway does not cut
    the answers that the gateway still lets end.
    """

    state: Path
    command: Sequence[str] = COMMAND

    def __call__(self, spec: EngineSpec) -> Child:
        """Start the engine's process. Raises OSError."""
        files = EngineFiles(self.state, spec.key)
        write_private(files.spec, spec.dumps())
        log = open_log(files.log)
        try:
            return subprocess.Popen(  # noqa: S603 - the command is ours, no word of it comes from a request
                [*self.command, str(self.state), spec.key, str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=engine_environment(os.environ),
                cwd=ROOT,
                start_new_session=True,
            )
        finally:
            os.close(log)


def engine_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What of the environment an engine gets: an engine that crashes or is broken into holds no provider's key."""
    return {name: value for name, value in environment.items() if name.startswith(PASSED_ON)}
