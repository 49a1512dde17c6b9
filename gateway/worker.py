"""One data worker: a process with an event loop that serves the data plane and nothing else.

`python -m gateway.worker`, started by serve with its settings in the environment and its listening socket inherited.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from time import monotonic
from types import FrameType
from typing import Any

import uvicorn
import uvloop

from gateway.app import DataPlane
from gateway.auth import is_local_name
from gateway.keys.registry import keyring
from gateway.ledger import Journal
from gateway.listener import Listener
from gateway.loads import Loads
from gateway.logs import CallLog, set_up
from gateway.metrics import Status
from gateway.money.prices import Prices
from gateway.money.table import FILE as PRICES
from gateway.runtime import PolicyRefused, Runtime
from gateway.settings import WEIGHTS, Settings, worker_settings
from gateway.state import State
from gateway.telemetry.switch import open_spans
from gateway.trace import Trace
from policies.loader import LoadedPolicy, PolicyError, load
from policies.watch import Watcher
from routing.breaker import State as BreakerState

WATCH_SECONDS = 0.5
DESCRIBE_SECONDS = 10.0  # between two looks at what machines cost now
ENGINE_SECONDS = 60.0  # how long a new policy waits for an engine it adds
LEVELS = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}
log = logging.getLogger("sluice")


class Worker:
    """Serves until it is told to stop or its parent is gone."""

    def __init__(
        self, settings: Settings, number: int, environ: Mapping[str, str], *, journal: type[Journal] = Journal
    ) -> None:
        """`journal` takes the records of calls."""
        self._settings = settings
        self._environ = environ
        self._watcher = Watcher(settings.policy)
        self._status = Status()
        self._table_watcher = Watcher(settings.state / PRICES)
        self._loads = Loads(State(settings.state), number) if settings.workers > 1 else None
        self._prices: list[dict[str, Any]] = []  # as they were told last, of which policy, and when
        self._described: Prices | None = None
        self._described_at = 0.0
        self._describing: asyncio.Task[None] | None = None
        self._keyring = keyring(settings.state.resolve(), settings.redis_url)
        self._spans = open_spans(environ, number)
        watchers: list[Callable[[Trace], None]] = [] if self._spans is None else [self._spans.add]
        if settings.log_calls:
            watchers.append(CallLog(logging.getLogger("sluice.calls")))
        self._journal = journal(State(settings.state), number, status=lambda: self._status, watchers=watchers)
        self._policy_at = time.time()
        self._runtime = Runtime(
            settings.state.resolve(),
            WEIGHTS,
            needs_keys=not is_local_name(settings.host),
            redis_url=settings.redis_url,
            record=self._journal.add,
            begin=None if self._spans is None else self._spans.begin,
        )
        self._plane = DataPlane(self._runtime, self._journal)

    async def run(self, listening: socket.socket) -> None:
        """Load the policy, serve, drain, write the last records. Raises PolicyError for an unusable policy."""
        await self._keyring.poll()
        self._runtime.use_keys(self._keyring.issued, had_keys=self._keyring.had_keys)
        await self._runtime.load(self._read_policy())
        self._in_force()
        self._journal.start()
        if self._spans is not None:
            self._spans.start()
        server = _Server(self._config(), self._plane)
        _tune_interpreter()
        tending = asyncio.create_task(self._tend(server))
        try:
            await server.serve(sockets=[listening])
        finally:
            tending.cancel()
            await asyncio.sleep(0.01)  # calls that were cut when the time to drain was over write their records
            await self._runtime.aclose()
            await self._keyring.aclose()
            await asyncio.to_thread(self._journal.close)
            if self._spans is not None:
                await asyncio.to_thread(self._spans.close)

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._plane,  # type: ignore[arg-type] # only our listener ever sees it
            loop="uvloop",
            http=Listener,
            ws="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(self._settings.drain)),
        )

    def _read_policy(self) -> LoadedPolicy:
        return load(self._settings.policy, self._environ, self._settings.gguf)

    async def _tend(self, server: uvicorn.Server) -> None:
        """Twice a second: is the policy file another, is the parent still there, how are the breakers?"""
        parent = os.getppid()
        watching = [asyncio.create_task(watch()) for watch in (self._watch_policy, self._watch_keys)]
        try:
            while True:
                self._tend_prices()
                self._status = self._told()
                if os.getppid() != parent:
                    server.should_exit = True
                await asyncio.sleep(WATCH_SECONDS)
        finally:
            for watch in watching:
                watch.cancel()
            if self._describing is not None:
                self._describing.cancel()

    def _tend_prices(self) -> None:
        """Follow a fresher price table, the other workers' loads, and, now and then, what everything costs."""
        now = monotonic()
        if self._table_watcher.changed():
            self._runtime.use_prices()
        if self._loads is not None:
            try:
                self._loads.exchange(self._runtime.pipeline.meters, now)
            except OSError:
                log.debug("loads could not be told to the other workers")  # the ledger says what is wrong with the disk
        prices = self._runtime.pipeline.prices
        is_due = prices is not self._described or now - self._described_at > DESCRIBE_SECONDS
        if is_due and (self._describing is None or self._describing.done()):
            self._describing = asyncio.create_task(self._describe(prices, now))

    async def _describe(self, prices: Prices, now: float) -> None:
        """Tell what everything costs, beside the loop: a policy may have hundreds of globs."""
        self._described, self._described_at = prices, now  # also if it fails: then it is tried again later
        try:
            self._prices = await asyncio.to_thread(prices.describe, now)
        except Exception:  # a fault of ours must not end silently, and calls are priced without this
            log.exception("what models cost could not be told")

    async def _watch_policy(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._watcher.changed():
                await self._reload()

    async def _watch_keys(self) -> None:
        """Have a key that was issued or revoked anywhere act here."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                if await self._keyring.poll():
                    self._runtime.use_keys(self._keyring.issued, had_keys=self._keyring.had_keys)
            except Exception:  # a fault of ours or of a library must not end the watch: no revocation would act again
                log.exception("issued keys could not be followed, the last known stay in force")

    async def _reload(self) -> None:
        """Put the edited policy in force, or keep the old one and say why."""
        try:
            loaded = await asyncio.to_thread(self._read_policy)
            if loaded.version != self._runtime.pipeline.loaded.version:
                await self._runtime.load(loaded, wait_for_engines=ENGINE_SECONDS)
                self._runtime.accept()
                self._in_force()
                log.info("policy %s is in force", loaded.version)
            self._runtime.last_refusal = None
        except (PolicyError, PolicyRefused, OSError, ImportError) as refusal:
            self._runtime.refuse(str(refusal))
            log.error("policy edit refused, the old policy stays in force: %s", refusal)
        except Exception:  # a fault of ours or of a library must not end the watch: the next edit may mend it
            self._runtime.refuse("the edit could not be applied; the log has the reason")
            log.exception("policy edit failed, the old policy stays in force")

    def _in_force(self) -> None:
        """Another policy is in force: since when, and who stands behind its upstreams."""
        self._policy_at = time.time()
        if self._spans is not None:
            self._spans.know(self._runtime.pipeline.loaded.policy)

    def _told(self) -> Status:
        """What the journal's thread may read, as plain values made on the loop."""
        runtime = self._runtime
        now = asyncio.get_running_loop().time()
        stations = runtime.pipeline.stations
        kept = runtime.pipeline.loaded.policy.ledger
        told = Status(
            in_flight=runtime.calls,
            upstreams={name: LEVELS[station.breaker.state(now)] for name, station in stations.items()},
            policy=runtime.pipeline.loaded.version,
            reloads_ok=runtime.reloads["ok"],
            reloads_refused=runtime.reloads["refused"],
            refusal=runtime.last_refusal or "",
            cache=runtime.pipeline.caches.status(),
            prices=self._prices,
            retention={"seconds": kept.retention, "records": kept.records, "sums": kept.sums},
            policy_at=self._policy_at,
        )
        if self._spans is not None:
            told["spans_dropped"] = self._spans.dropped
        return told


def _tune_interpreter() -> None:
    """Keep the collector off what lives as long as the process and calm it, and let the event loop have its turn.

    A call makes some hundred objects and nearly no cycles; by default a collection would start every few calls.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 5)
    sys.setswitchinterval(0.001)  # seconds the journal's thread may keep the event loop waiting; 0.005 by default


class _Server(uvicorn.Server):
    """uvicorn, which says that it drains before it does."""

    def __init__(self, config: uvicorn.Config, plane: DataPlane) -> None:
        super().__init__(config)
        self._plane = plane

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; a second signal must not cut the streams that are being drained."""
        self._plane.is_draining = True
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # else uvicorn raises it anew after draining: the exit would look like a kill


def main() -> None:
    """Run one worker; exits 2 when the policy cannot be used."""
    settings, number, descriptor = worker_settings(os.environ)
    set_up(f"worker-{number}", settings.log_format, secrets=[State(settings.state).admin_token()])
    worker = Worker(settings, number, os.environ)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(worker.run(socket.socket(fileno=descriptor)))
    except (PolicyError, PolicyRefused) as refusal:
        sys.exit(f"{refusal}")


if __name__ == "__main__":
    main()
