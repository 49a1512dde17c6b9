"""Edits of the policy while two workers of one gateway serve calls and streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.fakes.openai import Act, FakeOpenAI
from tests.live.stage import eventually
from tests.running import Gateway, gateway

# A call is wholly old or new: its rule, the model's name at the upstream and the upstream itself all say which.
POLICY = """\
upstreams:
  up-{number}: {{url: "{url}"}}
models:
  m: {{targets: [{{upstream: up-{number}, model: m-{number}}}]}}
rules:
  - {{name: rule-{number}, cache: {{exact: false, coalesce: false}}}}
"""
EDITS = 6
AGREED_SECONDS = 5.0


def edit(path: Path, url: str, number: int) -> None:
    """Write another policy, as an editor that replaces the file does."""
    draft = path.with_suffix(".draft")
    draft.write_text(POLICY.format(number=number, url=url))
    draft.replace(path)


def told(answer: httpx.Response) -> set[str]:
    """Which policies had a hand in an answer."""
    names = (answer.headers[f"x-sluice-{name}"] for name in ("route", "model", "upstream"))
    return {name.rpartition("-")[2] for name in names}


def versions(running: Gateway) -> set[str]:
    """What the workers say they serve by."""
    return {worker["version"] for worker in running.admin("/api/policy").json()["workers"]}


@asynccontextmanager
async def load(running: Gateway) -> AsyncIterator[list[set[str]]]:
    """Calls without end, plain and streamed, on new connections, so that both workers get some; what each was told."""
    found: list[set[str]] = []
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}

    async def ask(stream: bool) -> None:  # noqa: FBT001 - a private word of this test
        while True:
            async with httpx.AsyncClient(timeout=30) as client:
                answer = await client.post(f"{running.base_url}/chat/completions", json={**body, "stream": stream})
            assert answer.status_code == 200, answer.text
            assert not stream or answer.text.rstrip().endswith("[DONE]")
            found.append(told(answer))

    tasks = [asyncio.create_task(ask(number % 2 == 0)) for number in range(8)]
    try:
        yield found
        assert not [task for task in tasks if task.done()], "a call failed"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeOpenAI]:
    """An upstream whose streams take a while, so that edits fall into them."""
    async with FakeOpenAI(always=Act(pace=0.02)) as fake:
        yield fake


@pytest.fixture
def running(upstream: FakeOpenAI, single_url: str, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway of two workers."""
    path = tmp_path / "policy.yaml"
    edit(path, upstream.url, 0)
    with gateway(tmp_path, path, "--workers", "2", "--redis-url", single_url) as found:
        yield found


async def test_swap_under_load(running: Gateway, upstream: FakeOpenAI, tmp_path: Path) -> None:
    """Every call is served by one policy, none is refused and no stream is cut; soon both workers agree."""
    async with load(running) as found:
        await eventually(lambda: bool(found), 30)  # some were served by the first policy
        for number in range(1, EDITS + 1):
            before = versions(running)
            edit(tmp_path / "policy.yaml", upstream.url, number)
            began = time.monotonic()
            await eventually(lambda before=before: len(now := versions(running)) == 1 and now != before, 30)  # type: ignore[misc]
            assert time.monotonic() - began < 30
            await asyncio.sleep(0.3)
    assert {len(policies) for policies in found} == {1}
    assert {next(iter(policies)) for policies in found} == {str(number) for number in range(EDITS + 1)}


async def test_bad_edit_under_load(running: Gateway, tmp_path: Path) -> None:
    """An edit with a mistake changes nothing on either worker, and both say in which line it is."""
    path = tmp_path / "policy.yaml"
    async with load(running) as found:
        path.write_text(path.read_text() + "rulez: []\n")

        def refused() -> list[str]:
            return [worker["refusal"] for worker in running.admin("/api/policy").json()["workers"]]

        await eventually(lambda: all("policy.yaml:7" in words and "rulez" in words for words in refused()), 30)
        await asyncio.sleep(0.3)
    assert {next(iter(policies)) for policies in found} == {"0"}
