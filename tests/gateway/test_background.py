"""Calls that no caller waits for."""

from __future__ import annotations

import asyncio

import pytest

from gateway.background import Background
from gateway.call import Call, Reply
from gateway.errors import UpstreamFailed
from gateway.trace import REFRESH, Bill, Trace
from tests.gateway.layers.chain import Answering, asking, known, plain

BILL = Bill(0.5, 0.0, 0.0, -0.5, "measured")


class Watched:
    """A Background with what it told."""

    def __init__(self) -> None:
        self.records: list[Trace] = []
        self.under_way = 0
        self.background = Background(self.records.append, self._begin, self._end, lambda _: BILL)

    def _begin(self) -> None:
        self.under_way += 1

    def _end(self) -> None:
        self.under_way -= 1

    async def until_done(self) -> None:
        """Wait until no call is under way."""
        async with asyncio.timeout(5):
            while self.under_way:  # noqa: ASYNC110 - the layer has no event for this
                await asyncio.sleep(0)


async def test_a_refresh() -> None:
    """The call is read to its end, with time and a record of its own: its cost is nobody's who waited."""
    watched, inner = Watched(), Answering(plain(b"{}"))
    asked = known(asking(seconds=10))
    asked.trace.rule, asked.trace.key = "r", "k"
    watched.background.refresh(asked, inner)
    assert watched.under_way == 1
    await watched.until_done()
    (record,) = watched.records
    assert (record.id, record.cache, record.outcome, record.status) == ("req_1-refresh", REFRESH, "refreshed", 200)
    assert (record.tenant, record.rule, record.key, record.model) == ("acme", "r", "k", "")
    assert record.usage is not None
    assert (record.usage.prompt, record.response_bytes, record.ended is not None) == (3, 2, True)
    assert record.bill is BILL
    assert asked.trace.attempts == []
    (made,) = inner.calls
    assert (made.presence, made.trace is record) == (None, True)
    assert made.deadline - record.started == pytest.approx(10)


async def test_one_at_a_time() -> None:
    """An answer is fetched once at a time, and again when that is over; another answer meanwhile."""
    watched, inner = Watched(), Answering(plain())
    for call in (known(asking()), known(asking()), known(asking(seed=1))):
        watched.background.refresh(call, inner)
    assert watched.under_way == 2
    await watched.until_done()
    watched.background.refresh(known(asking()), inner)
    await watched.until_done()
    assert len(inner.calls) == 3


async def test_without_an_identity() -> None:
    """A call that has no equal is never refreshed."""
    watched = Watched()
    watched.background.refresh(asking(), Answering(plain()))
    assert watched.under_way == 0


@pytest.mark.parametrize(
    ("reply", "fault", "outcome", "status"),
    [
        (UpstreamFailed("no", fault="http_503", status=503), "http_503", "upstream_failed", 503),
        (KeyError("ours"), "", "internal_error", 0),
        (plain(), "cut", "not_refreshed", 200),
    ],
)
async def test_failures(reply: Reply | Exception, fault: str, outcome: str, status: int) -> None:
    """A failure is on record and goes no further."""
    watched = Watched()
    watched.background.refresh(known(asking()), Answering(reply, fault=fault))
    await watched.until_done()
    assert [(record.outcome, record.status) for record in watched.records] == [(outcome, status)]


async def test_giving_up() -> None:
    """What is under way can be given up; its reply is closed, and that is on record."""
    watched, closed = Watched(), asyncio.Event()

    async def never(call: Call) -> Reply:
        async def close() -> None:
            closed.set()

        async def wait() -> object:
            await asyncio.Event().wait()
            yield b""

        return Reply(200, {}, wait(), close)  # type: ignore[arg-type]

    watched.background.refresh(known(asking()), never)
    for _ in range(5):
        await asyncio.sleep(0)
    watched.background.cancel()
    await watched.until_done()
    assert closed.is_set()
    assert [record.outcome for record in watched.records] == ["cancelled"]
