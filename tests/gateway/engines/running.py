"""A real engine process under a real supervisor, for tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx

from gateway.engines.endpoint import Endpoint, read_endpoint
from gateway.engines.spec import EngineSpec
from gateway.engines.supervisor import Supervisor

T = TypeVar("T")
PATIENCE = 30.0  # seconds; only a failing test waits so long


@dataclass(frozen=True)
class Running:
    """A supervised engine that is ready, and a client with its key."""

    state: Path
    spec: EngineSpec
    supervisor: Supervisor
    endpoint: Endpoint
    client: httpx.Client

    def busy_slots(self) -> int:
        """How many calls the engine works on right now."""
        return sum(slot["is_processing"] for slot in self.client.get("/slots").json())

    def counter(self, name: str) -> float:
        """One of the engine's metrics."""
        lines = self.client.get("/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"llamacpp:{name} "))


@contextmanager
def running(state: Path, spec: EngineSpec) -> Iterator[Running]:
    """Start an engine and wait until it is ready; stop it at the end."""
    supervisor = Supervisor(state)
    try:
        supervisor.want([spec])
        endpoint = wait_ready(supervisor, state, spec)
        headers = {"authorization": f"Bearer {endpoint.api_key}"}
        unpooled = httpx.Limits(
            max_keepalive_connections=0
        )  # llama.cpp hangs up after a stream, having said keep-alive
        with httpx.Client(base_url=endpoint.url, headers=headers, timeout=PATIENCE, limits=unpooled) as client:
            yield Running(state, spec, supervisor, endpoint, client)
    finally:
        supervisor.stop()


def wait_ready(supervisor: Supervisor, state: Path, spec: EngineSpec, other_than: int = 0) -> Endpoint:
    """Tick until the engine is ready, with another pid than the one given."""

    def ready() -> Endpoint | None:
        supervisor.tick()
        endpoint = read_endpoint(state, spec)
        return endpoint if endpoint and endpoint.pid != other_than else None

    return wait_until(ready)


def wait_until(probe: Callable[[], T | None]) -> T:
    """Ask until the answer is true and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := probe()):
        if time.monotonic() > deadline:
            raise TimeoutError("what the test waits for did not happen")
        time.sleep(0.01)
    return answer
