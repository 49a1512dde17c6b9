"""Answers with everything an answer can have, and streams of them cut in every way."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import strategies as st

Json = dict[str, Any]

NUMBERS = st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
UNKNOWN = st.dictionaries(
    st.sampled_from(["x_odd", "x_other", "provider", "Ünbekannt", "citations"]), VALUES, max_size=2
)
TEXT = st.text(max_size=20) | st.sampled_from(["", "data: [DONE]\n\n", '"usage":{}', "\u2028\r\n\n😀", "null", "\x00"])
TOKENS = st.fixed_dictionaries(
    {"token": TEXT, "logprob": st.floats(-20, 0), "bytes": st.none() | st.lists(st.integers(0, 255), max_size=3)},
    optional={
        "top_logprobs": st.lists(st.fixed_dictionaries({"token": TEXT, "logprob": st.floats(-20, 0)}), max_size=2)
    },
)
LISTS = st.none() | st.lists(TOKENS, max_size=4)
LOGPROBS = st.none() | st.fixed_dictionaries({"content": LISTS, "refusal": LISTS})
FUNCTIONS = st.fixed_dictionaries({"name": st.text(min_size=1, max_size=8), "arguments": TEXT})
CALLS = st.fixed_dictionaries(
    {"id": st.text(min_size=1, max_size=8), "type": st.just("function"), "function": FUNCTIONS},
    optional={"x_call": VALUES},
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | TEXT},
    optional={
        "refusal": st.none() | TEXT,
        "reasoning_content": st.none() | TEXT,
        "reasoning": TEXT,
        "annotations": st.just([]) | st.lists(st.fixed_dictionaries({"type": st.just("url_citation")}), max_size=2),
        "audio": st.none(),
        "tool_calls": st.none() | st.lists(CALLS, max_size=3),
        "function_call": st.none() | FUNCTIONS,
        "x_message": VALUES,
    },
)
USAGES = st.fixed_dictionaries(
    {"prompt_tokens": st.integers(0, 99), "completion_tokens": st.integers(0, 99), "total_tokens": st.integers(0, 99)},
    optional={"prompt_tokens_details": st.none() | st.fixed_dictionaries({"cached_tokens": st.integers(0, 9)})},
)
FRAMES: Json = {
    "system_fingerprint": st.none() | st.text(max_size=5),
    "service_tier": st.sampled_from([None, "default"]),
    "usage": st.none() | USAGES,
    "timings": st.fixed_dictionaries({"ms": NUMBERS}),
    "prompt_filter_results": st.lists(st.fixed_dictionaries({"prompt_index": st.just(0)}), max_size=1),
}
TEXTS = ("content", "refusal", "reasoning_content", "reasoning", "text", "arguments")


@st.composite
def answers(draw: st.DrawFn) -> Json:
    """A plain answer of the chat or of the text endpoint."""
    is_chat = draw(st.booleans())
    choices = draw(st.lists(_chat_choices() if is_chat else _text_choices(), min_size=1, max_size=3))
    head: Json = {
        "id": "a-1",
        "object": "chat.completion" if is_chat else "text_completion",
        "created": 7,
        "model": "m",
    }
    numbered = [{"index": at, **choice} for at, choice in enumerate(choices)]
    return {**head, "choices": numbered, **draw(st.fixed_dictionaries({}, optional=FRAMES)), **draw(UNKNOWN)}


def _chat_choices() -> st.SearchStrategy[Json]:
    more = {
        "logprobs": LOGPROBS,
        "stop_reason": SCALARS,
        "content_filter_results": st.just({"hate": {"filtered": False}}),
    }
    return st.fixed_dictionaries(
        {"message": MESSAGES, "finish_reason": _reasons()}, optional={**more, "x_choice": VALUES}
    )


def _text_choices() -> st.SearchStrategy[Json]:
    tokens = st.lists(TEXT, max_size=3)
    logprobs = st.none() | st.fixed_dictionaries(
        {"tokens": tokens, "top_logprobs": st.none() | st.lists(VALUES, max_size=2)}
    )
    return st.fixed_dictionaries(
        {"text": TEXT, "logprobs": logprobs, "finish_reason": _reasons()}, optional={"x_choice": VALUES}
    )


def _reasons() -> st.SearchStrategy[str]:
    return st.sampled_from(["stop", "length", "tool_calls"])


@st.composite
def streams(draw: st.DrawFn, answer: Json) -> list[Json]:
    """The chunks of a stream of this answer: texts and lists cut anywhere, choices and parts interleaved."""
    is_chat = answer["object"] == "chat.completion"
    lanes = [draw(_chat_lane(choice) if is_chat else _text_lane(choice)) for choice in answer["choices"]]
    frame: Json = {name: answer[name] for name in ("id", "object", "created", "model")}
    if is_chat:
        frame["object"] = "chat.completion.chunk"
    chunks = [{**frame, "choices": [choice]} for choice in draw(_woven(lanes))]
    rest = {name: value for name, value in answer.items() if name not in {*frame, "choices"}}
    usage = rest.pop("usage", None)
    chunks[draw(st.integers(0, len(chunks) - 1))].update(rest)
    if draw(st.booleans()):
        chunks = [{**chunk, "obfuscation": "x" * at} for at, chunk in enumerate(chunks)]
    if "usage" in answer and draw(st.booleans()):
        chunks = [{**chunk, "usage": None} for chunk in chunks]
    if "usage" in answer and draw(st.booleans()):
        chunks[-1]["usage"] = usage
    elif "usage" in answer:
        chunks.append({**frame, "choices": [], "usage": usage})
    return chunks


@st.composite
def _chat_lane(draw: st.DrawFn, choice: Json) -> list[Json]:
    """The chunks of one choice, in their order: the role, the parts, the end."""
    message = choice["message"]
    whole: Json = {name: value for name, value in message.items() if name not in TEXTS or value is None}
    calls = message.get("tool_calls")
    if calls:
        del whole["tool_calls"]
    function = message.get("function_call")
    if function:
        whole["function_call"] = {**function, "arguments": ""}
    lanes: list[list[Json]] = [
        [{name: piece} for piece in draw(_cut(message[name]))] for name in TEXTS if message.get(name) is not None
    ]
    lanes += [draw(_call_lane(at, call)) for at, call in enumerate(calls or [])]
    if function:
        lanes.append([{"function_call": {"arguments": piece}} for piece in draw(_cut(function["arguments"]))])
    deltas = draw(_woven(lanes))
    logprobs = choice.get("logprobs")
    parts = draw(_cut_lists(logprobs, len(deltas) + 1)) if logprobs else [None] * (len(deltas) + 1)
    told: list[Json] = [{"index": choice["index"], "delta": delta, "finish_reason": None} for delta in [whole, *deltas]]
    if "logprobs" in choice:
        told = [{**part, "logprobs": lists} for part, lists in zip(told, parts, strict=True)]
    rest = {name: value for name, value in choice.items() if name not in {"message", "logprobs"}}
    return [*told, {"delta": draw(st.sampled_from([{}, None])), **rest}]


@st.composite
def _call_lane(draw: st.DrawFn, index: int, call: Json) -> list[Json]:
    pieces = draw(_cut(call["function"]["arguments"]))
    first = {"index": index, **call, "function": {**call["function"], "arguments": pieces[0]}}
    rest = [{"index": index, "function": {"arguments": piece}} for piece in pieces[1:]]
    return [{"tool_calls": [part]} for part in [first, *rest]]


@st.composite
def _text_lane(draw: st.DrawFn, choice: Json) -> list[Json]:
    pieces = draw(_cut(choice["text"]))
    logprobs = choice["logprobs"]
    parts = draw(_cut_lists(logprobs, len(pieces))) if logprobs else [None] * len(pieces)
    told = [
        {"index": choice["index"], "text": text, "logprobs": lists} for text, lists in zip(pieces, parts, strict=True)
    ]
    rest = {name: value for name, value in choice.items() if name != "logprobs"}
    return [*told, {**rest, "text": ""}]


@st.composite
def _cut(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def _cut_lists(draw: st.DrawFn, lists: Json, count: int) -> list[Json]:
    """The lists in `count` runs each; nulls stay nulls."""
    parts: list[Json] = [{} for _ in range(count)]
    for name, values in lists.items():
        size = len(values or [])
        cuts = sorted(draw(st.lists(st.integers(0, size), min_size=count - 1, max_size=count - 1)))
        for part, start, end in zip(parts, [0, *cuts], [*cuts, size], strict=True):
            part[name] = None if values is None else values[start:end]
    return parts


@st.composite
def _woven(draw: st.DrawFn, lanes: list[list[Json]]) -> list[Json]:
    """All lanes in one, each in its own order."""
    rest = [list(lane) for lane in lanes if lane]
    woven: list[Json] = []
    while rest:
        lane = rest[draw(st.integers(0, len(rest) - 1))]
        woven.append(lane.pop(0))
        rest = [lane for lane in rest if lane]
    return woven


@st.composite
def bodies(draw: st.DrawFn, chunks: list[Json]) -> list[bytes]:
    """The bytes of a stream as blocks of whole events, with either line end and comments between events."""
    end = draw(st.sampled_from([b"\n", b"\r\n"]))
    prefix = draw(st.sampled_from([b"data: ", b"data:"]))
    events = [prefix + orjson.dumps(chunk) + end * 2 for chunk in chunks] + [prefix + b"[DONE]" + end * 2]
    for at in draw(st.lists(st.integers(0, len(events) - 1), max_size=2)):
        events[at] = b": keep-alive" + end * draw(st.integers(1, 2)) + events[at]
    cuts = sorted(draw(st.lists(st.integers(0, len(events)), max_size=4)))
    return [b"".join(events[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(events)], strict=True)]
