"""A whole data plane on loopback, in this process: the real application behind the real listener."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import orjson
import uvicorn
from uvicorn.server import ServerState

from gateway.app import DataPlane
from gateway.listener import Listener
from gateway.runtime import Runtime
from policies.loader import load
from tests.fakes.openai import Written

SECRET = "sk-very-secret-0123456789"
ENV = {"UP_KEY": SECRET, "KEY_A": "key-a-0123456789abcdef", "KEY_B": "key-b-0123456789abcdef"}
MESSAGES = [{"role": "user", "content": "Count to six."}]


@dataclass
class Stand:
    """What a test needs of a running gateway."""

    port: int
    client: httpx.AsyncClient
    journal: Written
    runtime: Runtime
    plane: DataPlane
    policy: Path

    async def chat(self, model: str = "m", **more: Any) -> httpx.Response:
        """One call, plain or streamed, read to its end."""
        headers = more.pop("headers", {})
        body = {"model": model, "messages": MESSAGES, **more}
        return await self.client.post("/v1/chat/completions", json=body, headers=headers)

    async def reload(self, text: str) -> None:
        """Put another policy in force."""
        self.policy.write_text(dedent(text))
        await self.runtime.load(load(self.policy, ENV))

    async def raw(self, data: bytes, *, eof: bool = False) -> bytes:
        """What comes back for these bytes, until the server closes or is silent for a while."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            if eof:
                writer.write_eof()
            return await read_all(reader)
        finally:
            writer.close()


async def read_all(reader: asyncio.StreamReader, silence: float = 0.3) -> bytes:
    """Everything until the end, or until nothing came for `silence` seconds."""
    got = b""
    try:
        while data := await asyncio.wait_for(reader.read(65536), silence if got else 5):
            got += data
    except (TimeoutError, ConnectionError):
        pass
    return got


@asynccontextmanager
async def gateway(
    folder: Path,
    policy: str,
    *,
    env: Mapping[str, str] = ENV,
    listener: type[Listener] = Listener,
    **plane: Any,
) -> AsyncIterator[Stand]:
    """Serve this policy; `plane` goes to the DataPlane."""
    path = folder / "policy.yaml"
    path.write_text(dedent(policy))
    journal = Written()
    runtime = Runtime(folder / "state", folder / "weights", record=journal.add)
    await runtime.load(load(path, env))
    app = DataPlane(runtime, journal, **plane)
    config = uvicorn.Config(
        app,  # type: ignore[arg-type] # only our listener ever sees it
        http=listener,
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
    )
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: listener(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    no_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # httpx would read every authority of this machine, for each test
    base = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=base, timeout=10, trust_env=False, verify=no_tls) as client:
        try:
            yield Stand(port, client, journal, runtime, app, path)
        finally:
            server.close()
            for connection in tuple(state.connections):
                connection.transport.abort()
            for task in tuple(state.tasks):
                task.cancel()
            await asyncio.gather(*state.tasks, return_exceptions=True)
            await runtime.aclose()


def events(body: bytes | str) -> list[str]:
    """The data of each server-sent event."""
    text = body if isinstance(body, str) else body.decode()
    return [line[6:] for line in text.replace("\r\n", "\n").split("\n") if line.startswith("data: ")]


def said(body: bytes | str) -> str:
    """The text that a stream's events say."""
    parts = [orjson.loads(each) for each in events(body) if each.startswith("{")]
    deltas = [choice["delta"] for part in parts for choice in part.get("choices", ()) if "delta" in choice]
    return "".join(delta.get("content") or "" for delta in deltas)


def errors(body: bytes | str) -> list[dict[str, Any]]:
    """The error events of a stream."""
    parts = [orjson.loads(each) for each in events(body) if each.startswith("{")]
    return [part["error"] for part in parts if "error" in part]
