"""`sluice serve`: the parent of all processes, a plain loop without threads or events.

It binds the sockets, so that a port in use is said at once and a restarted worker loses no connection; starts the
engines the policy asks for, the data workers, the admin process and the recorder; tells where everything is; and keeps
all of them running until it is told to stop. Then the workers drain, the recorder takes in what they left, and the
engines stop after them.
"""

from __future__ import annotations

import asyncio
import fcntl
import http.client
import json
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from caching.errors import StoreUnavailable
from gateway.admin import REDIS_URL_ENV
from gateway.admin.workers import living, read_workers
from gateway.auth import is_local_name
from gateway.chronicle import Chronicle
from gateway.engines.minilm import PackageMissing, ensure
from gateway.engines.spec import EngineSpec, minilm_path, specs
from gateway.engines.supervisor import Supervisor
from gateway.keys.registry import Keyring, look
from gateway.processes import Kept
from gateway.settings import WEIGHTS, Settings, worker_environ
from gateway.state import State
from gateway.telemetry.switch import CannotTrace
from gateway.telemetry.switch import check as check_traces
from policies.loader import LoadedPolicy, PolicyError, load
from policies.watch import Watcher

TICK_SECONDS = 0.1
OLD_ENGINE_SECONDS = 60.0  # an engine that an edit removed still serves the calls that began before
READY_SECONDS = 120.0
SLOW_ENGINE_SECONDS = 20.0  # after that the engines that are up are enough to say so
RECORDER_SECONDS = 15.0  # for the recorder to end; it ends earlier by itself
BACKLOG = 2048
REDIS_SECONDS = 2.0
log = logging.getLogger("sluice")


class CannotServe(Exception):
    """What is wrong with the settings, in one sentence that says what to do."""


class Serve:
    """All processes of one gateway."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._environ = environ
        self._say = say
        self._settings = settings = replace(settings, state=settings.state.resolve(), policy=settings.policy.absolute())
        self._watcher = Watcher(settings.policy)
        self._loaded = self._read_policy()
        _check(settings, environ)
        self._ring = look(settings.state, settings.redis_url)
        _check_keys(settings, self._loaded, self._ring)
        self._state = State(settings.state)
        self._state.create()
        self._lock = _lock(settings.state)
        self._chronicle = Chronicle(self._state.dir / "policies", self._served)
        self._chronicle.expect(self._loaded)
        self._stopping = False
        self._kept: list[Kept] = []
        self._engines = Supervisor(settings.state)
        self._wanted: list[EngineSpec] = []
        self._ends: dict[str, int] = {}  # ends of engines already told of, by key
        self._forget_at: float | None = None

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises CannotServe."""
        listening = _bind(self._settings.host, self._settings.port)
        _bind(self._settings.admin_host, self._settings.admin_port).close()
        for end in (signal.SIGTERM, signal.SIGINT):
            signal.signal(end, self._on_signal)
        try:
            self._want_engines()
            for number in range(self._settings.workers):
                self._kept.append(Kept(f"worker {number}", self._worker_command(number, listening)))
            self._kept.append(Kept("admin plane", self._admin_command()))
            self._kept.append(Kept("recorder", self._recorder_command()))
            self._wait_until_ready()
            while not self._stopping:
                self._tick()
                time.sleep(TICK_SECONDS)
        finally:
            listening.close()  # else clients that come while the workers drain would wait in vain
            self._stop()

    def _tick(self) -> None:
        self._tend_engines()
        for kept in self._kept:
            kept.tick()
        if self._watcher.changed():
            self._follow_edit()
        if self._forget_at is not None and time.monotonic() >= self._forget_at:
            self._forget_at = None
            self._engines.want(self._wanted)
        self._chronicle.tick()

    def _served(self) -> set[str]:
        """The versions of the policy that living workers serve."""
        return {s["status"].get("policy", "") for s in living(read_workers(self._state), time.time())}

    def _tend_engines(self) -> None:
        """Look after the engines, and say once of each end that it came."""
        self._engines.tick()
        for status in self._engines.status():
            ends = status.restarts + (status.state in ("restarting", "failed"))
            if ends > self._ends.get(status.key, 0):
                self._ends[status.key] = ends
                log.error("engine %s ended with %s; it is started again", status.name, status.last_exit)

    def _follow_edit(self) -> None:
        """Start the engines that an edit asks for. Whatever is wrong with the edit, the old policy goes on."""
        try:
            with suppress(PolicyError):  # each worker says what is wrong with it
                self._loaded = self._read_policy()
                self._chronicle.expect(self._loaded)
                self._want_engines()
        except CannotServe as error:
            log.error("the edited policy's engines cannot start: %s", error)

    def _read_policy(self) -> LoadedPolicy:
        return load(self._settings.policy, self._environ, self._settings.gguf)

    def _want_engines(self) -> None:
        """Start what the policy asks for; what it no longer asks for goes on for a while, for the calls under way."""
        found = specs(self._loaded.policy, self._settings.policy.parent, WEIGHTS, self._settings.state)
        wanted = list(found.values())
        if any(spec.gguf == minilm_path(self._settings.state) for spec in wanted):
            _convert_minilm(minilm_path(self._settings.state))
        for spec in wanted:
            _check_gguf(spec.gguf)  # before anything changes: a refused edit must not stop an engine that serves
        before, self._wanted = self._wanted, wanted
        self._engines.want([*before, *self._wanted])
        if before:
            self._forget_at = time.monotonic() + OLD_ENGINE_SECONDS
        self._engines.tick()

    def _worker_command(self, number: int, listening: socket.socket) -> Callable[[], subprocess.Popen[bytes]]:
        descriptor = listening.fileno()
        environ = worker_environ(self._settings, number, descriptor, self._environ)
        command = [sys.executable, "-P", "-m", "gateway.worker"]  # -P: a module in the current folder is not ours
        return lambda: subprocess.Popen(command, env=environ, pass_fds=[descriptor], start_new_session=True)  # noqa: S603 - our own module

    def _admin_command(self) -> Callable[[], subprocess.Popen[bytes]]:
        settings = self._settings
        self._state.admin_token()
        options = {
            "host": settings.admin_host,
            "port": settings.admin_port,
            "parent": os.getpid(),
            "log-format": settings.log_format,
        }
        paths = {"state": settings.state, "policy": settings.policy, "hello": self._hello()}
        words = [word for name, value in {**options, **paths}.items() for word in (f"--{name}", str(value))]
        words += [word for path in settings.gguf for word in ("--gguf", str(path))]
        command = [sys.executable, "-P", "-m", "gateway.admin", *words]
        environ = {**self._environ, REDIS_URL_ENV: settings.redis_url}
        return lambda: subprocess.Popen(command, env=environ, start_new_session=True)  # noqa: S603 - our own module

    def _recorder_command(self) -> Callable[[], subprocess.Popen[bytes]]:
        settings = self._settings
        command = [sys.executable, "-P", "-m", "gateway.recorder", "--state", str(settings.state)]
        command += ["--parent", str(os.getpid()), "--log-format", settings.log_format]
        environ = {**self._environ, REDIS_URL_ENV: settings.redis_url}
        return lambda: subprocess.Popen(command, env=environ, start_new_session=True)  # noqa: S603 - our own module

    def _wait_until_ready(self) -> None:
        """Wait for the first worker and the engines, then tell where everything is."""
        until = time.monotonic() + READY_SECONDS
        while not self._stopping and time.monotonic() < until:
            self._tend_engines()
            for kept in self._kept:
                if (kept.exit_code or 0) > 0:  # it ended by itself; one that was killed is started again
                    raise CannotServe(f"{kept.name} could not start; its reason stands above.")
                kept.tick()
            if self._is_up(patient=time.monotonic() < until - READY_SECONDS + SLOW_ENGINE_SECONDS):
                self._say(self._banner())
                return
            time.sleep(0.02)
        if not self._stopping:
            log.error(
                "not ready after %g s; still trying. See %s for the engines' logs.", READY_SECONDS, self._state.dir
            )

    def _is_up(self, *, patient: bool) -> bool:
        """Say whether both planes answer; while `patient`, also whether every engine does."""
        settings = self._settings
        data = _get(settings.host, settings.port, "/readyz")
        admin = _get(settings.admin_host, settings.admin_port, "/healthz")
        return admin is not None and data is not None and (not patient or data.get("status") == "ready")

    def _banner(self) -> str:
        settings = self._settings
        return "\n".join(
            [
                "",
                f"  base URL     {self._base}",
                f"  admin URL    http://{_shown(settings.admin_host)}:{settings.admin_port}",
                f"  admin token  {self._state.admin_token()}",
                f"  policy       {settings.policy}",
                "",
                "Try it:",
                "",
                f"  {self._hello()}",
                "",
            ]
        )

    @property
    def _base(self) -> str:
        return f"http://{_shown(self._settings.host)}:{self._settings.port}/v1"

    def _hello(self) -> str:
        """A line that works when pasted."""
        return _curl(self._base, self._loaded, with_key=self._ring.had_keys)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _stop(self) -> None:
        """Drain the workers, then stop the rest; the recorder first takes in what they left."""
        until = time.monotonic() + self._settings.drain + 5.0
        workers, others = self._kept[: self._settings.workers], self._kept[self._settings.workers :]
        for group, patience in ((workers, 0.0), (others, RECORDER_SECONDS)):
            for kept in group:
                kept.terminate()
            for kept in group:
                kept.wait(max(until - time.monotonic(), patience))
        self._engines.stop()


def _check(settings: Settings, environ: Mapping[str, str]) -> None:
    if settings.workers > 1 and not settings.redis_url:
        raise CannotServe(
            f"{settings.workers} workers share their state: add --redis-url redis://HOST:6379/0, or serve with one."
        )
    if settings.redis_url:
        _check_redis(settings.redis_url)
    try:
        check_traces(environ)
    except CannotTrace as error:
        raise CannotServe(str(error)) from error


def _check_keys(settings: Settings, loaded: LoadedPolicy, ring: Keyring) -> None:
    """Refuse to serve without keys whom a key should be asked of."""
    if loaded.policy.keys:
        return
    if not ring.is_certain:
        raise CannotServe(f"Nobody can tell which keys were issued: {ring.trouble}. Repair it, or put a copy back.")
    if not ring.had_keys and not is_local_name(settings.host):
        raise CannotServe(
            f"Without keys only this machine may be served, not {settings.host}: add keys to {loaded.path}, "
            "issue one with `sluice keys create`, or serve with --host 127.0.0.1."
        )


def _check_redis(url: str) -> None:
    """Refuse a Redis that is not there: workers that share nothing would look as if they did."""
    # Imported here: the one client library that a gateway without Redis need not load.
    from caching.connection import connect, shown  # noqa: PLC0415
    from caching.stores.redis import RedisStore  # noqa: PLC0415

    async def ping() -> None:
        store = RedisStore(connect(url))
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                await store.ping()
        finally:
            await store.close()

    try:
        asyncio.run(ping())
    except ValueError as error:
        raise CannotServe(f"The Redis URL cannot be used: {error}.") from error
    except (StoreUnavailable, TimeoutError) as error:
        raise CannotServe(f"Redis at {shown(url)} cannot be reached: {str(error) or 'it does not answer'}.") from error


def _check_gguf(path: Path) -> None:
    """Refuse weights that are none; llama.cpp would say so in its log only, again and again."""
    try:
        with path.open("rb") as file:
            is_gguf = file.read(4) == b"GGUF"
    except OSError as error:
        raise CannotServe(f"{path} cannot be read: {error.strerror}.") from error
    if not is_gguf:
        raise CannotServe(f"{path} is not a GGUF file.")


def _lock(state: Path) -> int:
    """Hold the state folder for as long as this process lives: two gateways in one would undo each other's files."""
    path = state / "serve.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = path.read_text().strip()
        os.close(descriptor)
        raise CannotServe(
            f"The state folder {state} is in use by process {owner}: give another with --state."
        ) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def _convert_minilm(out: Path) -> None:
    """Write the embedding model, the first time it is wanted."""
    try:
        ensure(out)
    except (PackageMissing, OSError) as error:
        raise CannotServe(str(error)) from error


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError as error:
        raise CannotServe(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from error
    bound.set_inheritable(True)
    return bound


def _get(host: str, port: int, path: str) -> dict[str, Any] | None:
    """What one of our own pages says, or None while it cannot be had or is not 200."""
    connection = http.client.HTTPConnection(_reachable(host), port, timeout=1)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        told: dict[str, Any] | None = json.loads(response.read()) if response.status == 200 else None
        return told
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _curl(base: str, loaded: LoadedPolicy, *, with_key: bool) -> str:
    """A line that works when pasted."""
    policy = loaded.policy
    chat = [name for name, model in policy.models.items() if "chat" in model.serves]
    model = "sluice-small" if "sluice-small" in chat else next(iter(chat), "MODEL")
    key = " -H 'Authorization: Bearer KEY'" if policy.keys or with_key else ""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "What is the capital of France?"}]})
    return f"curl -s {base}/chat/completions -H 'Content-Type: application/json'{key} -d {shlex.quote(body)}"
