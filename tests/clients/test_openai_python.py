"""The unmodified `openai` Python package against the real gateway and the real embedded engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.running import Gateway

QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def client(served: Gateway) -> Iterator[OpenAI]:
    """The package's synchronous client; only its base URL is ours."""
    with OpenAI(base_url=served.base_url, api_key="unused", max_retries=0, timeout=60) as client:
        yield client


def test_answers_a_plain_call(client: OpenAI) -> None:
    """A chat call is answered by the model asked for, with usage."""
    answer = client.chat.completions.create(model="sluice-small", messages=QUESTION)
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.model == "sluice-small"
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_streams(client: OpenAI) -> None:
    """A streamed answer says the same as a plain one, and no usage chunk comes that was not asked for."""
    chunks = list(client.chat.completions.create(model="sluice-small", messages=QUESTION, stream=True, temperature=0))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    plain = client.chat.completions.create(model="sluice-small", messages=QUESTION, temperature=0)
    assert text == plain.choices[0].message.content
    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_streams_usage_when_asked(client: OpenAI) -> None:
    """`include_usage` brings the usage chunk, last."""
    chunks = list(
        client.chat.completions.create(
            model="sluice-small", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens > 0


def test_stream_helper(client: OpenAI) -> None:
    """The package's own accumulating helper ends with the whole message."""
    with client.chat.completions.stream(model="sluice-small", messages=QUESTION) as stream:
        final = stream.get_final_completion()
    assert "Paris" in (final.choices[0].message.content or "")


def test_leaves_a_stream(client: OpenAI, served: Gateway) -> None:
    """A client that closes its stream early is not an error; the next call is served."""
    stream = client.chat.completions.create(model="sluice-small", messages=QUESTION, stream=True)
    next(iter(stream))
    stream.close()
    assert client.chat.completions.create(model="sluice-small", messages=QUESTION).choices


async def test_async_client(served: Gateway) -> None:
    """The asynchronous client works, plain and streamed."""
    async with AsyncOpenAI(base_url=served.base_url, api_key="unused", timeout=60) as client:
        answer = await client.chat.completions.create(model="sluice-small", messages=QUESTION)
        stream = await client.chat.completions.create(model="sluice-small", messages=QUESTION, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    assert "Paris" in (answer.choices[0].message.content or "")
    assert "Paris" in text


def test_required_tool(client: OpenAI) -> None:
    """`tool_choice: required` goes through the engine's grammar: the arguments fit the schema."""
    answer = client.chat.completions.create(
        model="sluice-small",
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[WEATHER],
        tool_choice="required",
        max_tokens=200,
    )
    call = (answer.choices[0].message.tool_calls or [])[0]
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["city"] in {"Paris", "Rome"}


def test_required_tool_streamed(client: OpenAI) -> None:
    """Streamed tool-call deltas add up to arguments that fit the schema."""
    stream = client.chat.completions.create(
        model="sluice-small",
        messages=[{"role": "user", "content": "What is the weather in Rome?"}],
        tools=[WEATHER],
        tool_choice="required",
        max_tokens=200,
        stream=True,
    )
    arguments = ""
    for chunk in stream:
        for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            arguments += (call.function.arguments or "") if call.function else ""
    assert json.loads(arguments)["city"] in {"Paris", "Rome"}


class Capital(BaseModel):
    """What a structured answer must look like."""

    known: bool


def test_structured_output(client: OpenAI) -> None:
    """A JSON schema binds the answer, and the package parses it."""
    answer = client.chat.completions.parse(
        model="sluice-small", messages=QUESTION, response_format=Capital, max_tokens=100
    )
    assert isinstance(answer.choices[0].message.parsed, Capital)


def test_logprobs(client: OpenAI) -> None:
    """Log-probabilities come through."""
    answer = client.chat.completions.create(
        model="sluice-small", messages=QUESTION, logprobs=True, top_logprobs=2, max_tokens=3
    )
    tokens = answer.choices[0].logprobs
    assert tokens is not None
    assert tokens.content
    assert tokens.content[0].logprob <= 0


def test_embeddings(client: OpenAI) -> None:
    """Embeddings are served, in the package's default base64 encoding, and paraphrases lie close."""
    texts = ["How do I reset my password?", "I forgot my password, how can I change it?", "The cat sat on the mat."]
    one, two, three = (item.embedding for item in client.embeddings.create(model="all-minilm-l6-v2", input=texts).data)
    assert len(one) == 384
    assert _dot(one, two) > _dot(one, three) + 0.2


def _dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def test_completions(client: OpenAI) -> None:
    """The older completions endpoint is served, plain and streamed."""
    answer = client.completions.create(model="sluice-small", prompt="2 + 2 =", max_tokens=4)
    assert answer.choices[0].text is not None
    streamed = list(client.completions.create(model="sluice-small", prompt="2 + 2 =", max_tokens=4, stream=True))
    assert streamed


def test_models(client: OpenAI) -> None:
    """Models are listed and found one by one."""
    assert {"sluice-tiny", "sluice-small", "all-minilm-l6-v2"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("sluice-small").id == "sluice-small"


def test_raw_response(client: OpenAI) -> None:
    """Raw responses show our headers."""
    raw = client.chat.completions.with_raw_response.create(model="sluice-small", messages=QUESTION)
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["x-sluice-model"] == "sluice-small"
    assert raw.parse().choices


def test_unknown_model(client: OpenAI) -> None:
    """An unknown model is the package's NotFoundError and names those that exist."""
    with pytest.raises(openai.NotFoundError, match="sluice-small"):
        client.chat.completions.create(model="no-such-model", messages=QUESTION)


def test_bad_request(client: OpenAI) -> None:
    """A call without messages is the package's BadRequestError with the parameter named."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="sluice-small", messages=[])
    assert caught.value.param == "messages"


def test_client_timeout(client: OpenAI) -> None:
    """The package's own timeout ends a call; the next is served."""
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(
            model="sluice-small", messages=QUESTION, max_tokens=3000, extra_body={"ignore_eos": True}
        )
    assert client.chat.completions.create(model="sluice-small", messages=QUESTION).choices


def test_retries(served: Gateway) -> None:
    """A model whose only upstream is down is a 502 that the package retries, then raises."""
    client = OpenAI(base_url=served.base_url, api_key="unused", max_retries=1, timeout=60)
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="demo-down", messages=QUESTION)


def test_failover(client: OpenAI) -> None:
    """A model whose first upstream is down is answered by the second."""
    raw = client.chat.completions.with_raw_response.create(model="demo-failover", messages=QUESTION)
    assert raw.headers["x-sluice-upstream"] == "local-small"
    assert "Paris" in (raw.parse().choices[0].message.content or "")
