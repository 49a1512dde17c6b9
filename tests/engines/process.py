"""A server of another program: started on free ports, awaited, and ended with everything it started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

TAIL_LINES = 60
TAIL_WIDTH = 300
STOP_SECONDS = 30.0


class NotStarted(Exception):
    """The server ended or kept silent; the message ends with the last lines of its log."""


@dataclass(frozen=True)
class Server:
    """A running server: where it answers, where it logs, and the process group of all it started."""

    url: str
    log: Path
    group: int

    def tail(self) -> str:
        """The last lines of the log."""
        return tail(self.log)

    def kill(self, title: str) -> None:
        """Kill one process of the group by the beginning of its title, as the kernel does when memory is short."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(ProcessLookupError, FileNotFoundError):
                if folder.joinpath("cmdline").read_bytes().startswith(title.encode()) and self._owns(int(folder.name)):
                    os.kill(int(folder.name), signal.SIGKILL)
                    return
        raise LookupError(f"no process {title} in the group")

    def _owns(self, process: int) -> bool:
        """Say whether a process belongs to this server."""
        return os.getpgid(process) == self.group


def tail(log: Path) -> str:
    """The last lines of a log file, empty if there is none."""
    if not log.exists():
        return ""
    return "\n".join(line[:TAIL_WIDTH] for line in log.read_text(errors="replace").splitlines()[-TAIL_LINES:])


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(
    command: Sequence[str], environ: Mapping[str, str], url: str, ready: str, log: Path, seconds: float
) -> Iterator[Server]:
    """Run a server until the block ends.

    It is up when `url + ready` answers 200. Raises NotStarted if it ends before, or needs longer than `seconds`.
    """
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, env=dict(environ), stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _await_ready(process, url + ready, log, seconds)
            yield Server(url, log, process.pid)
        finally:
            _end_group(process)


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path, seconds: float) -> None:
    """Poll until the server says it is ready."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NotStarted(f"ended with status {process.returncode} before it was ready:\n{tail(log)}")
        with suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5.0).status_code == 200:
                return
        time.sleep(0.2)
    raise NotStarted(f"not ready after {seconds:.0f} s:\n{tail(log)}")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the server and its children, which share its process group; kill what does not end in time."""
    _signal(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _group_lives(process) and time.monotonic() < deadline:
        time.sleep(0.1)
    _signal(process.pid, signal.SIGKILL)
    process.wait()


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    """Say whether any process of the group is left; the leader is reaped on the way."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _signal(group: int, number: signal.Signals) -> None:
    """Signal a process group that may be gone already."""
    with suppress(ProcessLookupError):
        os.killpg(group, number)
