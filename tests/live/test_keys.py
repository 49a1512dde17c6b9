"""Issued keys over real gateways: made by command and over HTTP, followed by every gateway, never lost, never back."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.counting import Counting
from tests.live.callers import chat, unheard
from tests.live.stage import eventually, gateways, policy
from tests.redis_servers import Server, redis_server
from tests.running import Gateway, free_port, gateway

ACTS = 5.0  # seconds after which every worker of every gateway follows


@pytest.fixture(scope="module")
def upstream_port() -> int:
    """Where each test's upstream listens."""
    return free_port()


@pytest.fixture
async def upstream(upstream_port: int) -> AsyncIterator[Counting]:
    """An upstream that counts."""
    async with Counting(upstream_port) as counting:
        yield counting


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Redis of this module's own: on a shared one its keys would close every other gateway."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def two(redis: Server, upstream_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Gateway]]:
    """Two gateways on it, each of two workers."""
    folder = tmp_path_factory.mktemp("two")
    with gateways(folder, 2, upstream_port, "--redis-url", redis.url, "--workers", "2") as running:
        yield running


def sluice(*words: str) -> str:
    """What `sluice keys` prints."""
    command = [sys.executable, "-m", "gateway.cli", "keys", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def status(port: int, key: str) -> int:
    """What a call with this key gets, over a connection of its own: any worker may take it."""
    shown = {"authorization": f"Bearer {key}"} if key else {}
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    return httpx.post(url, json=chat(unheard()), headers=shown, timeout=30).status_code


async def says(port: int, key: str) -> int:
    """The same, beside the loop on which the upstream answers."""
    return await asyncio.to_thread(status, port, key)


async def all_say(running: list[Gateway], key: str, wanted: int) -> None:
    """Wait until ten calls in a row to each gateway get this status; fails when it takes too long."""

    def agreed() -> bool:
        return all(status(one.port, key) == wanted for one in running for _ in range(10))

    await eventually(agreed, ACTS)


def order(running: Gateway, path: str, **fields: Any) -> httpx.Response:
    """What the admin plane says to an order."""
    token = (running.state / "admin.token").read_text().strip()
    url = f"http://127.0.0.1:{running.admin_port}{path}"
    return httpx.post(url, json=fields, headers={"authorization": f"Bearer {token}"}, timeout=60)


async def test_by_command(two: list[Gateway], redis: Server, upstream: Counting) -> None:
    """A key made by command opens every worker of both gateways, and after its revocation none of them."""
    made = await asyncio.to_thread(sluice, "create", "cli", "--tenant", "acme", "--redis-url", redis.url)
    key = made.strip()
    await all_say(two, key, 200)
    await all_say(two, "", 401)  # once there is a key, nobody is served without one
    await asyncio.to_thread(sluice, "revoke", "cli", "--redis-url", redis.url)
    await all_say(two, key, 401)
    await all_say(two, "", 401)  # also when the last key is revoked


async def test_over_the_admin_plane(two: list[Gateway], upstream: Counting) -> None:
    """A key made on one gateway's admin plane opens the other, its models only, and is listed on both."""
    answer = await asyncio.to_thread(order, two[0], "/api/keys", name="page", tenant="acme", models=["other-*"])
    assert answer.status_code == 201, answer.text
    await all_say(two, answer.json()["key"], 403)
    for one in two:
        found = {key["name"]: key for key in (await asyncio.to_thread(one.admin, "/api/keys")).json()["keys"]}
        assert (found["page"]["tenant"], found["page"]["state"]) == ("acme", "living")
    assert (await asyncio.to_thread(order, two[1], "/api/keys/revoke", name="page")).status_code == 200
    await all_say(two, answer.json()["key"], 401)


async def test_a_redis_that_is_lost(two: list[Gateway], redis: Server, upstream: Counting) -> None:
    """Keys stay in force while it is away; when it comes back empty they are put back, and revoked ones stay so."""
    kept, gone = [
        (await asyncio.to_thread(sluice, "create", name, "--tenant", "acme", "--redis-url", redis.url)).strip()
        for name in ("kept", "gone")
    ]
    await all_say(two, gone, 200)
    await asyncio.to_thread(sluice, "revoke", "gone", "--redis-url", redis.url)
    await all_say(two, gone, 401)
    redis.kill()
    await all_say(two, kept, 200)
    await all_say(two, gone, 401)
    redis.start()
    await eventually(lambda: redis.tell("HLEN", "sluice:keys") >= 3, ACTS)
    await all_say(two, kept, 200)
    await all_say(two, gone, 401)


async def test_one_gateway_without_redis(tmp_path: Path, upstream: Counting) -> None:
    """Over the state folder alone it is the same; and a restart finds the keys again."""
    file = policy(tmp_path, upstream.port)
    with gateway(tmp_path, file) as one:
        assert await says(one.port, "") == 200
        made = await asyncio.to_thread(sluice, "create", "cli", "--tenant", "acme", "--state", str(one.state))
        await all_say([one], made.strip(), 200)
        await all_say([one], "", 401)
    with gateway(tmp_path, file) as again:
        assert await says(again.port, made.strip()) == 200
        await asyncio.to_thread(sluice, "revoke", "cli", "--state", str(again.state))
        await all_say([again], made.strip(), 401)


async def test_a_start_with_damaged_files(tmp_path: Path, upstream: Counting) -> None:
    """A gateway that cannot tell whether it had keys does not serve without them."""
    file = policy(tmp_path, upstream.port)
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    for name in ("keys.json", "keys.json.bak"):
        (state / name).write_text("{")
    with pytest.raises(AssertionError, match="is damaged"), gateway(tmp_path, file):
        pass
    (state / "keys.json.bak").unlink()
    (state / "keys.json").unlink()
    with gateway(tmp_path, file) as one:
        assert await says(one.port, "") == 200


async def test_keys_for_a_wide_address(tmp_path: Path, upstream: Counting) -> None:
    """Bound beyond this machine, an issued key is as good as one of the policy: without any it does not start."""
    file = policy(tmp_path, upstream.port)
    with pytest.raises(AssertionError, match="Without keys"), gateway(tmp_path, file, "--host", "0.0.0.0"):
        pass
    made = await asyncio.to_thread(sluice, "create", "cli", "--tenant", "acme", "--state", str(tmp_path / "state"))
    with gateway(tmp_path, file, "--host", "0.0.0.0") as one:
        assert await says(one.port, made.strip()) == 200
        assert await says(one.port, "") == 401
