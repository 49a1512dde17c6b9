"""What an application sees when the engine behind the gateway is killed in the middle of an answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.engines.conftest import MODEL, gateway_server, vllm_server
from tests.engines.process import Server

pytestmark = pytest.mark.engine


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """A vLLM of this test's own, and a gateway in front of it."""
    for folder in (tmp_path / "vllm", tmp_path / "gateway"):
        folder.mkdir()
    with vllm_server(tmp_path / "vllm") as engine, gateway_server(tmp_path / "gateway", engine) as gateway:
        yield engine, gateway


def test_a_killed_engine_is_an_error_and_never_an_end(doomed: tuple[Server, Server]) -> None:
    """The stream under way ends with an error, the next call is refused at once, and the gateway lives on."""
    engine, gateway = doomed
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none-needed", max_retries=0, timeout=60.0) as client:
        with pytest.raises(openai.APIError):
            read_and_kill(client, engine)
        started = time.monotonic()
        with pytest.raises(openai.APIStatusError) as refusal:
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}])
    assert refusal.value.status_code >= 500
    assert time.monotonic() - started < 30
    assert httpx.get(f"{gateway.url}/healthz").status_code == 200


def read_and_kill(client: openai.OpenAI, engine: Server) -> None:
    """Begin to read a long answer, then kill the process that computes it and read on."""
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "hello"}],
        max_tokens=3000,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    for number, _ in enumerate(stream):
        if number == 5:
            engine.kill("VLLM::EngineCore")
