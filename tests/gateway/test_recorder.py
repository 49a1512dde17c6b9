"""The recorder as a process under the real `sluice serve`: killed, stopped, orphaned; and no record is doubled."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from time import monotonic

from gateway.admin.workers import read_workers
from gateway.ledger import LedgerReader
from gateway.ledger.pages import NO_ANSWER
from gateway.ledger.spool import segments
from gateway.ledger.taking import URGENT, Taking
from gateway.metrics import CALLS, DROPPED, Counts
from gateway.recorder import NICE, Recorder
from gateway.state import State
from tests.fakes.openai import FakeOpenAI
from tests.gateway.test_serve import LONG, Served, policy, serve


def recorder(g: Served) -> int | None:
    """The recorder's process."""
    return next((pid for pid, command in g.children().items() if "gateway.recorder" in command), None)


def recorded(folder: Path) -> Counter[str]:
    """The ids in the ledger, each with how often it is there."""
    return Counter(each["id"] for each in LedgerReader(folder / "state" / "ledger.sqlite").recent(100_000))


async def calls(g: Served, until: asyncio.Event) -> list[str]:
    """Call until told to stop: the ids of all calls."""
    made = []
    while not until.is_set():
        made.append((await g.chat()).headers["x-request-id"])
    return made


async def killed_now_and_then(g: Served, times: int) -> None:
    """Kill the recorder so often, each time when another one is up."""
    killed: int | None = None
    for _ in range(times):
        until = monotonic() + LONG
        while (pid := recorder(g)) is None or pid == killed:
            assert monotonic() < until
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.8)
        os.kill(pid, signal.SIGKILL)
        killed = pid


class Mountain(Taking):
    """So much waits, at each look; nobody takes any of it."""

    def __init__(self, folder: Path, heights: list[int]) -> None:
        super().__init__(State(folder))
        self.heights = heights
        self.recorder: Recorder | None = None

    def turn(self) -> bool:
        """Wait for the next look."""
        return bool(self.heights)

    def behind(self) -> int:
        """What waits; the last look ends it all."""
        height = self.heights.pop(0)
        if not self.heights and self.recorder is not None:
            self.recorder.ending.set()
        return height


def test_it_hurries_when_much_waits(tmp_path: Path) -> None:
    """It takes the lowest priority, the usual one when records would soon be lost, and the lowest again after."""
    priorities: list[int] = []
    mountain = Mountain(tmp_path, [URGENT + 1, URGENT - 1, 0, 0])
    mountain.recorder = Recorder(mountain, interval=0.01, look=0.0, prioritize=priorities.append)
    mountain.recorder.run(os.getppid())
    assert priorities == [NICE, 0, NICE]


async def test_killed_again_and_again_it_doubles_and_loses_nothing(tmp_path: Path) -> None:
    """Under load the recorder is killed three times: every call is in the ledger once and counted once."""
    async with FakeOpenAI() as fake, serve(tmp_path, policy(fake.url)) as g:
        stop = asyncio.Event()
        load = asyncio.gather(*(calls(g, stop) for _ in range(4)))
        await killed_now_and_then(g, 3)
        stop.set()
        made = [each for one in await load for each in one]
        g.process.terminate()
        assert await asyncio.wait_for(g.process.wait(), LONG) == 0
    state = State(tmp_path / "state")
    if segments(state.spool):  # it was told to end while it waited for its restart: the next gateway takes them in
        async with FakeOpenAI() as fake, serve(tmp_path, policy(fake.url)) as g:
            g.process.terminate()
            await asyncio.wait_for(g.process.wait(), LONG)
    assert recorded(tmp_path) == Counter(made)
    found = Counts.read(read_workers(state)[0]).counters
    assert sum(found[CALLS.name].values()) == len(made)
    assert found[DROPPED.name] == {(): 0}
    assert segments(state.spool) == []


async def test_its_loss_is_told_and_costs_no_call(tmp_path: Path) -> None:
    """While it stands still calls are served, readiness says so, and the rest follows when it goes on."""
    async with FakeOpenAI() as fake, serve(tmp_path, policy(fake.url)) as g:
        pid = recorder(g)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            until = monotonic() + LONG
            while (await g.ready())["ledger"] != NO_ANSWER:
                assert monotonic() < until
                await asyncio.sleep(0.2)
            made = (await g.chat()).headers["x-request-id"]
            assert (await g.ready())["status"] == "degraded"
        finally:
            os.kill(pid, signal.SIGCONT)
        until = monotonic() + LONG
        while (await g.ready())["ledger"] != "ok" or made not in recorded(tmp_path):
            assert monotonic() < until
            await asyncio.sleep(0.1)


async def test_what_a_killed_worker_left_is_recorded(tmp_path: Path) -> None:
    """A worker is killed: what it had written of its calls is taken in, and its segment goes."""
    async with FakeOpenAI() as fake, serve(tmp_path, policy(fake.url)) as g:
        made = (await g.chat()).headers["x-request-id"]
        until = monotonic() + LONG
        while not (before := segments(tmp_path / "state" / "spool")):
            assert monotonic() < until
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        os.kill(next(pid for pid, command in g.children().items() if "gateway.worker" in command), signal.SIGKILL)
        while made not in recorded(tmp_path) or {*before} & {*segments(tmp_path / "state" / "spool")}:
            assert monotonic() < until
            await asyncio.sleep(0.1)


async def test_the_last_records_are_taken_in_before_the_end(tmp_path: Path) -> None:
    """A gateway that was told to stop has recorded every call it answered, and leaves an empty spool."""
    async with FakeOpenAI() as fake, serve(tmp_path, policy(fake.url)) as g:
        made = [(await g.chat()).headers["x-request-id"] for _ in range(20)]
        g.process.terminate()
        assert await asyncio.wait_for(g.process.wait(), LONG) == 0
        assert recorded(tmp_path) == Counter(made)
        assert segments(tmp_path / "state" / "spool") == []
