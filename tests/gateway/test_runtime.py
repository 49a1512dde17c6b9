"""The policy in force: reloads are whole or not at all, and nothing that is in use is closed."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from gateway.auth import Gate
from gateway.call import Caller
from gateway.errors import BadRequest, Forbidden, UnknownModel
from gateway.runtime import PolicyRefused, Runtime
from policies.loader import LoadedPolicy, load
from tests.fakes.openai import WORDS, Act, FakeOpenAI
from tests.fakes.stand import ENV, MESSAGES, gateway, said

ONE = "upstreams:\n  one: {url: 'http://127.0.0.1:9/v1'}\nmodels:\n  m: {targets: [{upstream: one}]}\n"
TWO = "upstreams:\n  one: {url: 'http://127.0.0.1:9/v1'}\n  two: {url: 'http://127.0.0.1:8/v1'}\n" + (
    "models:\n  m: {targets: [{upstream: one}, {upstream: two}]}\n"
)
KEYED = ONE + "keys:\n  - {name: k, key: '${KEY_A}', tenant: t, models: ['x*']}\n"


def loaded(folder: Path, text: str) -> LoadedPolicy:
    """A policy, loaded."""
    path = folder / "policy.yaml"
    path.write_text(text)
    return load(path, ENV)


def tools(runtime: Runtime) -> int:
    """How many tools are open, the caches aside."""
    return sum(key[0] != "caches" for key in runtime._tools._tools if isinstance(key, tuple))


async def test_unchanged_tools_are_kept(tmp_path: Path) -> None:
    """A reload keeps the pool and the breaker of an upstream that did not change, and opens what is new."""
    runtime = Runtime(tmp_path, tmp_path)
    await runtime.load(loaded(tmp_path, ONE))
    before = runtime.pipeline.stations["one"]
    await runtime.load(loaded(tmp_path, TWO))
    assert runtime.pipeline.stations["one"] is before
    assert tools(runtime) == 2
    await runtime.load(loaded(tmp_path, ONE))
    assert runtime.pipeline.stations["one"] is before
    assert tools(runtime) == 1
    runtime.close()
    assert tools(runtime) == 0


@pytest.mark.parametrize(
    "change", ["timeouts: {idle: 7s}", "key: '${KEY_A}'", "headers: {x-a: '${KEY_A}'}", "stream_usage: false"]
)
async def test_changed_tools_are_new(change: str, tmp_path: Path) -> None:
    """Any change to an upstream gives it a new pool and a new breaker."""
    runtime = Runtime(tmp_path, tmp_path)
    await runtime.load(loaded(tmp_path, ONE))
    before = runtime.pipeline.stations["one"]
    await runtime.load(loaded(tmp_path, ONE.replace("/v1'}", f"/v1', {change}}}")))
    assert runtime.pipeline.stations["one"] is not before
    assert tools(runtime) == 1


async def test_the_caches_are_a_tool(tmp_path: Path) -> None:
    """A reload keeps the caches unless their own settings changed, and the last one to go closes them."""
    runtime = Runtime(tmp_path, tmp_path)
    await runtime.load(loaded(tmp_path, ONE))
    before = runtime.pipeline.caches
    await runtime.load(loaded(tmp_path, TWO + "rules:\n  - {name: r, cache: {ttl: 1s}}\n"))
    assert runtime.pipeline.caches is before
    await runtime.load(loaded(tmp_path, TWO + "cache: {memory: 10MB}\n"))
    assert runtime.pipeline.caches is not before
    await runtime.aclose()
    assert len(runtime._tools) == 0


async def test_a_failing_compile_gives_everything_back(tmp_path: Path) -> None:
    """A policy that cannot be compiled leaves the old one in force, and no tool behind."""
    runtime = Runtime(tmp_path, tmp_path)
    await runtime.load(loaded(tmp_path, ONE))
    before = runtime.pipeline
    (tmp_path / "ca.pem").write_text("no certificate\n")
    bad = TWO.replace("url: 'http://127.0.0.1:8/v1'", "url: 'https://127.0.0.1:8/v1', ca: ca.pem")
    with pytest.raises(ssl.SSLError):
        await runtime.load(loaded(tmp_path, bad))
    assert runtime.pipeline is before
    assert tools(runtime) == 1


async def test_pipelines_live_as_long_as_their_calls(tmp_path: Path) -> None:
    """A replaced pipeline keeps its tools until its last call has left."""
    runtime = Runtime(tmp_path, tmp_path)
    await runtime.load(loaded(tmp_path, TWO))
    first, second = runtime.enter(), runtime.enter()
    await runtime.load(loaded(tmp_path, ONE))
    third = runtime.enter()
    assert (tools(runtime), runtime.calls, third is first) == (2, 3, False)
    runtime.leave(first)
    assert tools(runtime) == 2
    runtime.leave(second)
    assert tools(runtime) == 1
    runtime.close()
    assert tools(runtime) == 1
    runtime.leave(third)
    assert (tools(runtime), runtime.calls) == (0, 0)


async def test_many_reloads_leak_nothing(tmp_path: Path) -> None:
    """A hundred reloads, with calls across them, leave the tools of the last policy and no others."""
    runtime = Runtime(tmp_path, tmp_path)
    await runtime.load(loaded(tmp_path, ONE))
    for number in range(100):
        under_way = runtime.enter()
        await runtime.load(loaded(tmp_path, ONE.replace("/v1", f"/v{number}")))
        runtime.leave(under_way)
    assert tools(runtime) == 1


async def test_keys_are_needed_beyond_this_machine(tmp_path: Path) -> None:
    """Where others can reach the gateway, a policy without keys does not come into force."""
    runtime = Runtime(tmp_path, tmp_path, needs_keys=True)
    await runtime.load(loaded(tmp_path, KEYED.replace("'x*'", "m")))
    before = runtime.pipeline
    with pytest.raises(PolicyRefused, match="there must be keys"):
        await runtime.load(loaded(tmp_path, ONE))
    assert runtime.pipeline is before


async def test_an_engine_that_is_not_ready(tmp_path: Path) -> None:
    """A policy whose engine is not ready in time is refused; at the start it is taken, and said to be waiting."""
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    engine = "upstreams:\n  one: {engine: llama.cpp, gguf: m.gguf}\nmodels:\n  m: {targets: [{upstream: one}]}\n"
    runtime = Runtime(tmp_path / "state", tmp_path)
    await runtime.load(loaded(tmp_path, ONE))
    with pytest.raises(PolicyRefused, match="not ready within"):
        await runtime.load(loaded(tmp_path, engine), wait_for_engines=0.05)
    assert runtime.engines_waiting() == []
    await runtime.load(loaded(tmp_path, engine))
    assert runtime.engines_waiting() == ["one"]


async def test_ways(tmp_path: Path) -> None:
    """A kind of call is compiled once; who may not use a model is told so even after others have."""
    runtime = Runtime(tmp_path, tmp_path)
    text = TWO.replace("two}]}", "two}]}\n  talk: {targets: [{upstream: one}], serves: [chat]}")
    await runtime.load(loaded(tmp_path, text + "rules:\n  - {name: r, match: {model: talk}}\n"))
    pipeline, anyone = runtime.pipeline, Caller("t")
    assert pipeline.way(anyone, "m", "chat") is pipeline.way(anyone, "m", "chat")
    assert pipeline.way(anyone, "m", "chat").rule.name == "default"
    assert pipeline.way(anyone, "talk", "chat").rule.name == "r"
    with pytest.raises(UnknownModel, match="There are: m, talk"):
        pipeline.way(anyone, "x", "chat")
    with pytest.raises(BadRequest, match="serves chat, not embeddings"):
        pipeline.way(anyone, "talk", "embeddings")
    with pytest.raises(Forbidden):
        pipeline.way(Caller("t", "k", frozenset({"m"})), "talk", "chat")


async def test_refusals_are_remembered(tmp_path: Path) -> None:
    """Why an edit was refused is remembered until one is taken."""
    runtime = Runtime(tmp_path, tmp_path)
    with pytest.raises(RuntimeError):
        runtime.enter()
    runtime.refuse("policy.yaml:3: no")
    assert (runtime.last_refusal, runtime.reloads) == ("policy.yaml:3: no", {"ok": 0, "refused": 1})
    runtime.accept()
    assert (runtime.last_refusal, runtime.reloads) == (None, {"ok": 1, "refused": 1})


async def test_a_stream_outlives_its_policy(tmp_path: Path) -> None:
    """A stream that runs while its upstream is edited away ends whole; its pool is closed after it."""

    def policy(url: str) -> str:
        return f"upstreams:\n  up: {{url: '{url}'}}\nmodels:\n  m: {{targets: [{{upstream: up}}]}}\n"

    async with (
        FakeOpenAI(always=Act(pace=0.02)) as old,
        FakeOpenAI() as new,
        gateway(tmp_path, policy(old.url)) as g,
    ):
        body: dict[str, Any] = {"model": "m", "messages": MESSAGES, "stream": True}
        async with g.client.stream("POST", "/v1/chat/completions", json=body) as answer:
            chunks = answer.aiter_text()
            text = await anext(chunks)
            await g.reload(policy(new.url))
            assert tools(g.runtime) == 2
            text += "".join([chunk async for chunk in chunks])
        assert said(text) == "".join(WORDS)
        assert (await g.chat()).status_code == 200
        assert len(new.requests) == 1
        await g.journal.next()
        assert tools(g.runtime) == 1
        await old.until(open_at_most=0)
        await asyncio.sleep(0)


def test_gate_without_keys_is_keyless() -> None:
    """A gate without keys serves this machine; one with keys does not know anyone else."""
    assert Gate([], []).is_keyless
