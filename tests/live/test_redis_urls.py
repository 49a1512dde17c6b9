"""Gateways on Redis as it is run, one server, behind a Sentinel, a Cluster: they share what they are answered."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.fakes.counting import Counting
from tests.live.callers import call, chat, unheard
from tests.live.stage import gateways


async def test_shared(url: str, tmp_path: Path) -> None:
    """A miss on one gateway, then a hit on the other; equal calls at once on both are one."""
    async with Counting(wait=0.3) as upstream:
        running = gateways(tmp_path, 2, upstream.port, "--redis-url", url)
        first, second = await asyncio.to_thread(running.__enter__)
        try:
            question, together = unheard(), unheard()
            miss = await call(first.port, chat(question))
            await asyncio.sleep(0.5)
            hit = await call(second.port, chat(question, stream=True))
            ports = (first.port, second.port) * 10
            answers = await asyncio.gather(*(call(port, chat(together)) for port in ports))
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)
        assert (miss.source, hit.source) == ("MISS", "exact")
        assert hit.text == miss.text
        assert len({answer.text for answer in answers}) == 1
        assert upstream.asked == {question: 1, together: 1}
