"""Tests of how programs are started, weighed and stopped."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

from benchmarks import processes

_PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "


def _cores() -> set[int]:
    return {min(os.sched_getaffinity(0))}


def test_a_program_runs_on_its_cores_and_we_on_ours(tmp_path: Path) -> None:
    """Pinning what is started does not pin the one who starts it."""
    before = os.sched_getaffinity(0)
    program = processes.start([sys.executable, "-c", "import time; time.sleep(60)"], {}, tmp_path / "log", _cores())
    try:
        assert os.sched_getaffinity(program.pid) == _cores()
        assert os.sched_getaffinity(0) == before
    finally:
        processes.stop(program)


def test_stopping_a_program_stops_its_children(tmp_path: Path) -> None:
    """Nothing that a program started outlives it."""
    argv = [sys.executable, "-c", _PARENT + "print('up', flush=True); time.sleep(60)"]
    program = processes.start(argv, {}, tmp_path / "log", _cores())
    while len(family := processes.tree(program.pid)) < 2:
        time.sleep(0.01)
    processes.stop(program)
    assert program.popen.returncode == -signal.SIGTERM
    assert [processes.command(pid) for pid in family] == ["", ""]


def test_what_a_program_said_is_kept(tmp_path: Path) -> None:
    """Its last lines can be shown when it did not start."""
    argv = [sys.executable, "-c", "import os; print('first'); print(os.environ['WORD'])"]
    program = processes.start(argv, {"WORD": "last"}, tmp_path / "log", _cores())
    program.popen.wait()
    assert program.said(1) == "last"


def test_cpu_time_grows_with_work() -> None:
    """CPU seconds of a process are those the kernel charged it."""
    before, began = processes.cpu_seconds([os.getpid()]), time.process_time()
    sum(range(300_000))
    spent = processes.cpu_seconds([os.getpid()]) - before
    assert spent >= (time.process_time() - began) * 0.5 > 0


def test_what_is_gone_weighs_nothing(tmp_path: Path) -> None:
    """A process that ended meanwhile is no error."""
    program = processes.start([sys.executable, "-c", ""], {}, tmp_path / "log", _cores())
    program.popen.wait()
    assert processes.cpu_seconds([program.pid]) == 0.0
    assert processes.memory_bytes(program.pid) == (0, 0)
    assert processes.descriptors(program.pid) == 0


def test_memory_is_measured() -> None:
    """A Python process is resident with some megabytes, shared pages counted in part."""
    resident, proportional = processes.memory_bytes(os.getpid())
    assert 1_000_000 < proportional <= resident


def test_connections_name_both_ports() -> None:
    """A connection that we hold is listed from both its ends, a listening socket is not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not [pair for pair in processes.connections(os.getpid()) if port in pair]
        with socket.create_connection(("127.0.0.1", port)) as client, server.accept()[0]:
            ours = client.getsockname()[1]
            found = [pair for pair in processes.connections(os.getpid()) if port in pair]
            assert sorted(found) == sorted([(ours, port), (port, ours)])


def test_a_free_port_is_free() -> None:
    """A server can be bound to it."""
    socket.create_server(("127.0.0.1", processes.free_port())).close()
