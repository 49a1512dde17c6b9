"""A provider's upstream: the real litellm library against a local server that speaks Anthropic's format."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import struct
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterable
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from gateway import sse
from gateway.call import Call, Caller, Reply, Target
from gateway.errors import BadRequest, DeadlinePassed, UpstreamFailed
from gateway.telemetry.context import SpanIds
from gateway.trace import Attempt, Trace, Usage
from gateway.upstreams.providers.library import litellm
from gateway.upstreams.providers.upstream import WIRED, WIRED_EMBEDDINGS, ProviderUpstream, warm_up
from policies.model import Timeouts, Upstream
from tests.fakes.anthropic import TEXT, THINKING, TOOL, FakeAnthropic, Fault, error

KEY = "sk-ant-the-operators-secret"
MODEL = "claude-sonnet-4-20250514"
HELLO = [{"role": "user", "content": "a-private-prompt"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
# Events before the first word of TEXT: message_start, content_block_start, ping.
BEFORE_THE_FIRST_WORD = (0, 1, 2, 3)
AFTER_THE_FIRST_WORD = (4, 5, 6)


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """Let the library load its parts before a test counts seconds."""
    warm_up()


def upstream(url: str, *, first_byte: float = 20.0, idle: float = 20.0) -> ProviderUpstream:
    """An upstream of the provider `anthropic` at a fake server."""
    limits = Timeouts(connect=5, first_byte=first_byte, answer=first_byte, idle=idle)
    settings = Upstream(provider="anthropic", base=url, key=SecretStr(KEY), timeouts=limits)
    return ProviderUpstream("claude", settings)


def ask(endpoint: str = "chat", *, seconds: float = 30.0, model: str = MODEL, **body: Any) -> Call:
    """One call as the layers above pass it down."""
    now = asyncio.get_running_loop().time()
    body = {"model": "smart", **({"messages": HELLO} if endpoint == "chat" else {}), **body}
    raw = orjson.dumps(body)
    trace = Trace("id", 0, now)
    return Call(endpoint, "smart", raw, body, Caller("acme"), trace, now + seconds, (Target("claude", model),))


def chat(**body: Any) -> Call:
    """A chat call."""
    return ask("chat", **body)


async def read(reply: Reply) -> bytes:
    """Every byte of a reply."""
    return b"".join([frame async for frame in reply.frames])


def chunks(body: bytes) -> list[dict[str, Any]]:
    """The JSON of every event, `[DONE]` left out."""
    return [value for one in sse.events(body) if (value := sse.json_of(one)) is not None]


def text_of(events: Iterable[dict[str, Any]], name: str = "content") -> str:
    """The text that a client puts together."""
    return "".join(c["delta"].get(name) or "" for one in events for c in one.get("choices", ()))


def attempt_of(call: Call) -> Attempt:
    """The one attempt on record."""
    (attempt,) = call.trace.attempts
    return attempt


async def no_tasks_left() -> bool:
    """Say whether only the test's own task and the fake's are there, after the library's short ones had their turn."""
    for _ in range(50):
        others = [t for t in asyncio.all_tasks() if "FakeAnthropic" not in repr(t) and t is not asyncio.current_task()]
        if not others:
            return True
        await asyncio.sleep(0.01)
    return False


# Answers


async def test_plain_chat() -> None:
    """A plain answer comes back in OpenAI's format, asked with the policy's key and the target's model."""
    async with FakeAnthropic() as provider:
        call = chat(temperature=0.5, max_tokens=9)
        reply = await upstream(provider.url)(call)
        answer = json.loads(await read(reply))
    assert (reply.status, reply.headers) == (200, {"content-type": "application/json"})
    assert answer["object"] == "chat.completion"
    assert answer["model"] == MODEL
    assert answer["choices"][0]["message"]["content"] == TEXT["text"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    (asked,) = provider.requests
    assert asked.path == "/v1/messages"
    assert asked.headers["x-api-key"] == KEY
    assert (asked.body["model"], asked.body["temperature"], asked.body["max_tokens"]) == (MODEL, 0.5, 9)


async def test_streamed_chat_says_the_same_as_a_plain_one() -> None:
    """A stream is whole events in OpenAI's format, with the same text and end, and `[DONE]` at its end."""
    async with FakeAnthropic() as provider:
        reply = await upstream(provider.url)(chat(stream=True))
        frames = [frame async for frame in reply.frames]
    assert reply.status == 200
    assert reply.is_stream
    assert all(frame.startswith(b"data: ") and frame.endswith(b"\n\n") for frame in frames)
    assert frames[-1] == sse.DONE
    events = chunks(b"".join(frames))
    assert text_of(events) == TEXT["text"]
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [c["finish_reason"] for one in events for c in one["choices"]] == [None, None, "stop"]


@pytest.mark.parametrize("wanted", [True, False])
async def test_usage_chunk_only_for_those_who_asked(wanted: bool) -> None:  # noqa: FBT001 - a test's parameter
    """The provider's counts are recorded either way; the client gets them as one last chunk if it asked."""
    async with FakeAnthropic() as provider:
        call = chat(stream=True, stream_options={"include_usage": wanted})
        body = await read(await upstream(provider.url)(call))
    told = [one for one in chunks(body) if "usage" in one]
    assert len(told) == wanted
    if wanted:
        assert told[0]["choices"] == []
        assert told[0]["usage"]["prompt_tokens"] == 35
    assert attempt_of(call).usage == Usage(prompt=35, completion=15, cached=10)


@pytest.mark.parametrize("stream", [True, False])
async def test_attempt_is_recorded(stream: bool) -> None:  # noqa: FBT001 - a test's parameter
    """Status, times and usage of the attempt are on record, cached prompt tokens included."""
    async with FakeAnthropic() as provider:
        call = chat(stream=stream)
        await read(await upstream(provider.url)(call))
    attempt = attempt_of(call)
    assert (attempt.upstream, attempt.model, attempt.status, attempt.fault) == ("claude", MODEL, 200, "")
    assert attempt.first_byte is not None
    assert attempt.ended is not None
    assert attempt.started <= attempt.first_byte <= attempt.ended
    assert attempt.usage == Usage(prompt=35, completion=15, cached=10)


async def test_thinking_is_reasoning_content() -> None:
    """Thinking comes as `reasoning_content`, plain and streamed, and its tokens are told apart."""
    async with FakeAnthropic(THINKING, TEXT) as provider:
        call = chat(thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2048)
        plain = json.loads(await read(await upstream(provider.url)(call)))
        body = await read(await upstream(provider.url)(chat(stream=True)))
    assert provider.requests[0].body["thinking"]["budget_tokens"] == 1024
    assert plain["choices"][0]["message"]["reasoning_content"] == THINKING["thinking"]
    assert text_of(chunks(body), "reasoning_content") == THINKING["thinking"]
    assert text_of(chunks(body)) == TEXT["text"]
    usage = attempt_of(call).usage
    assert usage is not None
    assert usage.reasoning > 0


async def test_text_completions() -> None:
    """The completions endpoint is translated too, plain and streamed."""
    async with FakeAnthropic() as provider:
        claude = upstream(provider.url)
        plain = json.loads(await read(await claude(ask("completions", prompt="hi", max_tokens=5))))
        body = await read(await claude(ask("completions", prompt="hi", stream=True)))
    assert plain["object"] == "text_completion"
    assert plain["choices"][0]["text"] == TEXT["text"]
    assert "".join(c["text"] for one in chunks(body) for c in one["choices"]) == TEXT["text"]
    assert body.endswith(sse.DONE)


async def test_embeddings() -> None:
    """Embeddings come as lists, or as base64 for the clients that ask for it."""
    vector = [0.25, -1.0]

    def voyage(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert json.loads(request.content) == {"input": ["hi"], "model": "voyage-3"}
        data = [{"object": "embedding", "index": 0, "embedding": vector}]
        return httpx.Response(
            200, json={"object": "list", "data": data, "model": "voyage-3", "usage": {"total_tokens": 3}}
        )

    settings = Upstream(provider="voyage", base="http://voyage.test", key=SecretStr(KEY))
    voyager = ProviderUpstream("voyager", settings, pool=httpx.MockTransport(voyage))
    plain = json.loads(await read(await voyager(ask("embeddings", model="voyage-3", input=["hi"]))))
    call = ask("embeddings", model="voyage-3", input=["hi"], encoding_format="base64")
    coded = json.loads(await read(await voyager(call)))
    assert plain["data"][0]["embedding"] == vector
    assert list(struct.unpack("<2f", b64decode(coded["data"][0]["embedding"]))) == vector


async def test_endpoint_the_provider_lacks() -> None:
    """Embeddings asked of a provider without them are the client's mistake."""
    async with FakeAnthropic() as provider:
        reply = await upstream(provider.url)(ask("embeddings", input=["hi"]))
    assert reply.status == 400
    assert json.loads(await read(reply))["error"]["type"] == "invalid_request_error"
    assert provider.requests == []


# Tools


async def test_tool_call_plain() -> None:
    """A tool call comes back as OpenAI's, its arguments as a JSON string."""
    async with FakeAnthropic(TEXT, TOOL) as provider:
        answer = json.loads(await read(await upstream(provider.url)(chat(tools=[WEATHER], tool_choice="auto"))))
    choice = answer["choices"][0]
    (tool,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert (tool["id"], tool["type"], tool["function"]["name"]) == ("toolu_1", "function", "get_weather")
    assert json.loads(tool["function"]["arguments"]) == TOOL["input"]
    (asked,) = provider.requests
    assert asked.body["tools"][0]["name"] == "get_weather"
    assert asked.body["tools"][0]["input_schema"] == WEATHER["function"]["parameters"]  # type: ignore[index]


async def test_tool_calls_streamed() -> None:
    """Streamed arguments of parallel tool calls, put together by index, are the JSON the provider made."""
    other = {**TOOL, "id": "toolu_2", "input": {"city": "Rome"}}
    async with FakeAnthropic(TEXT, TOOL, other) as provider:
        body = await read(await upstream(provider.url)(chat(stream=True, tools=[WEATHER])))
    arguments: dict[int, str] = {}
    ids: dict[int, str] = {}
    for one in chunks(body):
        for choice in one["choices"]:
            for tool in choice["delta"].get("tool_calls", ()):
                arguments[tool["index"]] = arguments.get(tool["index"], "") + tool["function"]["arguments"]
                ids[tool["index"]] = ids.get(tool["index"]) or tool["id"]
    assert [json.loads(text) for _, text in sorted(arguments.items())] == [TOOL["input"], other["input"]]
    assert [name for _, name in sorted(ids.items())] == ["toolu_1", "toolu_2"]
    assert chunks(body)[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_tool_result_goes_in() -> None:
    """A conversation with a tool call and its result reaches the provider in its own format."""
    tool = {"id": "toolu_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [tool]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "22 degrees"},
    ]
    async with FakeAnthropic() as provider:
        await read(await upstream(provider.url)(chat(messages=messages, tools=[WEATHER])))
    said = provider.requests[0].body["messages"]
    assert said[1]["content"][0]["type"] == "tool_use"
    assert said[1]["content"][0]["input"] == {"city": "Paris"}
    assert (said[2]["content"][0]["type"], said[2]["content"][0]["tool_use_id"]) == ("tool_result", "toolu_1")


# Faults before the first word


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("status", status=429, headers={"retry-after": "7"}, body=error("rate_limit_error", "slow")), "http_429"),
        (Fault("status", status=500, body=error("api_error", "oops")), "http_500"),
        (Fault("status", status=503, body=b"<html>"), "http_503"),
        (Fault("status", status=529, body=error("overloaded_error", "Overloaded")), "http_529"),
        (Fault("status", status=401, body=error("authentication_error", f"{KEY} is no key")), "auth"),
        (Fault("status", status=403, body=error("permission_error", "no")), "auth"),
        (Fault("status", status=404, body=b"<html>nginx</html>"), "garbage"),
        (Fault("status", status=200, body=b"<html>", headers={"content-type": "text/html"}), "garbage"),
        (Fault("status", status=200, body=b'{"half":'), "garbage"),
        (Fault("status", status=200, body=b"[]"), "garbage"),
        (Fault("raw", body=b"SSH-2.0-OpenSSH\r\n\r\n"), "garbage"),
        (Fault("raw", body=b""), "cut"),
        (Fault("cut", after=1), "cut"),
    ],
)
async def test_failed_upstream(fault: Fault, expected: str, stream: bool) -> None:  # noqa: FBT001 - a test's parameter
    """A provider's own fault is raised for failover, asked once, named on record, and its status kept."""
    async with FakeAnthropic(fault=fault) as provider:
        call = chat(stream=stream)
        with pytest.raises(UpstreamFailed) as caught:
            await upstream(provider.url)(call)
    assert caught.value.fault == attempt_of(call).fault == expected
    status = int(expected.removeprefix("http_")) if expected.startswith("http_") else 502
    assert caught.value.status == status
    assert caught.value.retry_after == (7.0 if expected == "http_429" else None)
    assert attempt_of(call).first_byte is None
    assert attempt_of(call).ended is not None
    assert len(provider.requests) == 1, "the library must not repeat a request"
    assert KEY not in str(caught.value)


async def test_nobody_listens() -> None:
    """A refused connection is a fault of connecting, and costs nothing."""
    async with FakeAnthropic() as provider:
        url = provider.url
    call = chat()
    with pytest.raises(UpstreamFailed) as caught:
        await upstream(url)(call)
    assert caught.value.fault == "connect"
    assert attempt_of(call).usage is None


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """The key never goes where a provider's answer points."""
    async with FakeAnthropic() as elsewhere:
        fault = Fault("status", status=status, headers={"location": f"{elsewhere.url}/v1/messages"})
        async with FakeAnthropic(fault=fault) as provider:
            with pytest.raises(UpstreamFailed) as caught:
                await upstream(provider.url)(chat())
    assert caught.value.fault == "redirect"
    assert elsewhere.connections == 0


async def test_refused_credentials_are_not_the_clients_matter() -> None:
    """What a provider says about our key is not shown."""
    fault = Fault("status", status=401, body=error("authentication_error", "invalid x-api-key sk-ant-..."))
    async with FakeAnthropic(fault=fault) as provider:
        with pytest.raises(UpstreamFailed) as caught:
            await upstream(provider.url)(chat())
    assert "x-api-key" not in caught.value.message
    assert caught.value.status == 502


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_clients_own_mistake(status: int, stream: bool) -> None:  # noqa: FBT001 - a test's parameter
    """What the provider says of the request goes back with its status in OpenAI's envelope, the key removed."""
    fault = Fault("status", status=status, body=error("invalid_request_error", f"max_tokens: too large ({KEY})"))
    async with FakeAnthropic(fault=fault) as provider:
        call = chat(stream=stream)
        reply = await upstream(provider.url)(call)
        told = json.loads(await read(reply))["error"]
    assert reply.status == status
    assert reply.headers["content-type"] == "application/json"
    assert told["message"] == "max_tokens: too large ([removed])"
    assert told["type"] == "invalid_request_error"
    assert attempt_of(call).fault == ""


@pytest.mark.parametrize(
    "messages", [[{"role": "user", "content": [{"type": "nonsense"}]}], [{"role": "user", "content": 7}]]
)
async def test_what_cannot_be_translated_is_the_clients(messages: list[Any]) -> None:
    """A request that the library cannot translate is a 400, not a provider's fault, and quotes nothing."""
    async with FakeAnthropic() as provider:
        reply = await upstream(provider.url)(chat(messages=messages))
        body = await read(reply)
    assert reply.status == 400
    assert b"Traceback" not in body
    assert provider.requests == []


async def test_unknown_field_is_no_attempt() -> None:
    """A field that cannot be passed on is refused before anybody is asked."""
    async with FakeAnthropic() as provider:
        call = chat(guided_json={})
        with pytest.raises(BadRequest, match="guided_json"):
            await upstream(provider.url)(call)
    assert call.trace.attempts == []
    assert provider.connections == 0


# Faults at each place of a stream


@pytest.mark.parametrize("after", BEFORE_THE_FIRST_WORD)
@pytest.mark.parametrize("kind", ["cut", "end", "error_event", "garbage_event"])
async def test_fault_before_the_first_word_can_be_mended(kind: str, after: int) -> None:
    """While the client has seen nothing, another upstream may be asked."""
    async with FakeAnthropic(fault=Fault(kind, after=after)) as provider:
        with pytest.raises(UpstreamFailed) as caught:
            await upstream(provider.url)(chat(stream=True))
    assert caught.value.fault == ("error_in_stream" if kind == "error_event" else "cut")
    assert len(provider.requests) == 1


@pytest.mark.parametrize("after", AFTER_THE_FIRST_WORD)
@pytest.mark.parametrize("kind", ["cut", "end", "error_event", "garbage_event"])
async def test_fault_after_the_first_word_is_one_honest_error(kind: str, after: int) -> None:
    """What was said stays, nothing is said twice; one error event ends the stream, without `[DONE]` or a finish."""
    async with FakeAnthropic(fault=Fault(kind, after=after)) as provider:
        call = chat(stream=True)
        events = chunks(body := await read(await upstream(provider.url)(call)))
    assert b"[DONE]" not in body
    assert [index for index, one in enumerate(events) if "error" in one] == [len(events) - 1]
    assert events[-1]["error"]["type"] == "upstream_error"
    assert TEXT["text"].startswith(text_of(events))
    assert text_of(events)
    assert not any(c["finish_reason"] for one in events for c in one.get("choices", ()))
    attempt = attempt_of(call)
    assert attempt.fault == ("error_in_stream" if kind == "error_event" else "cut")
    assert attempt.usage is not None
    assert attempt.usage.estimated
    assert (attempt.usage.prompt, attempt.usage.cached) == (35, 10)


async def test_end_after_the_finish_reason_is_whole() -> None:
    """A connection that breaks when everything was said takes nothing from the answer."""
    async with FakeAnthropic(fault=Fault("cut", after=7)) as provider:
        call = chat(stream=True)
        body = await read(await upstream(provider.url)(call))
    assert body.endswith(sse.DONE)
    assert attempt_of(call).fault == ""


# Deadlines


@pytest.mark.parametrize("after", BEFORE_THE_FIRST_WORD)
async def test_first_byte_has_a_limit(after: int) -> None:
    """A provider that says no word in time is left, and sees that we are gone."""
    async with FakeAnthropic(fault=Fault("stall", after=after)) as provider:
        call = chat(stream=True)
        with pytest.raises(UpstreamFailed) as caught:
            await upstream(provider.url, first_byte=0.3)(call)
        await asyncio.wait_for(provider.left.wait(), 5)
    assert (caught.value.fault, caught.value.status) == ("timeout", 504)
    assert attempt_of(call).fault == "timeout"


async def test_plain_answer_has_a_limit() -> None:
    """A plain answer that does not come is left too; the provider has had the prompt."""
    async with FakeAnthropic(fault=Fault("stall")) as provider:
        call = chat()
        with pytest.raises(UpstreamFailed) as caught:
            await upstream(provider.url, first_byte=0.3)(call)
        await asyncio.wait_for(provider.left.wait(), 5)
    assert caught.value.fault == "timeout"
    usage = attempt_of(call).usage
    assert usage is not None
    assert usage.estimated
    assert usage.prompt > 0


async def test_silence_in_the_middle_has_a_limit() -> None:
    """A provider that falls silent ends the stream with one error, and is cut off."""
    async with FakeAnthropic(fault=Fault("stall", after=5)) as provider:
        call = chat(stream=True)
        body = await read(await upstream(provider.url, idle=0.3)(call))
        await asyncio.wait_for(provider.left.wait(), 5)
    assert chunks(body)[-1]["error"]["code"] == "upstream_stall"
    assert attempt_of(call).fault == "stall"


@pytest.mark.parametrize("stream", [True, False])
async def test_deadline_of_the_call(stream: bool) -> None:  # noqa: FBT001 - a test's parameter
    """The call's own deadline is kept, and is not the provider's fault."""
    async with FakeAnthropic(fault=Fault("stall")) as provider:
        with pytest.raises(DeadlinePassed):
            await upstream(provider.url)(chat(stream=stream, seconds=0.3))
        await asyncio.wait_for(provider.left.wait(), 5)


async def test_deadline_of_the_call_in_the_middle() -> None:
    """A deadline that passes in the middle of a stream ends it with one error."""
    async with FakeAnthropic(fault=Fault("stall", after=5)) as provider:
        call = chat(stream=True, seconds=0.5)
        body = await read(await upstream(provider.url)(call))
    assert chunks(body)[-1]["error"]["code"] == "upstream_deadline"
    assert attempt_of(call).fault == "deadline"


# Clients that leave


@pytest.mark.parametrize("stream", [True, False])
async def test_client_leaves_before_the_answer(stream: bool) -> None:  # noqa: FBT001 - a test's parameter
    """Cancellation reaches the provider at once and comes back as cancellation; nothing stays behind."""
    async with FakeAnthropic(fault=Fault("stall")) as provider:
        call = chat(stream=stream)
        task = asyncio.create_task(_run(upstream(provider.url), call))
        await asyncio.wait_for(provider.stalled.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(provider.left.wait(), 1)
        assert await no_tasks_left()
    attempt = attempt_of(call)
    assert attempt.ended is not None
    assert attempt.usage is not None
    assert attempt.usage.estimated
    assert attempt.usage.prompt > 0


async def test_client_leaves_while_it_waits_for_the_next_chunk() -> None:
    """Cancellation in the middle of a stream cuts the provider off, and the use so far is on record."""
    async with FakeAnthropic(fault=Fault("stall", after=5)) as provider:
        call = chat(stream=True)
        task = asyncio.create_task(read(await upstream(provider.url)(call)))
        await asyncio.wait_for(provider.stalled.wait(), 10)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(provider.left.wait(), 1)
        assert await no_tasks_left()
    attempt = attempt_of(call)
    assert attempt.fault == ""
    assert attempt.usage is not None
    assert attempt.usage.estimated
    assert attempt.usage.completion > 0


@pytest.mark.parametrize("frames", [0, 1])
async def test_reply_closed_early(frames: int) -> None:
    """Closing a reply, read in part or not at all, cuts the provider off; closing it twice is safe."""
    async with FakeAnthropic(fault=Fault("stall", after=5)) as provider:
        call = chat(stream=True)
        reply = await upstream(provider.url)(call)
        for _ in range(frames):
            await anext(reply.frames)
        await reply.close()
        await asyncio.wait_for(provider.left.wait(), 1)
        await reply.close()
        assert await no_tasks_left()
    assert attempt_of(call).ended is not None


async def test_reply_closed_while_another_task_reads() -> None:
    """A stream closed under its reader ends without an error event."""
    async with FakeAnthropic(fault=Fault("stall", after=5)) as provider:
        reply = await upstream(provider.url, idle=1.0)(chat(stream=True))
        reader = asyncio.create_task(read(reply))
        await asyncio.wait_for(provider.stalled.wait(), 10)
        await asyncio.sleep(0.05)
        await reply.close()
        await asyncio.wait_for(provider.left.wait(), 1)
        assert b"error" not in await reader


async def test_connection_is_kept_for_the_next_call() -> None:
    """Whole answers, plain and streamed, leave their connection to the next call."""
    async with FakeAnthropic() as provider:
        claude = upstream(provider.url)
        for stream in (False, True, False):
            await read(await claude(chat(stream=stream)))
        assert provider.connections == 1
        await claude.aclose()


async def test_closed_upstream_holds_no_connection() -> None:
    """Closing needs no await, as the catalog closes it, and gives every connection back."""
    async with FakeAnthropic() as provider:
        claude = upstream(provider.url)
        await read(await claude(chat()))
        claude.close()
        assert await no_tasks_left()
        await read(await claude(chat()))
        assert provider.connections == 2
        claude.close()
        assert await no_tasks_left()


async def test_calls_at_the_same_time_do_not_mix() -> None:
    """Calls share connections, never state."""
    async with FakeAnthropic() as provider:
        claude = upstream(provider.url)
        calls = [chat(stream=True) for _ in range(8)]
        bodies = await asyncio.gather(*(_run(claude, call) for call in calls))
        assert await no_tasks_left()
        await claude.aclose()
    assert {text_of(chunks(body)) for body in bodies} == {TEXT["text"]}
    assert [attempt_of(call).usage for call in calls] == [Usage(prompt=35, completion=15, cached=10)] * 8


async def _run(handler: ProviderUpstream, call: Call) -> bytes:
    return await read(await handler(call))


# What stays inside


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", [None, Fault("status", status=401, body=error("x", KEY)), Fault("cut", after=5)])
async def test_secrets_and_prompts_stay_out_of_logs(
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    fault: Fault | None,
    stream: bool,  # noqa: FBT001 - a test's parameter
) -> None:
    """Even at DEBUG neither key, prompt nor answer is logged or printed, whether the call goes well or not."""
    caplog.set_level(logging.DEBUG)
    async with FakeAnthropic(fault=fault) as provider:
        claude = upstream(provider.url)
        with contextlib.suppress(UpstreamFailed):
            await read(await claude(chat(stream=stream)))
        await claude.aclose()
    printed = capfd.readouterr()
    for text in (caplog.text, printed.out, printed.err):
        assert KEY not in text
        assert "a-private-prompt" not in text
        assert "Hello" not in text


async def test_further_headers_are_sent_and_never_shown() -> None:
    """Headers from the policy reach the provider; their values are removed from what it says."""
    fault = Fault("status", status=400, body=error("x", "header was hidden-value-1234"))
    async with FakeAnthropic(fault=fault) as provider:
        settings = Upstream(
            provider="anthropic",
            base=provider.url,
            key=SecretStr(KEY),
            headers={"x-team": SecretStr("hidden-value-1234")},
        )
        body = await read(await ProviderUpstream("claude", settings)(chat()))
    assert provider.requests[0].headers["x-team"] == "hidden-value-1234"
    assert b"hidden-value" not in body


TRICKS: dict[str, Any] = {
    "api_base": "URL",
    "base_url": "URL",
    "api_key": "sk-the-clients",
    "custom_llm_provider": "openai",
    "extra_body": {"api_base": "URL"},
    "extra_headers": {"x-api-key": "sk-the-clients"},
    "headers": {"x-api-key": "sk-the-clients"},
    "model_list": [{"model_name": "smart", "litellm_params": {"model": "anthropic/x", "api_base": "URL"}}],
    "fallbacks": [{"model": "anthropic/x", "api_base": "URL"}],
    "mock_response": "mocked",
    "timeout": 1e9,
    "litellm_params": {"api_base": "URL"},
    "vertex_project": "theirs",
    "aws_bedrock_runtime_endpoint": "URL",
}


@pytest.mark.parametrize("name", sorted(TRICKS))
async def test_no_field_chooses_host_or_key(name: str) -> None:
    """Fields that mean something to the library open no connection, to our provider or to anybody else."""
    async with FakeAnthropic() as elsewhere, FakeAnthropic() as provider:
        value = json.loads(json.dumps(TRICKS[name]).replace("URL", elsewhere.url))
        with pytest.raises(BadRequest):
            await upstream(provider.url)(chat(**{name: value}))
    assert elsewhere.connections == provider.connections == 0


async def test_metadata_routes_nothing() -> None:
    """`metadata`, which OpenAI's clients do send, reaches neither the library's routing nor the provider."""
    async with FakeAnthropic() as elsewhere, FakeAnthropic() as provider:
        metadata = {"api_base": elsewhere.url, "model_group": "x", "user_api_key": "y"}
        reply = await upstream(provider.url)(chat(metadata=metadata))
    assert reply.status == 200
    assert elsewhere.connections == 0
    assert "model_group" not in json.dumps(provider.requests[0].body)
    assert provider.requests[0].body["model"] == MODEL


@pytest.mark.parametrize(
    ("endpoint", "provider"),
    [*(("chat", name) for name in sorted(WIRED)), *(("embeddings", name) for name in sorted(WIRED_EMBEDDINGS))],
)
async def test_wired_providers_use_our_connections(endpoint: str, provider: str) -> None:
    """Providers said to be asked over our own connections are, once, with the policy's key and host."""
    seen: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(429, json={"error": {"message": "slow down"}}, headers={"retry-after": "3"})

    settings = Upstream(provider=provider, base="http://provider.test", key=SecretStr(KEY))
    handler = ProviderUpstream("it", settings, pool=httpx.MockTransport(refuse))
    model = "amazon.titan-embed-text-v2:0" if endpoint == "embeddings" else "anthropic.claude-3-sonnet-20240229-v1:0"
    body: dict[str, Any] = {} if endpoint == "chat" else {"input": ["x"]}
    call = ask(endpoint, model=model if provider == "bedrock" else "some-model", **body)
    with pytest.raises(UpstreamFailed) as caught:
        await handler(call)
    assert (caught.value.fault, caught.value.retry_after) == ("http_429", 3.0)
    (request,) = seen
    assert request.url.host == "provider.test"
    assert KEY in " ".join(request.headers.values())


def test_library_fetched_no_price_map() -> None:
    """The library's own fetches at import are off."""
    source = sys.modules["litellm.litellm_core_utils.get_model_cost_map"].get_model_cost_map_source_info()
    assert source["source"] == "local"
    assert litellm.callbacks == []
    assert set(litellm.success_callback) <= {"cache"}  # what its own import of Google's providers leaves there, unused
    assert litellm.cache is None


def test_library_is_not_imported_without_a_provider() -> None:
    """The other upstreams do not load the library."""
    code = "import sys, gateway.upstreams.openai; sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_upstream_without_a_provider_is_refused() -> None:
    """An upstream of another kind cannot be built into this one."""
    with pytest.raises(ValueError, match="names no provider"):
        ProviderUpstream("x", Upstream(url="http://localhost:1/v1"))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_traced_call_tells_the_provider(stream: bool) -> None:  # noqa: FBT001 - a test's parameter
    """Where calls are traced, the provider gets the id of its attempt's span beside the policy's headers."""
    async with FakeAnthropic() as provider:
        call = chat(stream=stream)
        call.trace.span = SpanIds(5, 0x70000, None, is_sampled=True)
        await read(await upstream(provider.url)(call))
    (asked,) = provider.requests
    assert asked.headers["traceparent"] == "00-00000000000000000000000000000005-0000000000070001-01"
