"""Keeps the engine processes running that the policy wants; used by the parent process, which only calls `tick`.

Laws of this module:

* Nothing here waits, except `stop`.
* An engine that ends is started again after 0.5 s, then 1 s, 2 s … 30 s; a minute of health forgets the failures.
* An engine's endpoint file exists only while that very process runs, so no call is sent to whoever has its port now.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.engines.endpoint import load_endpoint
from gateway.engines.files import EngineFiles, write_private
from gateway.engines.launch import Child, Launch, ProcessLaunch
from gateway.engines.spec import EngineSpec

FIRST_DELAY = 0.5  # seconds
LONGEST_DELAY = 30.0
HEALTHY_AFTER = 60.0
KILL_AFTER = 5.0  # a process that ignores SIGTERM so long is killed
FAILED_AFTER = 3  # this many ends in a row without once being ready: the model or the machine is at fault


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """How one engine is. `last_exit` is negative for a signal; None if it never ended or could not be started."""

    name: str
    key: str
    state: str  # "starting", "ready", "restarting" or "failed"; the last two are still tried again
    pid: int | None
    restarts: int
    last_exit: int | None


class Supervisor:
    """Starts, watches, restarts and stops engines. Its status also lies in `engines.json` in the state directory."""

    def __init__(
        self,
        state: Path,
        *,
        launch: Launch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._launch = launch or ProcessLaunch(state)
        self._clock = clock
        self._engines: dict[str, _Engine] = {}
        self._leaving: list[tuple[Child, EngineFiles, float]] = []
        self._written: list[EngineStatus] | None = None
        state.mkdir(mode=0o700, parents=True, exist_ok=True)

    def want(self, specs: Iterable[EngineSpec]) -> None:
        """Say which engines are to run from now on; the others are stopped. Equal keys are one engine."""
        wanted = {spec.key: spec for spec in specs}
        for key in self._engines.keys() - wanted.keys():
            self._retire(self._engines.pop(key))
        for key, spec in wanted.items():
            if key not in self._engines:
                self._engines[key] = _Engine(spec, EngineFiles(self._state, key))
        self.tick()

    def tick(self) -> None:
        """Reap what ended and start what is due. Call it a few times a second; it never waits and never raises."""
        now = self._clock()
        for engine in self._engines.values():
            engine.tick(now, self._launch)
        self._leaving = [left for left in self._leaving if not _has_left(*left, now)]
        self._write()

    def stop(self, timeout: float = 5.0) -> None:
        """End every engine: ask, and after `timeout` seconds for all of them together, kill."""
        for engine in self._engines.values():
            self._retire(engine)
        self._engines = {}
        deadline = self._clock() + timeout
        for child, files, _ in self._leaving:
            try:
                child.wait(max(0.0, deadline - self._clock()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            _withdraw(files, child.pid)
        self._leaving = []
        self._write()

    def status(self) -> list[EngineStatus]:
        """How each wanted engine is, by name."""
        return sorted((engine.status() for engine in self._engines.values()), key=lambda s: (s.name, s.key))

    def _retire(self, engine: _Engine) -> None:
        if engine.child is not None:
            engine.child.terminate()
            _withdraw(engine.files, engine.child.pid)  # at once: no new call may find it
            self._leaving.append((engine.child, engine.files, self._clock() + KILL_AFTER))

    def _write(self) -> None:
        status = self.status()
        if status == self._written:
            return
        with suppress(OSError):  # a full disk must not end the supervisor; the next tick tries again
            write_private(self._state / "engines.json", json.dumps({"engines": [asdict(s) for s in status]}).encode())
            self._written = status


class _Engine:
    """One wanted engine and the process that serves it, if one runs now."""

    def __init__(self, spec: EngineSpec, files: EngineFiles) -> None:
        self.spec = spec
        self.files = files
        self.child: Child | None = None
        self.restarts = 0
        self.last_exit: int | None = None
        self._starts = 0
        self._failures = 0  # ends since it was last healthy
        self._never_ready = 0  # ends in a row before it was ready
        self._ready_at: float | None = None
        self._due = float("-inf")

    def tick(self, now: float, launch: Launch) -> None:
        if self.child is not None:
            self._watch(self.child, now)
        if self.child is None and now >= self._due:
            self._start(now, launch)

    def status(self) -> EngineStatus:
        pid = self.child.pid if self.child else None
        return EngineStatus(self.spec.name, self.spec.key, self._word(), pid, self.restarts, self.last_exit)

    def _word(self) -> str:
        if self._ready_at is not None:
            return "ready"
        if self._never_ready >= FAILED_AFTER:
            return "failed"
        return "restarting" if self._failures else "starting"

    def _start(self, now: float, launch: Launch) -> None:
        self.restarts, self._starts = self._starts, self._starts + 1
        with suppress(OSError):
            self.files.endpoint.unlink()  # left by a supervisor that was killed
        try:
            self.child = launch(self.spec)
        except OSError:  # no memory for a process, a full disk: tried again like an engine that ended
            self._ended(None, now)

    def _watch(self, child: Child, now: float) -> None:
        code = child.poll()
        if code is not None:
            _withdraw(self.files, child.pid)
            self._ended(code, now)
        elif self._ready_at is None:
            endpoint = load_endpoint(self.files.endpoint)
            if endpoint is not None and endpoint.pid == child.pid:
                self._ready_at, self._never_ready = now, 0
        elif now - self._ready_at >= HEALTHY_AFTER:
            self._failures = 0

    def _ended(self, code: int | None, now: float) -> None:
        self._due = now + min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self._failures, 16))
        self._failures += 1
        self._never_ready += self._ready_at is None
        self.child, self.last_exit, self._ready_at = None, code, None


def _has_left(child: Child, files: EngineFiles, deadline: float, now: float) -> bool:
    """Say whether a retired process is gone; one that is over its time is killed."""
    if child.poll() is None:
        if now >= deadline:
            child.kill()
        return False
    _withdraw(files, child.pid)  # it may have become ready just after it was told to end
    return True


def _withdraw(files: EngineFiles, pid: int) -> None:
    """Remove the endpoint file if it is this process's; a successor with the same key may have written its own."""
    endpoint = load_endpoint(files.endpoint)
    if endpoint is not None and endpoint.pid == pid:
        with suppress(OSError):
            files.endpoint.unlink()
