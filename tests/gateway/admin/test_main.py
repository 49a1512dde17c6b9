"""Tests of gateway.admin.__main__: the admin plane as a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from gateway.state import State

PARENT = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); sys.stdin.read()"


def free_port() -> int:
    """A port that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def command(folder: Path, port: int) -> list[str]:
    """The command that serve runs."""
    module = [sys.executable, "-m", "gateway.admin", "--port", str(port)]
    return [*module, "--state", str(folder), "--policy", str(folder / "policy.yaml")]


@contextmanager
def running(arguments: list[str], **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is ended when the test is."""
    pipe = subprocess.PIPE
    env = {**os.environ, **environ}
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=env) as process:
        try:
            yield process
        finally:
            process.kill()


def answers(port: int, within: float = 30.0) -> bool:
    """Say whether the listener comes up in time."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        except httpx.TransportError:
            time.sleep(0.05)  # a process tells nobody when it listens
    return False


def gone(pid: int, within: float = 30.0) -> bool:
    """Say whether the process ends in time; one that only waits to be reaped has ended."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def test_it_serves_with_the_states_token_and_never_prints_it(tmp_path: Path) -> None:
    """The token in the state directory opens it; nothing that the process prints holds it."""
    port, token = free_port(), State(tmp_path).admin_token()
    with running(command(tmp_path, port)) as admin:
        assert answers(port)
        url = f"http://127.0.0.1:{port}/api/upstreams"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"authorization": f"Bearer {token}"}).json() == {"upstreams": {}, "engines": None}
        assert httpx.get(url, auth=("me", token)).status_code == 200
        admin.send_signal(signal.SIGTERM)
        printed, _ = admin.communicate(timeout=30)
    assert token not in printed


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """A serve that was killed leaves no admin plane behind that would hold the port."""
    port = free_port()
    with running([sys.executable, "-c", PARENT, *command(tmp_path, port)]) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert answers(port)
        parent.kill()
        parent.wait(30)
        assert gone(pid)


def test_it_purges_the_redis_that_its_environment_names(tmp_path: Path) -> None:
    """The URL comes by the environment, as a process list would show its password; here nobody listens there."""
    port, token = free_port(), State(tmp_path).admin_token()
    with running(command(tmp_path, port), SLUICE_REDIS_URL=f"redis://me:secret@127.0.0.1:{free_port()}/0"):
        assert answers(port)
        url = f"http://127.0.0.1:{port}/api/cache/purge"
        answer = httpx.post(url, json={"all": True}, headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 503
    assert answer.json()["error"]["message"] == "The store of answers cannot be had: Redis cannot be reached."


def test_it_knows_the_keys_of_the_policy(tmp_path: Path) -> None:
    """/api/keys told of issued keys only, and issued one of a name that the policy has: now 409, after an edit too."""
    port, token = free_port(), State(tmp_path).admin_token()
    head = "upstreams: {up: {url: 'http://127.0.0.1:8000/v1'}}\nmodels: {m: {targets: [{upstream: up}]}}\n"
    (tmp_path / "policy.yaml").write_text(head)
    with running(command(tmp_path, port), APP_KEY="0123456789abcdef"):
        assert answers(port)
        url, headers = f"http://127.0.0.1:{port}/api/keys", {"authorization": f"Bearer {token}"}
        assert httpx.post(url, json={"name": "app", "tenant": "acme"}, headers=headers).status_code == 201
        (tmp_path / "policy.yaml").write_text(head + "keys: [{name: app, tenant: acme, key: '${APP_KEY}'}]\n")
        listed = httpx.get(url, headers=headers).json()["keys"]
        refused = httpx.post(url, json={"name": "app", "tenant": "acme"}, headers=headers)
    assert [(key["source"], key["state"]) for key in listed] == [("policy", "living"), ("issued", "shadowed")]
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "key_exists")
