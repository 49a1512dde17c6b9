"""Tests of the soak's client against the static upstream itself."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks import mix
from benchmarks.mix import ACTS
from benchmarks.upstream import Answers, Tally, Upstream


async def test_all_sorts_of_calls_are_made_and_judged() -> None:
    """Every sort of call comes up; garbage passed on with status 200 is what an honest gateway must not do."""
    loop = asyncio.get_running_loop()
    answers, tally = Answers(), Tally()
    server = await loop.create_server(lambda: Upstream(answers, tally, loop), "127.0.0.1", 0)
    counted: list[None] = []
    async with server:
        port = server.sockets[0].getsockname()[1]
        score = await mix.drive(port, "key", 400, 16, lambda: counted.append(None))
        for _ in range(10_000):  # turns of the loop until the server has seen the last client go
            if tally.open:
                await asyncio.sleep(0)
    assert score.calls == len(counted) == 400
    assert set(score.done) == {act.name for act in ACTS}
    assert set(score.wrong) == {"garbage: status 200"}
    assert tally.busy == 0


def test_weights_are_shares() -> None:
    """The sorts' weights add up to one call."""
    assert sum(act.weight for act in ACTS) == pytest.approx(1.0)
