"""`sluice serve` as people run it: real processes, signals, edits under load."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import httpx

from tests.fakes.openai import WORDS, Act, FakeOpenAI, unused_port
from tests.fakes.stand import MESSAGES, SECRET, events, said

LONG = 30.0  # seconds a step may take on a busy machine


@dataclass
class Served:
    """A running `sluice serve`."""

    process: asyncio.subprocess.Process
    client: httpx.AsyncClient
    folder: Path
    port: int
    admin_port: int

    async def chat(self, model: str = "m", **more: object) -> httpx.Response:
        """One call."""
        return await self.client.post("/v1/chat/completions", json={"model": model, "messages": MESSAGES, **more})

    async def ready(self) -> dict[str, object]:
        """What /readyz says."""
        found: dict[str, object] = (await self.client.get("/readyz")).json()
        return found

    def children(self) -> dict[int, str]:
        """The process' descendants: their ids and commands."""
        return descendants(self.process.pid)

    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "log").read_text()


def descendants(pid: int) -> dict[int, str]:
    """All processes below one, by /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                if stat[0] != "Z":
                    parents[int(entry.name)] = int(stat[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {each: _command(each) for each in found - {pid}}


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


@asynccontextmanager
async def serve(folder: Path, policy: str, *options: str) -> AsyncIterator[Served]:
    """Run `sluice serve` until it is ready, and end it."""
    (folder / "policy.yaml").write_text(policy)
    port, admin_port = unused_port(), unused_port()
    words = [
        "--policy",
        folder / "policy.yaml",
        "--state",
        folder / "state",
        "--port",
        port,
        "--admin-port",
        admin_port,
    ]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "gateway.cli", "serve"),
            *map(str, words),
            *options,
            stdout=log,
            stderr=log,
            env={**os.environ, "UP_KEY": SECRET},
            cwd=Path(__file__).parents[2],
        )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=LONG, trust_env=False) as client:
        served = Served(process, client, folder, port, admin_port)
        try:
            await until_ready(served)
            yield served
        finally:
            below = served.children()
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), LONG)
            finally:
                for pid in below:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


async def until_ready(served: Served) -> None:
    """Wait until the banner stands in the log."""
    until = monotonic() + LONG
    while "Try it:" not in served.log():
        assert served.process.returncode is None, served.log()
        assert monotonic() < until, served.log()
        await asyncio.sleep(0.02)


def policy(url: str, theirs: str = "m") -> str:
    """One upstream, and one model."""
    return (
        f"upstreams:\n  up: {{url: '{url}', key: '${{UP_KEY}}', accept_models: ['*']}}\n"
        f"models:\n  m: {{targets: [{{upstream: up, model: {theirs}}}]}}\n"
    )


async def test_serves_and_drains(tmp_path: Path) -> None:
    """It serves; told to stop while a stream runs it refuses new calls, ends the stream whole, and leaves nothing."""
    async with FakeOpenAI(always=Act(pace=0.1)) as fake, serve(tmp_path, policy(fake.url)) as g:
        assert (await g.chat()).json()["choices"][0]["message"]["content"] == "".join(WORDS)
        children = g.children()
        assert len(children) >= 2
        body = {"model": "m", "messages": MESSAGES, "stream": True}
        async with g.client.stream("POST", "/v1/chat/completions", json=body) as answer:
            chunks = answer.aiter_text()
            text = await anext(chunks)
            g.process.terminate()
            await _until_refused(g.port)
            assert g.process.returncode is None
            text += "".join([chunk async for chunk in chunks])
        assert said(text) == "".join(WORDS)
        assert events(text)[-1] == "[DONE]"
        assert await asyncio.wait_for(g.process.wait(), LONG) == 0
        assert not [pid for pid in children if _command(pid)]
        assert SECRET not in g.log()
        assert "Traceback" not in g.log()


async def _until_refused(port: int) -> None:
    """Wait until nobody listens there."""
    until = monotonic() + LONG
    while monotonic() < until:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.02)
    raise AssertionError("new connections are still taken")


async def test_drain_has_an_end(tmp_path: Path) -> None:
    """A stream that does not end in the time to drain gets one error event, and the gateway ends."""
    async with (
        FakeOpenAI(always=Act("stall", after=2)) as fake,
        serve(tmp_path, policy(fake.url), "--drain", "1") as g,
    ):
        body = {"model": "m", "messages": MESSAGES, "stream": True}
        text = ""
        async with g.client.stream("POST", "/v1/chat/completions", json=body) as answer:
            with suppress(httpx.RemoteProtocolError):
                async for chunk in answer.aiter_text():
                    text += chunk
                    if "One" in chunk:
                        g.process.terminate()
        assert await asyncio.wait_for(g.process.wait(), LONG) == 0
        await fake.until(left=1)
    assert "[DONE]" not in text
    assert "draining" in events(text)[-1]


async def test_edits_under_load(tmp_path: Path) -> None:
    """Under load every call is served wholly by the old policy or wholly by the new; a bad edit changes nothing."""
    seen: list[tuple[str, str]] = []
    stop = asyncio.Event()

    async def load(g: Served) -> None:
        while not stop.is_set():
            answer = await g.chat()
            assert answer.status_code == 200
            seen.append((answer.headers["x-sluice-model"], answer.json()["model"]))
            await asyncio.sleep(0.005)

    async with FakeOpenAI() as fake, serve(tmp_path, policy(fake.url, "old")) as g:
        file = tmp_path / "policy.yaml"
        task = asyncio.create_task(load(g))
        await _until_seen(seen, ("old", "old"))
        file.write_text(policy(fake.url, "new"))
        await _until_seen(seen, ("new", "new"))
        file.write_text(policy(fake.url, "newer").replace("targets", "tragets"))
        refused = await _until_refusal(g)
        assert refused["status"] == "degraded"
        assert f"{file}:4" in g.log()
        file.write_text(policy(fake.url, "last"))
        await _until_seen(seen, ("last", "last"))
        assert (await g.ready())["policy_edit_refused"] is False
        stop.set()
        await task
    assert {*seen} == {("old", "old"), ("new", "new"), ("last", "last")}
    order = [model for index, (model, _) in enumerate(seen) if index == 0 or seen[index - 1][0] != model]
    assert order == ["old", "new", "last"]


async def _until_refusal(g: Served) -> dict[str, object]:
    until = monotonic() + LONG
    while True:
        told = await g.ready()
        if told["policy_edit_refused"]:
            return told
        assert monotonic() < until
        await asyncio.sleep(0.05)


async def _until_seen(seen: list[tuple[str, str]], wanted: tuple[str, str]) -> None:
    until = monotonic() + LONG
    while wanted not in seen:
        assert monotonic() < until, seen[-1]
        await asyncio.sleep(0.02)


async def test_killed_worker_comes_back(tmp_path: Path) -> None:
    """A worker that is killed is started again on the same socket; the orphaned call fails, the next is served."""
    async with FakeOpenAI() as fake, serve(tmp_path, policy(fake.url)) as g:
        worker = next(pid for pid, command in g.children().items() if "gateway.worker" in command)
        os.kill(worker, signal.SIGKILL)
        answer = await g.chat()
        assert answer.status_code == 200
        assert worker not in g.children()


async def test_killed_parent_leaves_no_orphans(tmp_path: Path) -> None:
    """When serve itself is killed, its children end too."""
    async with FakeOpenAI() as fake, serve(tmp_path, policy(fake.url)) as g:
        children = g.children()
        g.process.kill()
        await g.process.wait()
        until = monotonic() + LONG
        while left := [command for pid in children if (command := _command(pid))]:
            assert monotonic() < until, left
            await asyncio.sleep(0.1)


async def _refused(tmp_path: Path, *options: str) -> tuple[int, str]:
    """Run `sluice serve` where it must refuse: its status and what it says."""
    words = ["--state", str(tmp_path / "state"), "--admin-port", str(unused_port()), *options]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *("-m", "gateway.cli", "serve"), *words, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), LONG)
    assert process.returncode is not None
    return process.returncode, errors.decode()


async def test_refusals(tmp_path: Path) -> None:
    """What cannot be served is refused in one sentence that says what to do."""
    good = tmp_path / "policy.yaml"
    good.write_text("upstreams:\n  up: {url: 'http://127.0.0.1:9/v1'}\nmodels:\n  m: {targets: [{upstream: up}]}\n")
    (tmp_path / "bad.yaml").write_text("models: 1\n")
    nobody = unused_port()
    async with FakeOpenAI() as taken:
        answers = await asyncio.gather(
            _refused(tmp_path, "--policy", str(good), "--host", "0.0.0.0"),
            _refused(tmp_path, "--policy", str(good), "--workers", "2"),
            _refused(tmp_path, "--policy", str(good), "--port", str(taken.port)),
            _refused(tmp_path, "--policy", str(tmp_path / "bad.yaml")),
            _refused(tmp_path, "--policy", str(good), "--workers", "2", "--redis-url", f"redis://127.0.0.1:{nobody}"),
        )
        no_gguf = await _refused(tmp_path, "--policy", str(good), "--gguf", str(good), "--port", str(unused_port()))
    wanted = ["keys", "--redis-url", "Cannot listen", "bad.yaml:1", "cannot be reached", "not a GGUF file"]
    for (status, text), word in zip([*answers, no_gguf], wanted, strict=True):
        assert status == 2
        assert word in text
        assert "Traceback" not in text


async def test_one_gateway_a_state_folder(tmp_path: Path) -> None:
    """A second gateway in the same state folder is refused, and the first goes on."""
    async with FakeOpenAI() as fake, serve(tmp_path, policy(fake.url)) as first:
        other = tmp_path / "other.yaml"
        other.write_text(
            "upstreams:\n  up: {url: 'http://127.0.0.1:9/v1'}\nmodels:\n  m: {targets: [{upstream: up}]}\n"
        )
        status, text = await _refused(tmp_path, "--policy", str(other), "--port", str(unused_port()))
        assert status == 2
        assert "in use by process" in text
        assert (await first.chat()).status_code == 200
