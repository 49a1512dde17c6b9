"""One real gateway with its file: a burst of equal calls, a restart, a corrupt file, a file at its bound."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fakes.counting import Counting, digest
from tests.live.callers import call, chat, unheard
from tests.live.stage import eventually, policy
from tests.running import Gateway, gateway

MANY = 1000
SMALL = "cache: {memory: 1MB, disk: 1MB, entry: 200KB}"


@asynccontextmanager
async def running(folder: Path, upstream: Counting, more: str = "") -> AsyncIterator[Gateway]:
    """A gateway before this upstream; started anew on the same folder it finds its files again."""
    one = gateway(folder, policy(folder, upstream.port, more))
    try:
        yield await asyncio.to_thread(one.__enter__)
    finally:
        await asyncio.to_thread(one.__exit__, None, None, None)


@pytest.fixture
async def upstream() -> AsyncIterator[Counting]:
    """An upstream that counts."""
    async with Counting() as counting:
        yield counting


def bytes_on_disk(gateway: Gateway) -> int:
    """What the cache's file takes, with its log."""
    return sum(path.stat().st_size for path in gateway.state.glob("cache.sqlite*"))


async def test_a_thousand_equal_calls_are_one(tmp_path: Path, upstream: Counting) -> None:
    """A thousand equal calls at once, plain, streamed or mixed, are one upstream call, and all get its answer."""
    upstream.wait = 0.5
    async with running(tmp_path, upstream) as one:
        for modes in ([False], [True], [False, True]):
            question = unheard()
            calls = (chat(question, stream=modes[number % len(modes)]) for number in range(MANY))
            answers = await asyncio.gather(*(call(one.port, body) for body in calls))
            assert upstream.asked[question] == 1
            assert {answer.status for answer in answers} == {200}
            [text] = {answer.text for answer in answers}
            assert text.startswith(digest(question))
            assert [answer.source for answer in answers].count("MISS") == 1


async def test_sampled_calls_stay_many(tmp_path: Path, upstream: Counting) -> None:
    """Best of five at a temperature stays five upstream calls."""
    upstream.wait = 0.2
    question = unheard()
    async with running(tmp_path, upstream) as one:
        answers = await asyncio.gather(*(call(one.port, chat(question, temperature=0.7)) for _ in range(5)))
    assert upstream.asked[question] == 5
    assert len({answer.text for answer in answers}) == 5
    assert {answer.headers["x-cache"] for answer in answers} == {"BYPASS"}


async def test_restart(tmp_path: Path, upstream: Counting) -> None:
    """After a restart the answers are there, in a file that only its owner may read."""
    plain, streamed = unheard(), unheard()
    async with running(tmp_path, upstream) as one:
        first = [await call(one.port, chat(plain)), await call(one.port, chat(streamed, stream=True))]
    async with running(tmp_path, upstream) as one:
        again = [await call(one.port, chat(plain, stream=True)), await call(one.port, chat(streamed))]
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in one.state.glob("cache.sqlite*")}
    assert [answer.headers["x-cache"] for answer in first] == ["MISS", "MISS"]
    assert [answer.source for answer in again] == ["exact", "exact"]
    assert [answer.text for answer in again] == [answer.text for answer in first]
    assert upstream.asked == {plain: 1, streamed: 1}
    assert "cache.sqlite" in modes
    assert set(modes.values()) == {0o600}


async def test_corrupt_file(tmp_path: Path, upstream: Counting) -> None:
    """A corrupt file at the start is moved aside and said; calls go on, and the new file keeps answers."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "cache.sqlite").write_bytes(b"SQLite format 3\0" + b"\xff" * 20_000)
    question = unheard()
    async with running(tmp_path, upstream) as one:
        assert (await call(one.port, chat(question))).status == 200
        await eventually(lambda: "corrupt" in one.log.read_text())
    async with running(tmp_path, upstream) as one:
        assert (await call(one.port, chat(question))).source == "exact"
    assert upstream.asked[question] == 1


async def test_file_at_its_bound(tmp_path: Path, upstream: Counting) -> None:
    """With the file at its bound calls go on, it grows no further, and every answer belongs to its question."""
    upstream.words = 10_000  # some 60 kB
    questions = [unheard() for _ in range(60)]
    async with running(tmp_path, upstream, SMALL) as one:
        for question in questions:
            answer = await call(one.port, chat(question))
            assert answer.text.startswith(digest(question))
        await asyncio.sleep(1.0)
        assert bytes_on_disk(one) < 2_500_000
        again = [await call(one.port, chat(question)) for question in questions]
    hits = [answer.headers["x-cache"] for answer in again].count("HIT")
    assert 0 < hits < len(questions)
    assert all(answer.text.startswith(digest(question)) for answer, question in zip(again, questions, strict=True))
