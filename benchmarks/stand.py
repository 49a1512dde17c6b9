"""Everything that stands while a benchmark runs: the static upstream, the gateways before it, one folder, free ports.

A `Stand` is opened with `with`; leaving it ends all programs, however it is left.
"""

from __future__ import annotations

import http.client
import os
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from benchmarks import processes
from benchmarks.bodies import STAMP, STREAMED, Kind, Size, completion, events, request_body
from benchmarks.processes import Program
from benchmarks.targets import DIRECT, Gateway, Part, Site

_ROOT = Path(__file__).parent.parent
_READY_S = 90.0
_ANSWER_S = 15.0
_WARM_CALLS = 20


class WrongAnswer(Exception):
    """A gateway answered, but not what the static upstream had said."""


class NoHit(Exception):
    """A gateway with a cache kept asking the upstream for an answer that it had already given."""


class DidNotStart(Exception):
    """A program ended, or gave no right answer in time; the message ends with what it printed."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores the gateways run on, and which the load generator and the static upstream."""

    gateway: tuple[int, ...]
    load: tuple[int, ...]


def usual_cores() -> Cores:
    """One core for the gateway and the next one for load and upstream; on a machine of one core, the same."""
    cores = sorted(os.sched_getaffinity(0))
    return Cores((cores[0],), (cores[1] if len(cores) > 1 else cores[0],))


@dataclass(frozen=True, slots=True)
class Running:
    """A target that answers at `port`; the direct call has no program of its own."""

    name: str
    port: int
    program: Program | None
    part: Part = "both"

    def pids(self) -> list[int]:
        """Give the ids of all its processes."""
        return processes.tree(self.program.pid) if self.program else []


class Stand:
    """The static upstream and what was put before it."""

    def __init__(self, cores: Cores, *, faulty: bool = False) -> None:
        """`faulty`: the upstream will be asked for failures, so gateways get no circuit breakers."""
        self.cores = cores
        self._faulty = faulty
        self.key = f"sk-bench-{secrets.token_hex(16)}"
        self._stack = ExitStack()

    def __enter__(self) -> Stand:
        """Start the static upstream."""
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        self.upstream_port = processes.free_port()
        argv = [sys.executable, "-m", "benchmarks.upstream", str(self.upstream_port)]
        self.upstream = self._start(argv, {"PYTHONPATH": str(_ROOT)}, "upstream", self.cores.load)
        try:
            self._wait(Running(DIRECT, self.upstream_port, self.upstream))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything that was started, the last first."""
        self._stack.__exit__(kind, value, trace)

    def direct(self) -> Running:
        """Give the direct call: the static upstream itself."""
        return Running(DIRECT, self.upstream_port, None)

    def start(self, gateway: Gateway) -> Running:
        """Start a gateway before the upstream and wait for its first right answer. Raises DidNotStart."""
        assert gateway.program is not None  # noqa: S101  # whoever asks has seen that it is installed
        folder = self.folder / gateway.name
        folder.mkdir()
        site = Site(self.upstream_port, processes.free_port(), processes.free_port(), folder, self.key, self._faulty)
        launch = gateway.launch(gateway.program, site)
        program = self._start(launch.argv, dict(launch.env), gateway.name, self.cores.gateway)
        running = Running(gateway.name, site.port, program, gateway.part)
        self._wait(running)
        processes.share_priority(running.pids())
        return running

    def stop(self, running: Running) -> None:
        """End one gateway before the others; ending it again later does no harm."""
        if running.program is not None:
            processes.stop(running.program)

    def _start(self, argv: list[str], env: dict[str, str], name: str, cores: tuple[int, ...]) -> Program:
        program = processes.start(argv, env, self.folder / f"{name}.log", cores)
        self._stack.callback(processes.stop, program)
        return program

    def _wait(self, running: Running) -> None:
        assert running.program is not None  # noqa: S101  # only programs are waited for
        ends = time.monotonic() + _READY_S
        trouble = "no answer"
        while time.monotonic() < ends:
            if running.program.popen.poll() is not None:
                trouble = f"it ended with status {running.program.popen.returncode}"
                break
            try:
                self.ask(running, "plain", "1.7k")
            except (OSError, http.client.HTTPException, WrongAnswer) as error:
                trouble = f"{type(error).__name__}: {error}"
                time.sleep(0.01)
            else:
                return
        raise DidNotStart(f"{running.name} did not start: {trouble}\n{running.program.said()}")

    def ask(self, running: Running, kind: Kind, size: Size, number: int = 0) -> int:
        """Make call `number`, check the whole answer, and give what `load.Spec.expected` wants. Raises WrongAnswer."""
        return self._ask(running, kind, size, number)[0]

    def warm(self, running: Running, kind: Kind, size: Size, number: int = 0) -> int:
        """Make call `number` until its answer comes from the cache; give what `load.Spec.expected` wants of a hit.

        Whether it was a hit is for the upstream to say, and what claims one must agree. Raises WrongAnswer and NoHit.
        """
        for _ in range(_WARM_CALLS):
            before = self.upstream_calls()
            expected, claim = self._ask(running, kind, size, number)
            if self.upstream_calls() == before:
                if claim not in {"", "HIT"}:
                    raise WrongAnswer(f"the upstream was not asked, but x-cache says {claim}")
                return expected
            time.sleep(0.05)  # some keep an answer only after it has been given
        raise NoHit(f"the upstream was asked {_WARM_CALLS} times for one answer")

    def upstream_calls(self) -> int:
        """Ask the upstream how many calls reached it until now."""
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=_ANSWER_S)
        try:
            connection.request("GET", "/stats")
            return int(_json(connection.getresponse().read())["calls"])
        finally:
            connection.close()

    def _ask(self, running: Running, kind: Kind, size: Size, number: int) -> tuple[int, str]:
        """Make and check one call; give what is expected of its like, and its x-cache header."""
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=_ANSWER_S)
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        try:
            connection.request("POST", "/v1/chat/completions", request_body(kind, size).numbered(number), headers)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise WrongAnswer(f"status {response.status}: {body[:200].decode(errors='replace')}")
        expected = _check_stream(body) if kind in STREAMED else _check_plain(body)
        return expected, response.getheader("x-cache", "").upper()


def _check_plain(body: bytes) -> int:
    said, expected = _json(body), orjson.loads(completion())
    if _text(said, "message") != _text(expected, "message"):
        raise WrongAnswer(f"another text: {body[:200].decode(errors='replace')}")
    return len(body)


def _check_stream(body: bytes) -> int:
    expected = [_text(orjson.loads(event.removeprefix(b"data: ")), "delta") for event in events()]
    if _blank(_streamed_text(body)) != _blank("".join(expected)):
        raise WrongAnswer(f"another text: {body[:200].decode(errors='replace')}")
    return body.count(b"data: ")


def _streamed_text(body: bytes) -> str:
    data = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data: ")]
    return "".join(_text(_json(event), "delta") for event in data if event != b"[DONE]")


def _blank(text: str) -> bytes:
    return STAMP.sub(b"t=", text.encode())


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise WrongAnswer(f"no JSON: {body[:200].decode(errors='replace')}") from error


def _text(document: Any, part: str) -> str:
    try:
        return "".join(choice[part].get("content") or "" for choice in document["choices"])
    except (KeyError, TypeError, AttributeError) as error:
        raise WrongAnswer("no chat completion") from error
