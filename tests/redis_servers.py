"""Real Redis servers that tests run: one alone, a master with a Sentinel, a Cluster; on free ports, keeping nothing."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.running import free_port

UP_SECONDS = 20.0
ALONE = (
    "--save",
    "",
    "--appendonly",
    "no",
    "--bind",
    "127.0.0.1",
    "--protected-mode",
    "no",
    "--repl-diskless-sync-delay",
    "0",
)


@dataclass
class Server:
    """One redis-server: where it answers, and what can befall it."""

    folder: Path
    port: int  # 0: only by the socket
    url: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, with the port and options it had, and wait until it answers; what it knew is gone."""
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(self.command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT)
        _until(self._answers, self)

    def stop(self) -> None:
        """End it, if it runs."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """From now on it accepts connections and never answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def tell(self, *command: str) -> Any:
        """What the server answers to a command of the test's own."""
        with redis.Redis.from_url(self.url, socket_timeout=5, protocol=2, retry=None) as client:
            return client.execute_command(*command)

    def _answers(self) -> bool:
        try:
            return bool(self.tell("PING"))
        except redis.ConnectionError:
            return False

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        self.resume()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


@dataclass(frozen=True)
class Sentinels:
    """A master, its replica and one Sentinel, whose word is enough."""

    url: str
    master: Server
    replica: Server


@dataclass(frozen=True)
class Cluster:
    """Three masters that share the slots, and perhaps their replicas."""

    url: str
    nodes: tuple[Server, ...]


@contextmanager
def redis_server(folder: Path, *options: str, socket: bool = False) -> Iterator[Server]:
    """One server on a free port, or on a Unix socket in the folder."""
    needed()
    folder.mkdir(parents=True, exist_ok=True)
    port = 0 if socket else free_port()
    path = folder / "redis.sock"
    where = ("--port", str(port), *(("--unixsocket", str(path)) if socket else ()))
    url = f"unix://{path}" if socket else f"redis://127.0.0.1:{port}"
    server = Server(folder, port, url, ("redis-server", *ALONE, *where, *options))
    try:
        server.start()
        yield server
    finally:
        server.kill()  # quicker, and there is nothing to keep


@contextmanager
def sentinel(folder: Path) -> Iterator[Sentinels]:
    """A master named `mymaster`, a replica and a Sentinel that fails over within about two seconds."""
    with ExitStack() as stack:
        master = stack.enter_context(redis_server(folder / "master"))
        replica = stack.enter_context(redis_server(folder / "replica", "--replicaof", "127.0.0.1", str(master.port)))
        _until(lambda: replica.tell("INFO", "replication")["master_link_status"] == "up", replica)
        watcher = stack.enter_context(_sentinel(folder / "sentinel", master.port))
        yield Sentinels(f"redis+sentinel://127.0.0.1:{watcher.port}/mymaster", master, replica)


@contextmanager
def _sentinel(folder: Path, master: int) -> Iterator[Server]:
    folder.mkdir(parents=True)
    port = free_port()
    lines = [
        f"port {port}",
        "bind 127.0.0.1",
        "protected-mode no",
        f"sentinel monitor mymaster 127.0.0.1 {master} 1",
        "sentinel down-after-milliseconds mymaster 500",
        "sentinel failover-timeout mymaster 3000",
    ]
    (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
    command = ("redis-server", str(folder / "sentinel.conf"), "--sentinel")
    server = Server(folder, port, f"redis://127.0.0.1:{port}", command)
    try:
        server.start()
        _until(lambda: server.tell("SENTINEL REPLICAS", "mymaster"), server)
        yield server
    finally:
        server.stop()


@contextmanager
def cluster(folder: Path, *, replicas: int = 0) -> Iterator[Cluster]:
    """Three masters, joined, each with so many replicas."""
    with ExitStack() as stack:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
        nodes = tuple(
            stack.enter_context(redis_server(folder / str(number), *options, "--cluster-port", str(free_port())))
            for number in range(3 + 3 * replicas)
        )
        places = [f"127.0.0.1:{node.port}" for node in nodes]
        join = ["redis-cli", "--cluster", "create", *places, "--cluster-replicas", str(replicas), "--cluster-yes"]
        joined = subprocess.run(join, capture_output=True, text=True, check=False, timeout=60)
        assert joined.returncode == 0, joined.stdout + joined.stderr
        _until(lambda: all(node.tell("CLUSTER INFO")["cluster_state"] == "ok" for node in nodes), nodes[0])
        yield Cluster(f"redis+cluster://{','.join(places)}", nodes)


def needed() -> None:
    """Skip the test where there is no redis-server."""
    if shutil.which("redis-server") is None or shutil.which("redis-cli") is None:
        pytest.skip("redis-server is not installed (tests/system.sh installs it where it may)")


def _until(true: Callable[[], object], server: Server) -> None:
    """Wait until something holds; fails with the server's log."""
    until = time.monotonic() + UP_SECONDS
    while not true():
        ended = server.process is None or server.process.poll() is not None
        if ended or time.monotonic() > until:
            raise AssertionError(f"redis-server did not come up:\n{(server.folder / 'redis.log').read_text()}")
        time.sleep(0.02)
