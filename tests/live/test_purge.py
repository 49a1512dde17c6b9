"""A purge reaches running gateways, their memory included: by command and over HTTP, on Redis and on a file."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.fakes.counting import Counting
from tests.live.callers import Answer, call, chat, unheard
from tests.live.stage import gateways
from tests.running import Gateway, free_port

FOLLOWED = 2.0  # seconds after which every gateway's memory has followed


@pytest.fixture(scope="module")
def upstream_port() -> int:
    """Where each test's upstream listens."""
    return free_port()


@pytest.fixture
async def upstream(upstream_port: int) -> AsyncIterator[Counting]:
    """An upstream that counts."""
    async with Counting(upstream_port) as counting:
        yield counting


@pytest.fixture(scope="module", params=["redis", "file"])
def place(
    request: pytest.FixtureRequest, single_url: str, upstream_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[list[Gateway], list[str]]]:
    """Gateways, and the options by which `sluice cache` finds their store."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "redis":
        with gateways(folder, 2, upstream_port, "--redis-url", single_url) as two:
            yield two, ["--redis-url", single_url]
        return
    with gateways(folder, 1, upstream_port) as one:
        yield one, ["--state", str(one[0].state)]


def sluice_cache(*words: str) -> str:
    """What `sluice cache` prints."""
    command = [sys.executable, "-m", "gateway.cli", "cache", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def order(gateway: Gateway, **fields: Any) -> dict[str, Any]:
    """What the admin plane says to a purge."""
    token = (gateway.state / "admin.token").read_text().strip()
    url = f"http://127.0.0.1:{gateway.admin_port}/api/cache/purge"
    answer = httpx.post(url, json=fields, headers={"authorization": f"Bearer {token}"}, timeout=60)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def everywhere(running: list[Gateway], question: str, **headers: str) -> list[Answer]:
    """Each gateway's answer in turn."""
    return [await call(gateway.port, chat(question), **headers) for gateway in running]


async def known(running: list[Gateway], question: str, **headers: str) -> None:
    """Have the answer in every gateway's memory."""
    await everywhere(running, question, **headers)
    await asyncio.sleep(0.5)
    assert {answer.source for answer in await everywhere(running, question, **headers)} == {"exact"}


async def test_purge_by_command(place: tuple[list[Gateway], list[str]], upstream: Counting) -> None:
    """After `sluice cache purge` the next call asks the upstream anew; a dry run removes nothing."""
    running, options = place
    question = unheard()
    await known(running, question)
    told = await asyncio.to_thread(sluice_cache, "purge", "--tenant", "local", "--dry-run", *options)
    assert "would be removed" in told
    assert {answer.source for answer in await everywhere(running, question)} == {"exact"}
    await asyncio.to_thread(sluice_cache, "purge", "--tenant", "local", *options)
    await asyncio.sleep(FOLLOWED)
    answers = await everywhere(running, question)
    assert answers[0].headers["x-cache"] == "MISS"
    assert len({answer.text for answer in answers}) == 1
    assert upstream.asked[question] == 2


async def test_purge_over_the_admin_plane(place: tuple[list[Gateway], list[str]], upstream: Counting) -> None:
    """A purge of one namespace leaves the others."""
    running, _ = place
    purged, kept = unheard(), unheard()
    await known(running, purged, x_sluice_namespace="old")
    await known(running, kept, x_sluice_namespace="new")
    assert (await asyncio.to_thread(order, running[0], namespace="old", dry_run=False))["entries"] == 1
    await asyncio.sleep(FOLLOWED)
    assert {answer.source for answer in await everywhere(running, kept, x_sluice_namespace="new")} == {"exact"}
    assert (await everywhere(running, purged, x_sluice_namespace="old"))[0].headers["x-cache"] == "MISS"
    assert (upstream.asked[purged], upstream.asked[kept]) == (2, 1)


async def test_purge_of_what_was_answered_just_now(place: tuple[list[Gateway], list[str]], upstream: Counting) -> None:
    """An answer that is purged right after it was given is not had from a flight that lingers either."""
    running, options = place
    question = unheard()
    first = (await everywhere(running, question))[0]
    await asyncio.to_thread(order, running[0], all=True, dry_run=False)
    await asyncio.sleep(FOLLOWED)
    again = await everywhere(running, question)
    assert again[0].headers["x-cache"] == "MISS"
    assert first.text not in {answer.text for answer in again}
    assert "0 entries" not in await asyncio.to_thread(sluice_cache, "status", *options)
