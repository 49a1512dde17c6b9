"""Programs under measurement: started on given cores, weighed with everything they started, stopped by their ids.

Linux only: it reads /proc. CPU time is the kernel's own count in nanoseconds for a whole process (user and system, all
its threads), which is what /proc/PID/stat shows rounded to ticks of 10 ms.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_STOP_S = 10.0
_LISTENING = "0A"


@dataclass(frozen=True, slots=True)
class Program:
    """A program that was started, and the file that holds what it printed."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """The id of the process that was started; others may hang below it."""
        return self.popen.pid

    def said(self, lines: int = 15) -> str:
        """Give the last lines that it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def start(argv: Sequence[str], env: Mapping[str, str], log: Path, cores: Iterable[int]) -> Program:
    """Start a program on these cores, its output in `log`; `env` is added to ours."""
    with log.open("wb") as out, on_cores(cores):
        popen = subprocess.Popen(
            list(argv), env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
    return Program(popen, log)


@contextlib.contextmanager
def on_cores(cores: Iterable[int]) -> Iterator[None]:
    """Move this thread to the cores for a moment: what it starts inherits them before its first thread exists."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def share_priority(pids: Iterable[int]) -> None:
    """Give processes that opened sessions of their own our session's weight, or the kernel favours some gateways.

    Linux with autogroups (sched(7)) shares a busy core between sessions first, so that `nice` alone does not count.
    """
    with contextlib.suppress(OSError, IndexError):  # a kernel without autogroups, or no right to weigh them
        weight = Path("/proc/self/autogroup").read_text().split()[2]
        for pid in pids:
            group = Path(f"/proc/{pid}/autogroup")
            if group.read_text().split()[2] == "0":  # one that gave way by itself stays behind
                group.write_text(weight)


def stop(program: Program) -> None:
    """End a program and whatever it started; ask first, then insist."""
    family = tree(program.pid)
    program.popen.terminate()
    try:
        program.popen.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        program.popen.kill()
        program.popen.wait()
    for pid in family[1:]:
        # Already gone, in the ordinary case: its parent ended it.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    ends = time.monotonic() + _STOP_S
    while any(map(command, family)) and time.monotonic() < ends:
        time.sleep(0.005)


def tree(pid: int) -> list[int]:
    """Give the ids of a process and all its descendants, itself first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    family = [pid]
    for member in family:
        family += children.get(member, [])
    return family


def _parent(entry: Path) -> int | None:
    try:
        # The name before the last parenthesis may hold spaces and parentheses of its own.
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def cpu_seconds(pids: Iterable[int]) -> float:
    """Sum the CPU time of these processes; one that is gone counts nothing."""
    return sum(map(_cpu_seconds, pids))


def _cpu_seconds(pid: int) -> float:
    try:
        return time.clock_gettime((~pid << 3) | 2)  # Linux's CPU clock of another process: clock_getcpuclockid(3)
    except OSError:
        return 0.0


def busy_seconds(cores: Iterable[int]) -> float:
    """Sum the time that these cores worked, for whomever, since the machine started."""
    wanted = {f"cpu{core}" for core in cores}
    rows = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    ticks = sum(sum(map(int, row[1:4])) + sum(map(int, row[6:9])) for row in rows if row[0] in wanted)
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid: int) -> tuple[int, int]:
    """Give resident and proportional set size; the second counts shared pages once. Zeros if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:] if line.endswith("kB")}
    return kilobytes.get("Rss", 0) * 1024, kilobytes.get("Pss", 0) * 1024


def command(pid: int) -> str:
    """Give the beginning of a process's command line; empty if it is gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return " ".join(word.decode(errors="replace") for word in words[:4]).strip()


def descriptors(pid: int) -> int:
    """Count the open descriptors of a process; zero if it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def connections(pid: int) -> list[tuple[int, int]]:
    """List the TCP connections that a process holds, as local and remote port; listening sockets aside."""
    sockets = set(_sockets(pid))
    tables = [Path(f"/proc/{pid}/net/{name}") for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    return [(_port(row[1]), _port(row[2])) for row in rows if row[9] in sockets and row[3] != _LISTENING]


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def _sockets(pid: int) -> Iterator[str]:
    """Name the inodes of a process's sockets."""
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                link = os.readlink(f"/proc/{pid}/fd/{fd}")
                if link.startswith("socket:["):
                    yield link[8:-1]


def free_port() -> int:
    """Find a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_model() -> str:
    """Name the machine's processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
