"""Gateways that share a Redis before one echoing upstream, each a real process, and one who asks them.

A `Place` is opened with `with`; leaving it ends all programs, however it is left.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import cast

import httptools
import orjson

from benchmarks import processes
from benchmarks.bodies import MODEL
from benchmarks.echo import Broken, Pace, text_of
from benchmarks.processes import Program
from benchmarks.stand import Cores, DidNotStart

_ROOT = Path(__file__).parent.parent
_READY_S = 90.0
_UP = b"Try it:"  # the last that `sluice serve` says when all of it is up
_SEPARATE = "rules:\n  - {name: plain, cache: {exact: false, coalesce: false}}\n"


def usual_cores() -> Cores:
    """The last core for load, upstream and Redis, all others for the gateways; on a machine of one core, the same."""
    cores = sorted(os.sched_getaffinity(0))
    return Cores(tuple(cores[:-1]) or tuple(cores), tuple(cores[-1:]))


def has_redis() -> bool:
    """Say whether a redis-server is installed."""
    return shutil.which("redis-server") is not None


class Redis:
    """A redis-server of our own, and what can befall it. It keeps nothing on disk."""

    def __init__(self, folder: Path, cores: Cores) -> None:
        self._folder = folder
        self._cores = cores
        self._program: Program | None = None
        self.port = processes.free_port()

    @property
    def url(self) -> str:
        """What `--redis-url` wants."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, at the port it had, and wait until it answers. Raises DidNotStart."""
        argv = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        argv += ["--dir", str(self._folder)]
        self._program = processes.start(argv, {}, self._folder / "redis.log", self._cores.load)
        _until(self._answers, self._program, "redis-server")

    def pause(self) -> None:
        """From now on it accepts connections and never answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash does; ending it again does no harm."""
        program, self._program = self._program, None
        if program is not None:
            program.popen.kill()  # ends a paused process, too
            program.popen.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._program is not None:
            self._program.popen.send_signal(number)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(5) == b"+PONG"
        except OSError:
            return False


class Place:
    """The echoing upstream, perhaps a Redis, and the gateways before them."""

    def __init__(self, cores: Cores, pace: Pace) -> None:
        self.cores = cores
        self._pace = pace
        self._stack = ExitStack()
        self._started = 0
        self._programs: list[Program] = []

    def __enter__(self) -> Place:
        """Start the upstream. Raises DidNotStart."""
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        self.upstream_port = processes.free_port()
        argv = [sys.executable, "-m", "benchmarks.echo", str(self.upstream_port)]
        argv += [str(self._pace.chunks), str(self._pace.seconds)]
        try:
            program = self._start(argv, "upstream", self.cores.load)
            _until(self._upstream_answers, program, "the upstream")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything that was started, the last first."""
        self._stack.__exit__(kind, value, trace)

    def redis(self) -> Redis:
        """Start a Redis. Raises DidNotStart."""
        server = Redis(self.folder, self.cores)
        self._stack.callback(server.kill)
        server.start()
        return server

    def gateways(self, count: int, *options: str, together: bool = True) -> list[int]:
        """Start so many gateways and give their ports; unless `together`, equal calls are each answered anew.

        Raises DidNotStart.
        """
        ports, programs = [], []
        for _ in range(count):
            port = processes.free_port()
            programs.append(self._gateway(port, options, together=together))
            ports.append(port)
        for program in programs:
            _until(partial(_is_up, program), program, "the gateway")
            processes.share_priority(processes.tree(program.pid))
        return ports

    def pids(self) -> list[int]:
        """Give the ids of our own process and of all that was started here, but for Redis."""
        return [os.getpid(), *(pid for program in self._programs for pid in processes.tree(program.pid))]

    def upstream_calls(self) -> int:
        """Ask the upstream how many calls reached it until now."""
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=15)
        try:
            connection.request("GET", "/stats")
            return int(orjson.loads(connection.getresponse().read())["calls"])
        finally:
            connection.close()

    def _gateway(self, port: int, options: tuple[str, ...], *, together: bool) -> Program:
        self._started += 1
        folder = self.folder / f"gateway{self._started}"
        folder.mkdir()
        policy = folder / "policy.yaml"
        policy.write_text(
            f"upstreams:\n  echo: {{url: 'http://127.0.0.1:{self.upstream_port}/v1'}}\n"
            f"models:\n  {MODEL}: {{targets: [{{upstream: echo}}]}}\n" + ("" if together else _SEPARATE)
        )
        argv = [sys.executable, "-m", "gateway.cli", "serve", "--policy", str(policy), "--port", str(port)]
        argv += ["--admin-port", str(processes.free_port()), "--state", str(folder / "state"), *options]
        return self._start(argv, folder.name, self.cores.gateway)

    def _start(self, argv: list[str], name: str, cores: tuple[int, ...]) -> Program:
        program = processes.start(argv, {"PYTHONPATH": str(_ROOT)}, self.folder / f"{name}.log", cores)
        self._stack.callback(processes.stop, program)
        self._programs.append(program)
        return program

    def _upstream_answers(self) -> bool:
        try:
            return self.upstream_calls() == 0
        except OSError:
            return False


def _is_up(program: Program) -> bool:
    return _UP in program.log.read_bytes()


def _until(true: Callable[[], bool], program: Program, name: str) -> None:
    """Wait until something holds; raises DidNotStart with what the program printed."""
    ends = time.monotonic() + _READY_S
    while not true():
        if program.popen.poll() is not None or time.monotonic() > ends:
            raise DidNotStart(f"{name} did not start\n{program.said()}")
        time.sleep(0.02)


@dataclass(slots=True)
class Heard:
    """One answer as it came; `ended` is of the monotonic clock."""

    status: int = 0
    cache: str = ""  # x-cache
    parts: list[bytes] = field(default_factory=list)
    ended: float = 0.0
    trouble: str = ""

    def text(self) -> str:
        """What it says. Raises Broken."""
        if self.trouble:
            raise Broken(self.trouble)
        return text_of(self.status, b"".join(self.parts))


class Asking(asyncio.Protocol):
    """One kept connection to a gateway with one call at a time. httptools calls the `on_` methods."""

    def __init__(self) -> None:
        self.heard = Heard()
        self.is_open = True
        self._answered: asyncio.Future[Heard] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)

    def ask(self, request: bytes) -> asyncio.Future[Heard]:
        """Send a whole request; what comes back is never an exception."""
        self.heard = Heard()
        self._answered = asyncio.get_running_loop().create_future()
        if self.is_open:
            self._transport.write(request)
        else:
            self._end("the connection was closed")
        return self._answered

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._end("not HTTP")
            self._transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note where the answer is from."""
        if name.lower() == b"x-cache":
            self.heard.cache = value.decode()

    def on_body(self, body: bytes) -> None:
        """Collect the body."""
        self.heard.parts.append(body)

    def on_message_complete(self) -> None:
        """Note when an answer was whole."""
        self.heard.status = self._parser.get_status_code()
        self._end("")

    def connection_lost(self, _exc: Exception | None) -> None:
        """Whoever waits for an answer gets none."""
        self.is_open = False
        self._end("hung up in the middle of an answer")

    def close(self) -> None:
        """Hang up."""
        self._transport.abort()

    def _end(self, trouble: str) -> None:
        if self._answered is not None and not self._answered.done():
            self.heard.ended, self.heard.trouble = time.monotonic(), trouble
            self._answered.set_result(self.heard)


async def connect(port: int) -> Asking:
    """Open a connection. Raises OSError."""
    _, asking = await asyncio.get_running_loop().create_connection(Asking, "127.0.0.1", port)
    return asking


def request(body: bytes) -> bytes:
    """A whole request for a chat call."""
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
