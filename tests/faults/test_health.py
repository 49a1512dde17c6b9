"""Breakers, rests and retry budgets, as a client meets them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.fakes.openai import Act, FakeOpenAI
from tests.fakes.stand import gateway

Policy = Callable[..., str]
DOWN = Act("status", status=500, body=b"{}")
BUSY = Act("status", status=429, body=b"{}", headers=(("retry-after", "1"),))


async def test_opens_and_closes(tmp_path: Path, policy: Policy) -> None:
    """An upstream that keeps failing is left alone; one good probe later it is trusted again."""
    breaker = "breaker: {window: 5, open: 200ms, probes: 1}"
    async with FakeOpenAI(always=DOWN) as fake, gateway(tmp_path, policy(fake.url, upstream=breaker, attempts=1)) as g:
        for _ in range(5):
            assert (await g.chat()).status_code == 500
        refused = await g.chat()
        ready = (await g.client.get("/readyz")).json()
        assert len(fake.requests) == 5
        await asyncio.sleep(0.25)
        assert (await g.client.get("/readyz")).json()["upstreams"]["u0"] == "half-open"
        fake.always = Act()
        assert (await g.chat()).status_code == 200
        assert (await g.client.get("/readyz")).json()["status"] == "ready"
    assert refused.status_code == 503
    assert refused.headers["x-sluice-attempts"] == "0"
    assert int(refused.headers["retry-after"]) >= 1
    assert (ready["status"], ready["upstreams"]["u0"]) == ("degraded", "open")


async def test_probes_are_few(tmp_path: Path, policy: Policy) -> None:
    """Half-open, only so many calls at a time try the upstream; the others go elsewhere."""
    breaker = "breaker: {window: 5, open: 50ms, probes: 1}"
    async with (
        FakeOpenAI(always=DOWN) as sick,
        FakeOpenAI() as well,
        gateway(tmp_path, policy(sick.url, well.url, upstream=breaker)) as g,
    ):
        for _ in range(5):
            await g.chat()
        await asyncio.sleep(0.1)
        sick.always = Act("blackhole")
        answers = await asyncio.gather(*(g.chat() for _ in range(10)))
    assert len(sick.requests) == 6
    assert {answer.status_code for answer in answers} == {200}


async def test_a_probe_whose_client_leaves(tmp_path: Path, policy: Policy) -> None:
    """A probe whose client left says nothing; the next call probes."""
    breaker = "breaker: {window: 5, open: 50ms, probes: 1}"
    async with FakeOpenAI(always=DOWN) as fake:
        text = policy(fake.url, upstream=breaker, attempts=1).replace("300ms", "30s")
        async with gateway(tmp_path, text) as g:
            for _ in range(5):
                await g.chat()
            await asyncio.sleep(0.1)
            fake.always = Act("blackhole")
            task = asyncio.create_task(g.chat())
            await fake.until(asked=6)
            task.cancel()
            await fake.until(left=1)
            fake.always = Act()
            for _ in range(6):
                await g.journal.next()
            assert (await g.chat()).status_code == 200


async def test_429_is_a_rest(tmp_path: Path, policy: Policy) -> None:
    """A 429 sends the next calls elsewhere for as long as it says, and is no failure."""
    async with FakeOpenAI(BUSY) as busy, FakeOpenAI() as free, gateway(tmp_path, policy(busy.url, free.url)) as g:
        first, second = await g.chat(), await g.chat()
        assert len(busy.requests) == 1
        await asyncio.sleep(1.1)
        third = await g.chat()
    assert [answer.headers["x-sluice-upstream"] for answer in (first, second, third)] == ["u1", "u1", "u0"]
    assert [answer.headers["x-sluice-attempts"] for answer in (first, second, third)] == ["2", "1", "1"]


async def test_short_rest_is_waited_for(tmp_path: Path, policy: Policy) -> None:
    """With one upstream, a short Retry-After is waited for rather than handed to the client."""
    async with FakeOpenAI(BUSY) as fake, gateway(tmp_path, policy(fake.url)) as g:
        answer = await g.chat()
    assert answer.status_code == 200
    assert answer.headers["x-sluice-attempts"] == "2"


async def test_long_rest_is_the_clients(tmp_path: Path, policy: Policy) -> None:
    """With one upstream, a long Retry-After is handed to the client at once."""
    act = Act("status", status=429, body=b"{}", headers=(("retry-after", "60"),))
    async with FakeOpenAI(always=act) as fake, gateway(tmp_path, policy(fake.url)) as g:
        answer = await asyncio.wait_for(g.chat(), 5)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "60"
    assert len(fake.requests) == 1


async def test_attempts(tmp_path: Path, policy: Policy) -> None:
    """One upstream is asked again as often as the rule says; the primary's status is what the client gets."""
    async with FakeOpenAI(always=DOWN) as fake, gateway(tmp_path, policy(fake.url, attempts=3)) as g:
        answer = await g.chat()
    assert (answer.status_code, answer.headers["x-sluice-attempts"], len(fake.requests)) == (500, "3", 3)


async def test_primary_status(tmp_path: Path, policy: Policy) -> None:
    """When all fail in their own ways, the client gets the first one's status."""
    first, second = Act("status", status=503, body=b"{}"), Act("close")
    async with (
        FakeOpenAI(always=first) as one,
        FakeOpenAI(always=second) as two,
        gateway(tmp_path, policy(one.url, two.url)) as g,
    ):
        answer = await g.chat()
        trace = await g.journal.next()
    assert answer.status_code == 503
    assert [attempt.fault for attempt in trace.attempts] == ["http_503", "cut"]


async def test_what_no_retry_can_help(tmp_path: Path, policy: Policy) -> None:
    """Refused credentials are not shown a second time."""
    async with FakeOpenAI(always=Act("status", status=401)) as one, FakeOpenAI(always=DOWN) as two:
        async with gateway(tmp_path, policy(one.url, two.url, attempts=5)) as g:
            await g.chat()
        assert (len(one.requests), len(two.requests)) == (1, 4)


async def test_retry_budget(tmp_path: Path, policy: Policy) -> None:
    """Retries are a share of what succeeds: an outage is not multiplied."""
    async with FakeOpenAI(Act(), always=DOWN) as fake, gateway(tmp_path, policy(fake.url, attempts=2)) as g:
        for _ in range(21):
            await g.chat()
    assert len(fake.requests) == 31  # 21 calls, and the 10 retries that a full bucket holds


async def test_full_pool_is_not_illness(tmp_path: Path, policy: Policy) -> None:
    """When all our connections are in use the call goes elsewhere, and the upstream is not taken for ill."""
    ours = "max_connections: 1"
    async with FakeOpenAI(always=Act("stall", after=1)) as one, FakeOpenAI() as two:
        text = policy(one.url, two.url, upstream=ours).replace("300ms", "30s")
        async with gateway(tmp_path, text) as g:
            task = asyncio.create_task(g.chat(stream=True))
            await one.until(asked=1)
            for _ in range(6):
                assert (await g.chat()).headers["x-sluice-upstream"] == "u1"
            assert g.runtime.pipeline.stations["u0"].breaker.reason == ""
            assert (await g.chat("only")).status_code == 503
            task.cancel()
