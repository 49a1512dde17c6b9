"""Calls to an engine of our own, whose port moves when it is restarted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.engines.endpoint import Endpoint, write_endpoint
from gateway.engines.files import EngineFiles
from gateway.engines.spec import EngineSpec
from gateway.upstreams.connection import Patience, TransportFault
from gateway.upstreams.engine import EngineRequests
from tests.fakes.openai import FakeOpenAI, unused_port

BODY = b'{"model": "m"}'
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(BODY)
SPEC = EngineSpec("m", Path("m.gguf"))


def publish(state: Path, port: int, key: str = "engine-key") -> None:
    """Say where the engine listens."""
    files = EngineFiles(state, SPEC.key)
    files.endpoint.parent.mkdir(parents=True, exist_ok=True)
    write_endpoint(files.endpoint, Endpoint(port, 1, key, "m"))


async def ask(requests: EngineRequests) -> bytes:
    """One exchange."""
    patience = Patience(1, 5, 5, asyncio.get_running_loop().time() + 10)
    return await (await requests.request(HEAD, BODY, patience)).read(1 << 20)


async def test_not_ready(tmp_path: Path) -> None:
    """An engine that is not up yet is a fault of connecting; once it is up, it is found."""
    requests = EngineRequests(tmp_path, SPEC)
    with pytest.raises(TransportFault, match="not ready") as told:
        await ask(requests)
    assert told.value.kind == "connect"
    async with FakeOpenAI() as fake:
        publish(tmp_path, fake.port)
        assert b"choices" in await ask(requests)
        requests.close()


async def test_follows_a_restart(tmp_path: Path) -> None:
    """After a restart the engine is reached at its new port with its new key, without a failed call."""
    requests = EngineRequests(tmp_path, SPEC)
    async with FakeOpenAI() as old:
        publish(tmp_path, old.port, "first-key")
        await ask(requests)
        assert old.requests[0].headers["authorization"] == "Bearer first-key"
    async with FakeOpenAI() as new:
        publish(tmp_path, new.port, "second-key")
        assert b"choices" in await ask(requests)
        assert new.requests[0].headers["authorization"] == "Bearer second-key"
        assert new.requests[0].body == BODY
        requests.close()


async def test_gone(tmp_path: Path) -> None:
    """An engine that is gone and not back is a fault of connecting, asked once."""
    publish(tmp_path, unused_port())
    with pytest.raises(TransportFault) as told:
        await ask(EngineRequests(tmp_path, SPEC))
    assert told.value.kind == "connect"
