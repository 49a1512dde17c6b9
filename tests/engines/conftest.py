"""vLLM with the INT8 `sluice-small`, started once; each acceptance test asks it directly and through the gateway."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from tests.engines.counters import Counters
from tests.engines.process import Server, free_port, running

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".vllm"
CHECKPOINT = ROOT / "training" / "checkpoints" / "sluice-small-int8"
MODEL = "sluice-small"
VLLM_START_SECONDS = 420.0  # 45 s on a quiet machine: three processes import torch one after the other
GATEWAY_START_SECONDS = 60.0


@dataclass(frozen=True)
class Served:
    """Somewhere to send a call: a base URL, and the engine that ends up with it."""

    base_url: str
    model: str
    engine: Server
    counters: Counters


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip these tests in ordinary runs: they need an environment of 3.5 GB, and minutes."""
    if "engine" in config.getoption("markexpr"):
        return
    skip = pytest.mark.skip(reason="needs a real vLLM: run `make test-engines`")
    for item in items:
        if item.get_closest_marker("engine"):
            item.add_marker(skip)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Print the end of vLLM's log with every failure: the reason usually stands there."""
    report = yield
    served = getattr(item, "funcargs", {}).get("served")
    if report.failed and isinstance(served, Served):
        report.sections.append(("vLLM log", served.engine.tail()))
    return report


@contextmanager
def vllm_server(folder: Path) -> Iterator[Server]:
    """Run vLLM on a free port, with `folder` as its empty home. Skips where it is not set up."""
    if not (ENVIRONMENT / ".ready").exists():
        pytest.skip("vLLM is not set up: run `make test-engines`, or `bash tests/engines/setup_vllm.sh .vllm`")
    if not (CHECKPOINT / "model.safetensors").exists():
        pytest.skip("the INT8 checkpoint of sluice-small is not in training/checkpoints")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(_vllm(port), _environ(folder), url, "/health", folder / "vllm.log", VLLM_START_SECONDS) as server:
        yield server


def _vllm(port: int) -> list[str]:
    """The command line of the engine.

    Eager mode starts in half the time. Blocks of 32 tokens instead of 128 let short prompts
    have prefixes to share. A tool parser is what makes vLLM accept `tools` at all.
    """
    command = [ENVIRONMENT / "bin" / "vllm", "serve", CHECKPOINT, "--served-model-name", MODEL]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-num-seqs", "8", "--enforce-eager"]
    command += ["--enable-prefix-caching", "--enable-prompt-tokens-details", "--block-size", "32"]
    command += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    command += ["--enable-log-requests"]
    return [str(part) for part in command]


def _environ(home: Path) -> dict[str, str]:
    """What vLLM sees of our environment: no settings of the user's, one GiB of KV cache, no network, no statistics.

    Without a C++ compiler the first call that asks for logprobs ends the engine, which compiles that step even in eager
    mode; so nothing is compiled.
    """
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "TORCH_COMPILE_DISABLE": "1",
    }


@contextmanager
def gateway_server(folder: Path, engine: Server) -> Iterator[Server]:
    """Run the gateway on a free port, with one vLLM as its only upstream."""
    policy = folder / "policy.yaml"
    policy.write_text(
        f"version: 1\nupstreams: {{vllm: {{url: {engine.url}/v1}}}}\n"
        f"models: {{{MODEL}: {{targets: [{{upstream: vllm}}], serves: [chat, completions]}}}}\n"
    )
    port = free_port()
    command = [str(Path(sys.executable).with_name("sluice")), "serve", "--policy", str(policy), "--port", str(port)]
    command += ["--admin-port", str(free_port()), "--state", str(folder / "state")]
    environ = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder)}
    url = f"http://127.0.0.1:{port}"
    with running(command, environ, url, "/readyz", folder / "gateway.log", GATEWAY_START_SECONDS) as server:
        yield server


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The vLLM that the tests share."""
    with vllm_server(tmp_path_factory.mktemp("vllm")) as server:
        yield server


@pytest.fixture(scope="session")
def gateway(vllm: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The gateway in front of it."""
    with gateway_server(tmp_path_factory.mktemp("gateway"), vllm) as server:
        yield server


@pytest.fixture(scope="session", params=["direct", "gateway"])
def served(request: pytest.FixtureRequest, vllm: Server) -> Served:
    """The engine asked directly, then through the gateway: the same facts must hold."""
    front: Server = vllm if request.param == "direct" else request.getfixturevalue("gateway")
    return Served(f"{front.url}/v1", MODEL, vllm, Counters(vllm.url))


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    """The OpenAI SDK as anyone has it; without retries, so that a failure is seen."""
    with openai.OpenAI(base_url=served.base_url, api_key="none-needed", max_retries=0, timeout=120.0) as client:
        yield client
