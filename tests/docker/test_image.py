"""The image's steps, run without Docker, and what compose makes of its file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.running import REPOSITORY, free_port

DOCKER = REPOSITORY / "docker"
KEY = "a-key-for-the-image-test"
WATCHERS = {"prometheus", "grafana"}


def test_install_script_makes_a_gateway_that_answers(tmp_path: Path) -> None:
    """In an empty directory, with an empty HOME, the image's install script makes a gateway that answers for a key."""
    home = tmp_path / "home"
    home.mkdir()
    environ = {**os.environ, "HOME": str(home), "SLUICE_KEY": KEY}
    target = tmp_path / "opt"
    subprocess.run(["sh", str(DOCKER / "install.sh"), str(REPOSITORY), str(target)], env=environ, check=True, cwd=home)
    port, admin_port = free_port(), free_port()
    options = ["--port", str(port), "--admin-port", str(admin_port), "--state", str(tmp_path / "state")]
    command = [str(target / "bin" / "sluice"), "serve", "--policy", str(DOCKER / "policy.yaml"), *options]
    with subprocess.Popen(command, env=environ, cwd=home, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if "curl" in line)
            answer = subprocess.run(line.replace("KEY", KEY), shell=True, check=True, capture_output=True, text=True)  # noqa: S602 - the line is meant to be pasted into a shell
        finally:
            process.terminate()
    assert "Paris" in json.loads(answer.stdout)["choices"][0]["message"]["content"]


def test_dockerfile_runs_that_script() -> None:
    """The Dockerfile installs by the script that the tests run, and by nothing else."""
    runs = [
        line for line in (DOCKER / "Dockerfile").read_text().splitlines() if line.startswith(("RUN", "ADD", "COPY"))
    ]
    assert "RUN sh /source/docker/install.sh /source /opt/sluice" in runs


def test_compose_file() -> None:
    """Compose accepts the file: a gateway that demands a key, a Redis, and what watches them only if asked for."""
    compose = shutil.which("docker-compose")
    if compose is None:
        pytest.skip("docker-compose is not installed (tests/system.sh installs it where it may)")
    command = [compose, "-f", str(DOCKER / "compose.yaml"), "config"]
    environ = {**os.environ, "SLUICE_KEY": KEY}
    run = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    services = yaml.safe_load(run.stdout)["services"]
    assert {name for name, service in services.items() if "profiles" not in service} == {"gateway", "redis"}
    assert {name for name, service in services.items() if service.get("profiles") == ["observe"]} <= WATCHERS
    assert set(services) <= {"gateway", "redis"} | WATCHERS  # older releases show services of every profile
    environ.pop("SLUICE_KEY")
    refused = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "SLUICE_KEY" in refused.stderr
