"""Streams of several providers and engines, replayed through the real data plane to the unmodified `openai` package."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from gateway import sse
from tests.fakes.openai import Act, FakeOpenAI
from tests.fakes.stand import gateway

RECORDINGS = {path.stem: path for path in sorted((Path(__file__).parent / "recordings").glob("*.sse"))}
ASKED_AS = {"model-x": "vendor/model-x"}
MESSAGES: Any = [{"role": "user", "content": "Hello"}]


def replayed(name: str, piece: int = 0) -> Act:
    """The answer of a server that sends this recording, `piece` bytes at a time."""
    body = RECORDINGS[name].read_bytes()
    pieces = [body[at : at + piece] for at in range(0, len(body), piece)] if piece else [body]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return Act("raw", body=head + chunks + b"0\r\n\r\n", pace=0.05)


def accumulated(stream: bytes) -> dict[str, Any]:
    """What a stream says in all: text, reasoning, refusals, tool calls and log-probabilities by choice, and usage."""
    told: dict[str, Any] = {}
    for event in sse.events(stream):
        chunk = sse.json_of(event)
        for choice in (chunk or {}).get("choices", []):
            for name, value in [*choice["delta"].items(), *(choice.get("logprobs") or {}).items()]:
                if value is not None and name != "role":
                    told.setdefault(f"{choice['index']}.{name}", []).append(value)
    return told


@pytest.mark.parametrize("piece", [0, 7, 64])
@pytest.mark.parametrize("name", sorted(RECORDINGS))
async def test_nothing_is_lost(tmp_path: Path, name: str, piece: int) -> None:
    """However the bytes are cut, the client gets every event of the recording but the usage it did not ask for."""
    async with FakeOpenAI(always=replayed(name, piece)) as fake, gateway(tmp_path, policy(fake, name)) as stand:
        answer = await stand.chat(ASKED_AS.get(name, name), stream=True)
    recorded = RECORDINGS[name].read_bytes()
    assert accumulated(answer.content) == accumulated(recorded)
    assert answer.content.rstrip().endswith(b"data: [DONE]")
    only_usage = [event for event in sse.events(answer.content) if (sse.json_of(event) or {}).get("choices") == []]
    assert only_usage == []


@pytest.mark.parametrize("name", sorted(RECORDINGS))
async def test_usage_is_recorded(tmp_path: Path, name: str) -> None:
    """The record has the tokens the recording reports, the last of them where they are cumulative."""
    reported = [(sse.json_of(event) or {}).get("usage") for event in sse.events(RECORDINGS[name].read_bytes())]
    last = next((usage for usage in reversed(reported) if usage), None)
    async with FakeOpenAI(always=replayed(name)) as fake, gateway(tmp_path, policy(fake, name)) as stand:
        await stand.chat(ASKED_AS.get(name, name), stream=True)
        trace = await stand.journal.next()
    assert trace.usage.estimated == (last is None)
    if last is not None:
        assert (trace.usage.prompt, trace.usage.completion) == (last["prompt_tokens"], last["completion_tokens"])


async def test_auto_tools_through_the_package(tmp_path: Path) -> None:
    """Two parallel tool calls that the model chose by itself reach the package whole."""
    weather = {"name": "get_weather", "parameters": {"type": "object"}, "strict": True}
    tools: Any = [{"type": "function", "function": weather}]
    async with (
        FakeOpenAI(always=replayed("gpt-4o", 50)) as fake,
        gateway(tmp_path, policy(fake, "gpt-4o")) as stand,
        AsyncOpenAI(base_url=f"http://127.0.0.1:{stand.port}/v1", api_key="unused", max_retries=0) as client,
        client.chat.completions.stream(model="gpt-4o", messages=MESSAGES, tools=tools, tool_choice="auto") as stream,
    ):
        final = await asyncio.wait_for(stream.get_final_completion(), 10)
    calls = final.choices[0].message.tool_calls or []
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Paris", "Rome"]
    assert final.choices[0].finish_reason == "tool_calls"


def policy(fake: FakeOpenAI, name: str) -> str:
    """A policy with the fake as the only upstream."""
    model = ASKED_AS.get(name, name)
    return f'upstreams:\n  up: {{url: "{fake.url}"}}\nmodels:\n  "{model}": {{targets: [{{upstream: up}}]}}\n'
