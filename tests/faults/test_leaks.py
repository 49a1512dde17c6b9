"""Mixed traffic leaves nothing behind: no task, no descriptor, no connection, no count."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.fakes.openai import Act, FakeOpenAI
from tests.fakes.stand import Stand, gateway

Policy = Callable[..., str]
ACTS = [
    Act(),
    Act("status", status=500, body=b"{}"),
    Act("cut", after=3),
    Act("error_event", after=2, body=b'{"error": {"message": "x"}}'),
    Act("close"),
    Act("status", status=400, body=b'{"error": {"message": "x"}}'),
    Act("twice"),
    Act("close_idle"),
    Act(comments=True, crlf=True),
    Act("half_chunk", after=2),
]


async def mixed(stand: Stand, fake: FakeOpenAI, number: int) -> None:
    """One call of many kinds, some of which leave early."""
    fake.acts.append(ACTS[number % len(ACTS)])
    try:
        timeout = 0.004 if number % 7 == 0 else 10
        await asyncio.wait_for(stand.chat(stream=number % 2 == 0), timeout)
    except (TimeoutError, httpx.HTTPError):
        pass


def descriptors() -> int:
    """How many files and sockets this process has open."""
    return len(os.listdir("/proc/self/fd"))


async def test_mixed_traffic(tmp_path: Path, policy: Policy) -> None:
    """Calls of every kind, ten at a time, leave as many tasks and descriptors after 240 as after 40."""
    async with (
        FakeOpenAI() as fake,
        FakeOpenAI() as spare,
        gateway(tmp_path, policy(fake.url, spare.url)) as g,
    ):
        sizes = []
        for rounds in (4, 20):
            for _ in range(rounds):
                await asyncio.gather(*(mixed(g, fake, number) for number in range(10)))
            fake.acts.clear()
            await asyncio.sleep(0.05)
            async with asyncio.timeout(10):
                while g.runtime.calls:  # noqa: ASYNC110 - which calls were recorded before their client left is chance
                    await asyncio.sleep(0.01)
            sizes.append((len(asyncio.all_tasks()), descriptors()))
        assert (g.runtime.calls, g.runtime.pipeline.calls) == (0, 0)
        assert sizes[1][0] <= sizes[0][0] + 12
        assert sizes[1][1] <= sizes[0][1] + 25
