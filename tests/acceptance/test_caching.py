"""What an application and its operators see of the exact cache and of single flight, on the real engine."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from openai import AsyncOpenAI, OpenAI
from openai.lib.streaming.chat import ChatCompletionStreamState

from tests.running import Gateway


def new_question() -> list[Any]:
    """One that nobody has asked before."""
    numbers = " ".join(str(secrets.randbelow(90) + 10) for _ in range(4))
    return [{"role": "user", "content": f"Sort these numbers: {numbers}"}]


def test_an_application_pays_once(served: Gateway) -> None:
    """The second of two equal calls is answered from the cache, word for word, and its record has no upstream."""
    with OpenAI(base_url=served.base_url, api_key="unused", max_retries=0) as client:
        ask = client.chat.completions.with_raw_response.create
        question = new_question()
        first = ask(model="sluice-small", messages=question, temperature=0)
        again = ask(model="sluice-small", messages=question, temperature=0.0, user="somebody else's user")
    assert (first.headers["x-cache"], again.headers["x-cache"]) == ("MISS", "HIT")
    assert again.headers["x-sluice-cache"] == "exact"
    assert int(again.headers["age"]) < 60
    assert again.parse() == first.parse()
    record = served.record(again.headers["x-request-id"])
    assert (record["cache"], record["attempts"], record["upstream"]) == ("exact", 0, "")
    assert record["saved_tokens"] == first.parse().usage.total_tokens  # type: ignore[union-attr]


def test_a_stream_is_answered_by_what_a_plain_call_left(served: Gateway) -> None:
    """What the client puts together from a streamed hit is what the plain miss was, usage included."""
    question = new_question()
    with OpenAI(base_url=served.base_url, api_key="unused", max_retries=0) as client:
        plain = client.chat.completions.create(model="sluice-small", messages=question, temperature=0)
        stream = client.chat.completions.create(
            model="sluice-small",
            messages=question,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        state: Any = ChatCompletionStreamState()
        for chunk in stream:
            state.handle_chunk(chunk)
    assert stream.response.headers["x-cache"] == "HIT"
    told = state.get_final_completion()
    assert told.choices[0].message.content == plain.choices[0].message.content
    assert told.choices[0].finish_reason == plain.choices[0].finish_reason
    assert told.usage == plain.usage


async def test_many_applications_ask_at_once(served: Gateway) -> None:
    """Fifty equal streams that come together cost the engine one answer, and all of them get it whole."""
    question = new_question()

    async def ask(client: AsyncOpenAI) -> tuple[str, str]:
        stream = await client.chat.completions.create(
            model="sluice-small", messages=question, temperature=0, stream=True
        )
        parts = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        return "".join(parts), stream.response.headers["x-request-id"]

    async with AsyncOpenAI(base_url=served.base_url, api_key="unused", max_retries=0) as client:
        answers = await asyncio.gather(*(ask(client) for _ in range(50)))
    assert len({text for text, _ in answers}) == 1
    records = [await asyncio.to_thread(served.record, request_id) for _, request_id in answers]
    assert sum(record["attempts"] for record in records) == 1
    assert {record["cache"] for record in records} <= {"miss", "coalesced", "exact"}


def test_operations_learn_why_a_call_missed(served: Gateway) -> None:
    """The record of a missed call names the field by which it differs from the nearest call before it."""
    question = new_question()[0]["content"]
    served.ask("sluice-small", question, temperature=0, max_tokens=40)
    missed = served.ask("sluice-small", question, temperature=0, max_tokens=41)
    assert missed.headers["x-cache"] == "MISS"
    notes = served.record(missed.headers["x-request-id"])["story"]["notes"]
    assert ["cache", "miss: differs from the nearest entry in max_tokens"] in notes


def test_a_call_that_samples_is_asked_each_time(served: Gateway) -> None:
    """Without a temperature an answer is one of many: the shipped rule neither keeps nor shares it, and says so."""
    question = new_question()[0]["content"]
    answers = [served.ask("sluice-small", question) for _ in range(2)]
    assert [answer.headers["x-cache"] for answer in answers] == ["BYPASS", "BYPASS"]
    notes = served.record(answers[1].headers["x-request-id"])["story"]["notes"]
    assert ["cache", "bypass: is sampled: no temperature is given"] in notes


def test_embeddings_are_kept_input_by_input(served: Gateway) -> None:
    """Of a list of inputs the engine is asked only for the new ones, and the answer has all in their order."""
    words = [secrets.token_hex(8) for _ in range(3)]
    one = served.post("/embeddings", {"model": "all-minilm-l6-v2", "input": words[1]}).json()["data"][0]
    served.post("/embeddings", {"model": "all-minilm-l6-v2", "input": words[0]})
    mixed = served.post("/embeddings", {"model": "all-minilm-l6-v2", "input": [words[2], words[1], words[0]]})
    assert [item["index"] for item in mixed.json()["data"]] == [0, 1, 2]
    assert mixed.json()["data"][1]["embedding"] == one["embedding"]
    assert "asked for 1 of 3 items" in str(served.record(mixed.headers["x-request-id"])["story"]["notes"])
    again = served.post("/embeddings", {"model": "all-minilm-l6-v2", "input": words})
    assert again.headers["x-cache"] == "HIT"
