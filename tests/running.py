"""Real programs that tests run: `sluice serve` on free ports, ended by the test that started it."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

READY_SECONDS = 90.0
REPOSITORY = Path(__file__).parent.parent


def free_port() -> int:
    """A port nobody listens on at the moment, below those that the system gives to outgoing connections."""
    while True:
        port = 15_000 + secrets.randbelow(17_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(frozen=True)
class Gateway:
    """A gateway that runs, and how to talk to it."""

    port: int
    admin_port: int
    state: Path
    process: subprocess.Popen[bytes]
    log: Path
    key: str = ""

    @property
    def base_url(self) -> str:
        """What an application sets as its base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of one who may call."""
        return {"authorization": f"Bearer {self.key}"} if self.key else {}

    def post(self, path: str, body: Mapping[str, Any], **headers: str) -> httpx.Response:
        """Call the data plane."""
        url = f"{self.base_url}{path}"
        return httpx.post(url, json=body, headers={**self.headers, **headers}, timeout=60)

    def ask(self, model: str, question: str, **fields: Any) -> httpx.Response:
        """Ask a chat model one question."""
        return self.post(
            "/chat/completions", {"model": model, "messages": [{"role": "user", "content": question}], **fields}
        )

    def ready(self) -> dict[str, Any]:
        """What /readyz says."""
        told: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).json()
        return told

    def admin(self, path: str) -> httpx.Response:
        """Ask the admin plane, with its token."""
        token = (self.state / "admin.token").read_text().strip()
        url = f"http://127.0.0.1:{self.admin_port}{path}"
        return httpx.get(url, headers={"authorization": f"Bearer {token}"}, timeout=10)

    def workers(self) -> list[int]:
        """The process ids of its data workers."""
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-f", "gateway.worker"], capture_output=True, text=True, check=False
        )
        return [int(line) for line in found.stdout.split()]

    def signal_workers(self, number: signal.Signals) -> None:
        """Have it befall all of its data workers."""
        for worker in self.workers():
            os.kill(worker, number)

    def is_alive(self) -> bool:
        """Say whether the data plane answers."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def record(self, request_id: str) -> dict[str, Any]:
        """The ledger's record of one call, once it is written."""
        until = time.monotonic() + 15
        while True:
            answer = self.admin(f"/api/requests/{request_id}")
            if answer.status_code == 200 or time.monotonic() > until:
                told: dict[str, Any] = answer.json()
                return told
            time.sleep(0.1)


@contextmanager
def gateway(
    folder: Path, policy: Path, *options: str, env: Mapping[str, str] | None = None, key: str = ""
) -> Iterator[Gateway]:
    """Start `sluice serve` with this policy and stop it with SIGTERM at the end."""
    port, admin_port = free_port(), free_port()
    command = [sys.executable, "-m", "gateway.cli", "serve", "--policy", str(policy), "--state", str(folder / "state")]
    command += ["--port", str(port), "--admin-port", str(admin_port), *options]
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **(env or {})}, stdout=output, stderr=subprocess.STDOUT, cwd=folder
        )
    running = Gateway(port, admin_port, folder / "state", process, log, key)
    try:
        _wait_until_said(running)
        yield running
    finally:
        _stop(process)


def _wait_until_said(running: Gateway) -> None:
    """Wait for the lines that serve prints when everything is up."""
    until = time.monotonic() + READY_SECONDS
    while b"Try it:" not in running.log.read_bytes():
        if running.process.poll() is not None or time.monotonic() > until:
            raise AssertionError(f"sluice serve did not come up:\n{running.log.read_text()}")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
