"""Acceptance: what an application sees of vLLM, and what vLLM sees of the application."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionToolParam

from tests.engines.conftest import MODEL, Served
from tests.engines.counters import Counters
from tests.engines.process import Server

pytestmark = pytest.mark.engine

QUESTION = "What is the capital of France?"
LONG_ANSWER = 3000  # tokens; minutes on a CPU, so only an abort ends it within a test
# A schema allows white space anywhere, and a small model can go on with it for ever; the penalty wears it out.
FORCED = {"max_tokens": 400, "temperature": 0, "repetition_penalty": 2.0}
WORDS = "apple pear plum fig cherry grape melon lemon " * 16  # a few hundred tokens, several blocks of the prefix cache


def ask(client: openai.OpenAI, served: Served, text: str, **options: object) -> ChatCompletion:
    """One plain call; `options` go into the body as they are."""
    body = {"max_tokens": 8, **options}
    return client.chat.completions.create(
        model=served.model, messages=[{"role": "user", "content": text}], extra_body=body
    )


def ask_streamed(client: openai.OpenAI, served: Served, text: str, **options: object) -> list[ChatCompletionChunk]:
    """One streamed call, all its chunks."""
    body = {"max_tokens": 8, **options}
    stream = client.chat.completions.create(
        model=served.model, messages=[{"role": "user", "content": text}], stream=True, extra_body=body
    )
    return list(stream)


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    """The answer that the chunks add up to."""
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def prefix() -> str:
    """A long text that no other test has sent."""
    return f"Sort these words. {uuid.uuid4().hex} {WORDS}"


def test_int8_weights_run_on_the_int8_kernel(vllm: Server) -> None:
    """The checkpoint's int8 weights are multiplied as int8, not unpacked to bfloat16."""
    assert "CPUInt8ScaledMMLinearKernel for CompressedTensorsW8A8Int8" in vllm.log.read_text()


def test_the_quantized_model_answers_right(client: openai.OpenAI, served: Served) -> None:
    """What the model learned survives its quantization, vLLM's kernels and the gateway."""
    answer = ask(client, served, QUESTION, temperature=0, max_tokens=30).choices[0]
    assert "Paris" in (answer.message.content or "")
    assert answer.finish_reason == "stop"


def test_the_model_is_listed(client: openai.OpenAI, served: Served) -> None:
    """An application finds the model by its served name."""
    assert served.model in [model.id for model in client.models.list()]


def test_a_plain_answer_has_text_and_usage(client: openai.OpenAI, served: Served) -> None:
    """A plain answer says who spoke, why it ended, and what it used."""
    answer = ask(client, served, QUESTION)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_adds_up_to_the_plain_answer(client: openai.OpenAI, served: Served) -> None:
    """Without randomness the pieces of a stream are the plain answer, and the role comes first."""
    plain = ask(client, served, QUESTION, temperature=0)
    chunks = ask_streamed(client, served, QUESTION, temperature=0)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert text_of(chunks) == plain.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == plain.choices[0].finish_reason


def test_a_stream_tells_its_usage_when_asked(client: openai.OpenAI, served: Served) -> None:
    """The usage chunk is the last one, has no choices, and counts what the plain answer counts."""
    plain = ask(client, served, QUESTION, temperature=0)
    chunks = ask_streamed(client, served, QUESTION, temperature=0, stream_options={"include_usage": True})
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert plain.usage is not None
    assert chunks[-1].usage.completion_tokens == plain.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == plain.usage.prompt_tokens


def test_a_stream_keeps_its_usage_to_itself_unasked(client: openai.OpenAI, served: Served) -> None:
    """An application that did not ask for usage gets no chunk without choices, which some cannot read."""
    chunks = ask_streamed(client, served, QUESTION)
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_logprobs_come_plain_and_streamed(client: openai.OpenAI, served: Served) -> None:
    """Every token has its log-probability and the alternatives asked for."""
    options = {"temperature": 0, "logprobs": True, "top_logprobs": 2}
    plain = ask(client, served, QUESTION, **options).choices[0].logprobs
    chunks = ask_streamed(client, served, QUESTION, **options)
    streamed = [
        token for chunk in chunks if (found := chunk.choices[0].logprobs) is not None for token in found.content or []
    ]
    assert plain is not None
    assert plain.content is not None
    assert [token.token for token in streamed] == [token.token for token in plain.content]
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in plain.content)


def test_several_choices_come_side_by_side(client: openai.OpenAI, served: Served) -> None:
    """With n=2 a stream interleaves two answers, told apart by their index."""
    chunks = ask_streamed(client, served, QUESTION, n=2, temperature=1)
    ends = {choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason}
    assert ends == {0, 1}


def test_completions_answer_plain_and_streamed(client: openai.OpenAI, served: Served) -> None:
    """The older endpoint continues a text, and its stream adds up to the same."""
    plain = client.completions.create(model=served.model, prompt="one two", max_tokens=6, temperature=0)
    stream = client.completions.create(model=served.model, prompt="one two", max_tokens=6, temperature=0, stream=True)
    assert plain.choices[0].text
    assert "".join(chunk.choices[0].text for chunk in stream) == plain.choices[0].text


def test_a_seed_repeats_an_answer(client: openai.OpenAI, served: Served) -> None:
    """The same seed draws the same tokens, though the temperature is high."""
    first, again = (ask(client, served, QUESTION, seed=7, temperature=1.5) for _ in range(2))
    assert first.choices[0].message.content == again.choices[0].message.content


def test_a_stop_string_ends_the_answer_before_it(client: openai.OpenAI, served: Served) -> None:
    """The text ends before the stop string, and vLLM says which one it was."""
    whole = ask(client, served, QUESTION, temperature=0, ignore_eos=True).choices[0].message.content or ""
    stop = [letter for letter in whole if letter.isalpha()][-1]
    cut = ask(client, served, QUESTION, temperature=0, ignore_eos=True, stop=[stop]).choices[0]
    assert cut.message.content == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"
    assert (cut.model_extra or {})["stop_reason"] == stop


def test_an_answer_follows_a_json_schema(client: openai.OpenAI, served: Served) -> None:
    """`response_format` with a schema constrains the tokens, however small the model."""
    schema = {
        "type": "object",
        "properties": {"sorted": {"enum": ["yes", "no"]}},
        "required": ["sorted"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema}}
    answer = ask(client, served, "Are they sorted?", response_format=form, **FORCED)
    assert json.loads(answer.choices[0].message.content or "")["sorted"] in ("yes", "no")


def test_vllms_own_constraint_field_reaches_it(client: openai.OpenAI, served: Served) -> None:
    """`structured_outputs`, which OpenAI does not have, constrains the answer to the choices."""
    answer = ask(client, served, QUESTION, structured_outputs={"choice": ["red", "green"]}, max_tokens=40)
    assert answer.choices[0].message.content in ("red", "green")


def test_guided_json_is_ignored_and_said_so_in_the_log(vllm: Server) -> None:
    """The field vLLM once had for schemas constrains nothing any more; it is accepted, and its log says so, once."""
    engine = Served(f"{vllm.url}/v1", MODEL, vllm, Counters(vllm.url))
    with openai.OpenAI(base_url=engine.base_url, api_key="none-needed", max_retries=0) as client:
        ask(client, engine, QUESTION, guided_json={"type": "object"}, max_tokens=1)
    assert "guided_json" in vllm.log.read_text()


def test_a_required_tool_is_called(client: openai.OpenAI, served: Served) -> None:
    """A named tool with a strict schema is called with arguments that fit it."""
    schema = {
        "type": "object",
        "properties": {"unit": {"enum": ["km", "mile"]}},
        "required": ["unit"],
        "additionalProperties": False,
    }
    tool: ChatCompletionToolParam = {
        "type": "function",
        "function": {"name": "convert", "parameters": schema, "strict": True},
    }
    answer = client.chat.completions.create(
        model=served.model,
        messages=[{"role": "user", "content": "Convert it."}],
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "convert"}},
        extra_body=FORCED,
    )
    calls = answer.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls if call.type == "function"] == ["convert"]
    assert all(json.loads(c.function.arguments)["unit"] in ("km", "mile") for c in calls if c.type == "function")


def test_token_ids_come_back_when_asked(client: openai.OpenAI, served: Served) -> None:
    """A response field that OpenAI does not know, `prompt_token_ids`, reaches the application."""
    answer = ask(client, served, QUESTION, return_token_ids=True)
    assert answer.usage is not None
    assert len((answer.model_extra or {})["prompt_token_ids"]) == answer.usage.prompt_tokens


def test_a_repeated_prefix_is_read_from_the_cache(client: openai.OpenAI, served: Served) -> None:
    """The second prompt with a long common beginning finds it cached: in its usage and in the engine's counter."""
    shared = prefix()
    ask(client, served, f"{shared} Upwards.")
    before = served.counters.prefix_hits()
    usage = ask(client, served, f"{shared} Downwards.").usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens_details.cached_tokens or 0) >= 32
    assert served.counters.prefix_hits() >= before + 32


def test_a_streams_usage_tells_cached_tokens_too(client: openai.OpenAI, served: Served) -> None:
    """The usage chunk of a stream carries the cached tokens, which are what a prompt costs less."""
    shared = prefix()
    ask(client, served, f"{shared} Upwards.")
    usage = ask_streamed(client, served, f"{shared} Downwards.", stream_options={"include_usage": True})[-1].usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens_details.cached_tokens or 0) >= 32


def test_a_cache_salt_keeps_prefixes_apart(client: openai.OpenAI, served: Served) -> None:
    """Equal prompts under different salts share nothing, so timing tells one tenant nothing of another's."""
    shared = prefix()
    ask(client, served, f"{shared} Upwards.", cache_salt="a")
    other = ask(client, served, f"{shared} Downwards.", cache_salt="b").usage
    same = ask(client, served, f"{shared} Sideways.", cache_salt="a").usage
    assert other is not None
    assert same is not None
    assert other.prompt_tokens_details is not None
    assert same.prompt_tokens_details is not None
    assert not other.prompt_tokens_details.cached_tokens
    assert (same.prompt_tokens_details.cached_tokens or 0) >= 32


def test_a_priority_is_accepted(client: openai.OpenAI, served: Served) -> None:
    """`priority` reaches vLLM without an error, though its default schedule takes calls in order of arrival."""
    assert ask(client, served, QUESTION, priority=5).choices[0].message.content


def test_calls_run_together(client: openai.OpenAI, served: Served) -> None:
    """Four streams at once are worked on as one batch, and each ends."""

    async def all_at_once() -> list[str | None]:
        async with sdk(served) as many:
            return await asyncio.gather(*(last_reason(many, served, number) for number in range(4)))

    assert asyncio.run(all_at_once()) == ["length"] * 4


async def last_reason(many: openai.AsyncOpenAI, served: Served, number: int) -> str | None:
    """Stream one answer of exactly 32 tokens and say why it ended."""
    stream = await many.chat.completions.create(
        model=served.model,
        messages=[{"role": "user", "content": f"Count from {number}."}],
        max_tokens=32,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    return [chunk.choices[0].finish_reason async for chunk in stream][-1]


@asynccontextmanager
async def sdk(served: Served) -> AsyncIterator[openai.AsyncOpenAI]:
    """The asynchronous SDK, closed at the end."""
    async with openai.AsyncOpenAI(
        base_url=served.base_url, api_key="none-needed", max_retries=0, timeout=120.0
    ) as client:
        yield client


async def long_call(client: openai.AsyncOpenAI, served: Served, *, stream: bool) -> None:
    """Ask for an answer that takes minutes, and read it to its end."""
    answer = await client.chat.completions.create(
        model=served.model,
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=LONG_ANSWER,
        stream=stream,
        extra_body={"ignore_eos": True},
    )
    if isinstance(answer, openai.AsyncStream):
        async for _ in answer:
            pass


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
async def test_leaving_ends_the_work_in_the_engine(served: Served, stream: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """A client that leaves mid-answer frees the engine: nothing runs on, and vLLM notes an aborted request."""
    before, aborted = served.counters.generated(), served.engine.log.read_text().count("Aborted request(s)")
    async with sdk(served) as client:
        call = asyncio.create_task(long_call(client, served, stream=stream))
        await asyncio.to_thread(served.counters.await_until, lambda seen: seen.generated() > before + 4, "it generates")
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
    await asyncio.to_thread(served.counters.await_until, lambda seen: seen.running() == 0, "nothing runs")
    assert served.counters.generated() < before + LONG_ANSWER
    assert served.engine.log.read_text().count("Aborted request(s)") == aborted + 1


def test_an_unknown_model_is_not_found(client: openai.OpenAI, served: Served) -> None:
    """A wrong model name is a 404 that names it."""
    with pytest.raises(openai.NotFoundError, match="gpt-none"):
        client.chat.completions.create(model="gpt-none", messages=[{"role": "user", "content": QUESTION}])


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "plain"])
def test_a_prompt_beyond_the_context_is_refused(client: openai.OpenAI, served: Served, stream: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """A prompt that does not fit is a 400 naming the limit, for a stream too: before any event."""
    call = ask_streamed if stream else ask
    with pytest.raises(openai.BadRequestError, match="maximum context length is 4096"):
        call(client, served, WORDS * 40)


def test_a_bad_parameter_is_refused_by_name(client: openai.OpenAI, served: Served) -> None:
    """vLLM's own complaint about a value reaches the application with its parameter."""
    with pytest.raises(openai.BadRequestError) as refusal:
        ask(client, served, QUESTION, temperature=-1)
    assert refusal.value.param == "temperature"


def test_an_error_inside_a_stream_is_an_error(client: openai.OpenAI, served: Served) -> None:
    """vLLM compiles a grammar after it said 200: its refusal is an event of the stream, and no answer to anyone."""
    with pytest.raises(openai.APIError, match="invalid regex"):
        ask_streamed(client, served, QUESTION, structured_outputs={"regex": "("})
