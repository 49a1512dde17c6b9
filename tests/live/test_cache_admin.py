"""The cache as operations people see it, over real Redis servers: counted, purged, explained."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from caching.connection import connect
from caching.entry import Entry
from caching.stores import Selection
from caching.stores.redis import RedisStore
from gateway.admin.app import create_app
from gateway.admin.caches import opened
from gateway.cli import app
from gateway.state import State
from tests.gateway.admin.answers import entry
from tests.redis_servers import redis_server

NOWHERE = Path("nowhere")  # Redis is asked, and no state folder
POLICY = "upstreams: {u: {url: 'http://127.0.0.1:9/v1'}}\nmodels: {m: {targets: [{upstream: u}]}}\n"
PATIENCE = 8.0  # seconds; a few deadlines of one command to Redis


async def put(url: str, *entries: Entry) -> None:
    """Have only these entries kept, as a gateway would."""
    client = connect(url)
    await client.flushall()
    gateway = RedisStore(client)
    await gateway.put(entries)
    await gateway.close()


@pytest.mark.parametrize(
    ("selection", "left"), [(Selection(tenant="acme"), 1), (Selection(tag="t"), 2), (Selection(), 0)]
)
async def test_a_purge_reaches_every_gateway(url: str, selection: Selection, left: int) -> None:
    """What is selected is gone, on whichever server it lay, and a gateway reads that it was purged."""
    await put(url, entry("a", tags=("t",)), entry("b"), entry("c", tenant="other"))
    async with opened(NOWHERE, url) as store:
        dry = await store.purge(selection, dry_run=True)
        done = await store.purge(selection, dry_run=False)
        assert (dry.entries, done.entries) == (3 - left, 3 - left)
        assert (await store.usage())[0] == left
    async with opened(NOWHERE, url) as gateway:
        assert [purged for _, purged in await gateway.purges(0)] == [selection]


async def test_any_entries_can_be_compared_with(url: str) -> None:
    """As many as are asked for, each whole, from every server."""
    await put(url, *(entry(str(number), parts=(("tenant", str(number)),)) for number in range(30)))
    async with opened(NOWHERE, url) as store:
        found = await store.newest(100)
        assert {one.parts[0][1] for one in found} == {str(number) for number in range(30)}
        assert len(await store.newest(7)) == 7


SILENT = "did not answer in time"
COMMANDS = [
    ("cache", "status"),
    ("cache", "purge", "--all"),
    ("cache", "purge", "--all", "--dry-run"),
    ("explain", "m", "--policy", "policy.yaml", "--body", "call.json"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_silent_redis_keeps_no_operator_waiting(words: tuple[str, ...], tmp_path: Path) -> None:
    """A command over a Redis that accepts and never answers says so within seconds."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "call.json").write_text('{"temperature": 0, "messages": [{"role": "user", "content": "Hello"}]}')
    words = tuple(str(tmp_path / word) if "." in word else word for word in words)
    with redis_server(tmp_path / "redis") as server:
        server.pause()
        began = time.monotonic()
        said = CliRunner().invoke(app, [*words, "--redis-url", server.url], env={"COLUMNS": "200"}).output
        assert time.monotonic() - began < PATIENCE
    assert SILENT in said


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_silent_redis_does_not_stop_the_admin_plane(dry_run: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """A purge over it is refused with the reason within seconds."""
    with redis_server(tmp_path / "redis") as server:
        plane = create_app(State(tmp_path), tmp_path / "policy.yaml", "token", server.url)
        client = httpx.AsyncClient(transport=httpx.ASGITransport(plane), base_url="http://127.0.0.1")
        server.pause()
        began = time.monotonic()
        order = {"all": True, "dry_run": dry_run}
        answer = await client.post("/api/cache/purge", json=order, headers={"authorization": "Bearer token"})
        assert time.monotonic() - began < PATIENCE
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "cache_unavailable")
    assert SILENT in answer.json()["error"]["message"]
