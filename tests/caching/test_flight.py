"""Single flight in one process: who gets what, who waits for whom, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from caching.flight import End, Flight, Head, Overtaken, Reader

HEAD = Head(200, {"content-type": "text/event-stream"})


class Source:
    """Frames that come when the test says so; it remembers whether it was closed."""

    def __init__(self, *frames: bytes) -> None:
        self.pulled = 0
        self.is_closed = False
        self._queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        for frame in frames:
            self._queue.put_nowait(frame)

    def say(self, *frames: bytes | Exception | None) -> None:
        """Let these come: frames, an exception to raise, or None for the end."""
        for frame in frames:
            self._queue.put_nowait(frame)

    async def frames(self) -> AsyncIterator[bytes]:
        """What was said."""
        try:
            while (frame := await self._queue.get()) is not None:
                if isinstance(frame, Exception):
                    raise frame
                self.pulled += 1
                yield frame
        finally:
            self.is_closed = True


class Air:
    """A flight with its source."""

    def __init__(self, *frames: bytes, is_whole: bool = True, most: int = 8 << 20, window: int = 1 << 20) -> None:
        self.source = Source(*frames)
        self.others: list[int] = []
        self.flight = Flight(most=most, window=window, on_change=self.others.append)
        self._is_whole = is_whole

    def begin(self) -> AsyncIterator[bytes]:
        """The leader's frames."""
        return self.flight.begin(HEAD, self.source.frames(), lambda: self._is_whole)

    def follow(self) -> asyncio.Task[list[bytes]]:
        """Somebody else, who reads as fast as it can."""
        return asyncio.create_task(collect(self.flight.read(self.flight.join())))


async def collect(frames: AsyncIterator[bytes]) -> list[bytes]:
    """All of them."""
    return [frame async for frame in frames]


async def settle() -> None:
    """Let everybody run until nothing moves any more."""
    for _ in range(50):
        await asyncio.sleep(0)


async def check_nothing_is_left(*airs: Air) -> None:
    """No task runs but the test's own, and the sources are closed."""
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert all(air.source.is_closed for air in airs)


async def test_alone() -> None:
    """A leader whom nobody joins gets its frames without any task, and the flight is whole."""
    air = Air(b"a", b"b")
    air.source.say(None)
    frames = air.begin()
    assert await anext(frames) == b"a"
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert await collect(frames) == [b"b"]
    assert air.flight.end is End.WHOLE
    assert air.others == []
    await check_nothing_is_left(air)


async def test_told_elsewhere() -> None:
    """Pulled eagerly, the source is read up to `window` ahead of a leader who reads nothing and is never cut off."""
    air = Air(*[b"x" * 10] * 30, window=50, most=100)
    air.source.say(None)
    leader = air.flight.begin(HEAD, air.source.frames(), lambda: True, eagerly=True)
    await settle()
    assert air.source.pulled == 6
    assert len(await collect(leader)) == 30
    assert air.flight.end is End.WHOLE
    await check_nothing_is_left(air)


@pytest.mark.parametrize("is_begun", [False, True])
async def test_closing(*, is_begun: bool) -> None:
    """When a flight's `close` returns its source is closed, also where the leader has read nothing; twice is safe."""
    air = Air(b"a")
    leader = air.flight.begin(HEAD, air.source.frames(), lambda: True, eagerly=True)
    await settle()
    if is_begun:
        await anext(leader)
    await air.flight.close()
    assert (air.source.is_closed, air.flight.end) == (True, End.ABANDONED)
    await air.flight.close()
    await leader.aclose()
    await check_nothing_is_left(air)


async def test_a_late_joiner() -> None:
    """Who joins in the middle gets what was said, at once, and then the rest as it comes."""
    air = Air(b"a", b"b")
    leader = air.begin()
    await anext(leader)
    await anext(leader)
    joined = air.flight.read(air.flight.join())
    assert [await anext(joined), await anext(joined)] == [b"a", b"b"]
    air.source.say(b"c", None)
    assert await anext(joined) == b"c"
    assert await collect(joined) == []
    assert await collect(leader) == [b"c"]
    await check_nothing_is_left(air)


@pytest.mark.parametrize("when", ["before the head", "while the leader pulls", "while the leader sends", "at the end"])
async def test_whenever_one_joins(when: str) -> None:
    """Both get everything once, whatever the leader is doing when the first other joins."""
    air = Air()
    other: asyncio.Task[list[bytes]] | None = None
    if when == "before the head":
        other = air.follow()
        await settle()
    frames = air.begin()
    air.source.say(b"a")
    got = [await anext(frames)]
    if when == "while the leader sends":
        other = air.follow()
        await settle()
        air.source.say(b"b", b"c", None)
        got += await collect(frames)
    else:
        leading = asyncio.create_task(collect(frames))
        await settle()
        if when == "while the leader pulls":
            other = air.follow()
            await settle()
        air.source.say(b"b", b"c", None)
        got += await leading
    assert got == [b"a", b"b", b"c"]
    assert await (other or air.follow()) == got
    assert air.flight.end is End.WHOLE
    await check_nothing_is_left(air)


async def test_a_leader_that_waits_for_its_client() -> None:
    """A leader who does not read on holds nobody up: the others get everything, and it gets its own later."""
    air = Air(b"a", b"b", b"c")
    air.source.say(None)
    leader = air.begin()
    assert await anext(leader) == b"a"
    assert await air.follow() == [b"a", b"b", b"c"]
    assert await collect(leader) == [b"b", b"c"]
    await check_nothing_is_left(air)


async def test_a_slow_reader() -> None:
    """A reader beyond `most` bytes behind is cut off; the others are not held up and memory stays bounded."""
    air = Air(most=100, window=50)
    leader = asyncio.create_task(collect(air.begin()))
    slow = air.flight.read(air.flight.join())
    await settle()
    air.source.say(b"x" * 10)
    assert await anext(slow) == b"x" * 10
    fast = air.follow()
    for number in range(50):
        air.source.say(b"%010d" % number)
        await settle()
        assert sum(map(len, air.flight._frames)) <= 100
    air.source.say(None)
    assert len(await fast) == len(await leader) == 51
    with pytest.raises(Overtaken):
        await anext(slow)
    await check_nothing_is_left(air)


async def test_no_readers_after_the_beginning_is_forgotten() -> None:
    """A flight that has said more than `most` bytes takes no new readers; the leader goes on."""
    air = Air(b"x" * 60, b"x" * 60, most=100)
    leader = air.begin()
    await anext(leader)
    assert air.flight.takes_readers
    await anext(leader)
    assert not air.flight.takes_readers
    air.source.say(None)
    assert await collect(leader) == []
    await check_nothing_is_left(air)


async def test_one_frame_longer_than_all_room() -> None:
    """A plain answer is one frame; however long, everybody gets it."""
    air = Air(most=100, window=50)
    waiting = air.follow()
    await settle()
    leader = asyncio.create_task(collect(air.begin()))
    air.source.say(b"x" * 1000, None)
    assert await waiting == await leader == await air.follow() == [b"x" * 1000]
    await check_nothing_is_left(air)


async def test_an_overtaken_leader_does_not_end_the_others() -> None:
    """A leader who is cut off for being slow is so only when the others have their whole answer."""
    air = Air(b"x" * 10, most=100, window=50)
    leader = air.begin()
    await anext(leader)
    other = air.follow()
    for _ in range(20):
        air.source.say(b"y" * 10)
        await settle()
    late = asyncio.create_task(collect(leader))
    await settle()
    air.source.say(b"z", None)
    assert len(await other) == 22
    with pytest.raises(Overtaken):
        await late
    assert air.flight.end is End.WHOLE
    await check_nothing_is_left(air)


async def test_an_overtaken_leader_whom_all_have_left() -> None:
    """An overtaken leader waits for nobody once the others are gone: the flight is given up."""
    air = Air(b"x" * 10, most=100, window=50)
    leader = air.begin()
    await anext(leader)
    other = air.follow()
    for _ in range(20):
        air.source.say(b"y" * 10)
        await settle()
    late = asyncio.create_task(collect(leader))
    await settle()
    other.cancel()
    with pytest.raises(Overtaken):
        await late
    assert air.flight.end is End.ABANDONED
    await check_nothing_is_left(air)


async def test_the_fastest_reader_sets_the_pace() -> None:
    """The source is read no further than `window` bytes ahead of the fastest reader."""
    air = Air(*[b"x" * 10] * 30, window=50)
    air.source.say(None)
    leader = air.begin()
    reader = air.flight.read(air.flight.join())
    await settle()
    assert air.source.pulled == 6
    await anext(reader)
    await settle()
    assert air.source.pulled == 7
    for _ in range(10):
        await anext(leader)
    await settle()
    assert air.source.pulled == 16
    assert len(await collect(reader)) == 29
    assert len(await collect(leader)) == 20
    await check_nothing_is_left(air)


async def test_a_slow_leader_outlives_a_visitor() -> None:
    """When somebody has joined and left again, a slow leader is still waited for and not cut off."""
    air = Air(*[b"x" * 10] * 30, most=100, window=50)
    air.source.say(None)
    leader = air.begin()
    await anext(leader)
    reader = air.flight.join()
    await settle()
    air.flight.leave(reader)
    await settle()
    assert air.source.pulled <= 8
    assert len(await collect(leader)) == 29
    await check_nothing_is_left(air)


@pytest.mark.parametrize("joined", [False, True])
async def test_a_leader_that_closes_early(*, joined: bool) -> None:
    """A leader who closes its frames abandons the flight; the others' frames end, and they can tell."""
    air = Air(b"a")
    leader = air.begin()
    await anext(leader)
    other = air.follow() if joined else None
    await settle()
    await leader.aclose()  # type: ignore[attr-defined] # a generator
    assert other is None or await other == [b"a"]
    assert air.flight.end is End.ABANDONED
    assert not air.flight.takes_readers
    await check_nothing_is_left(air)


async def test_a_leader_that_is_cancelled() -> None:
    """A leader cancelled while it waits abandons the flight, whoever pulls."""
    for joined in (False, True):
        air = Air(b"a")
        leader = asyncio.create_task(collect(air.begin()))
        await settle()
        other = air.follow() if joined else None
        await settle()
        leader.cancel()
        await settle()
        assert air.flight.end is End.ABANDONED
        assert other is None or await other == [b"a"]
        await check_nothing_is_left(air)


async def test_a_reader_that_is_cancelled() -> None:
    """A reader that is cancelled while it waits wakes nobody else."""
    air = Air(b"a")
    leader = asyncio.create_task(collect(air.begin()))
    first, second = air.follow(), air.follow()
    await settle()
    waiting = list(air.flight._waiting)
    first.cancel()
    await settle()
    assert [future.done() for future in waiting].count(True) == 1
    assert air.others == [1, 2, 1]
    air.source.say(b"b", None)
    assert await second == await leader == [b"a", b"b"]
    await check_nothing_is_left(air)


@pytest.mark.parametrize("pumped", [False, True])
async def test_a_source_that_raises(*, pumped: bool) -> None:
    """What the source raises reaches the leader and every reader, after what was said."""
    air = Air(b"a")
    leader = asyncio.create_task(collect(air.begin()))
    await settle()
    reader = air.flight.join()
    if pumped:
        air.source.say(b"b")
        await settle()
    got: list[bytes] = []

    async def follow() -> None:
        async for frame in air.flight.read(reader):
            got.append(frame)  # noqa: PERF401 - it is looked at after the raise

    other = asyncio.create_task(follow())
    air.source.say(ZeroDivisionError())
    for task in (leader, other):
        with pytest.raises(ZeroDivisionError):
            await task
    assert got == [b"a", b"b"][: 1 + pumped]
    assert air.flight.end is End.BROKEN
    assert not air.flight.takes_readers
    await check_nothing_is_left(air)


async def test_an_end_that_is_not_whole() -> None:
    """A source that ends with words about its failure breaks the flight; nobody is told it was whole."""
    for joins in (False, True):
        air = Air(b"a", b"error", is_whole=False)
        air.source.say(None)
        other = air.follow() if joins else None
        await settle()
        assert await collect(air.begin()) == [b"a", b"error"]
        assert other is None or await other == [b"a", b"error"]
        assert air.flight.end is End.BROKEN
        assert not air.flight.takes_readers
        await check_nothing_is_left(air)


async def test_failing_before_the_head() -> None:
    """A flight that ends before its head tells all who wait, with the reason if it has one."""
    error = ValueError("no")
    for end, reason in ((End.FAILED, error), (End.ABANDONED, None)):
        flight = Flight()
        flight.join()
        waiting = asyncio.create_task(flight.until_begun())
        await settle()
        flight.finish(end, reason)
        flight.finish(End.WHOLE)
        assert await waiting is None
        assert (flight.end, flight.error, flight.takes_readers) == (end, reason, False)


async def test_a_deadline_of_ones_own() -> None:
    """A reader whose time is over gets TimeoutError; the others go on."""
    air = Air(b"a")
    leader = asyncio.create_task(collect(air.begin()))
    other = air.follow()
    await settle()
    hurried = air.flight.read(air.flight.join(), deadline=asyncio.get_running_loop().time())
    assert await anext(hurried) == b"a"
    with pytest.raises(TimeoutError):
        await anext(hurried)
    air.source.say(None)
    assert await other == await leader == [b"a"]
    assert air.others == [1, 2, 1]
    await check_nothing_is_left(air)


async def test_a_whole_answer_is_shared_for_a_while_only() -> None:
    """An answer that its leader is slow to read takes new readers for a moment after its end, not for ever."""
    for linger, expected in ((60.0, True), (0.0, False)):
        flight = Flight(linger=linger)
        leader = flight.begin(HEAD, Source(b"a").frames(), lambda: True)
        await anext(leader)
        flight.finish(End.WHOLE)
        assert flight.takes_readers is expected


async def test_on_change() -> None:
    """It is told how many others wait, each time that changes, and no more after the end."""
    air = Air(b"a")
    leader = air.begin()
    await anext(leader)
    one, two = air.flight.join(), air.flight.join()
    air.flight.leave(one)
    air.flight.leave(one)
    air.source.say(None)
    assert await collect(leader) == []
    air.flight.leave(two)
    assert air.others == [1, 2, 1]
    await check_nothing_is_left(air)


async def test_leaving_without_reading() -> None:
    """One who joined and never read is not waited for."""
    air = Air(*[b"x" * 10] * 30, window=50)
    air.source.say(None)
    leader = air.begin()
    readers: list[Reader] = [air.flight.join() for _ in range(3)]
    await settle()
    for reader in readers:
        air.flight.leave(reader)
    assert len(await collect(leader)) == 30
    await check_nothing_is_left(air)
