"""Which calls share answers, which answers are kept, and when kept ones are used."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching.directives import NONE, Directives, parse
from caching.eligibility import (
    NEVER,
    TRUNCATED,
    WHOLE,
    Freshness,
    Use,
    answer_reason,
    choices_of,
    embedding_reason,
    request_reason,
    usable,
)

Sampling = Literal["deterministic", "any"]
BOTH: list[Sampling] = ["deterministic", "any"]
COLD = {"temperature": 0}


def answer(*finish: object, **fields: object) -> bytes:
    """A plain answer whose choices ended so."""
    choices = [{"index": i, "message": {"content": "Hi"}, "finish_reason": end} for i, end in enumerate(finish)]
    return json.dumps({"id": "x", "object": "chat.completion", "choices": choices, **fields}).encode()


def stream(*finish: object) -> bytes:
    """A streamed answer of one choice, one chunk for each."""
    chunks = [json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": end}]}) for end in finish]
    return "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"]).encode()


@pytest.mark.parametrize("temperature", [0, 0.0, -0.0])
def test_cold_calls_share(temperature: float) -> None:
    """A temperature of 0, said by the caller, samples nothing."""
    assert request_reason("chat", {"temperature": temperature}, sampling="deterministic") == ""
    assert request_reason("completions", {"temperature": temperature}, sampling="deterministic") == ""


def test_one_candidate_is_no_sample() -> None:
    """A top_k of 1 leaves nothing to sample, at any temperature."""
    assert request_reason("chat", {"temperature": 1, "top_k": 1}, sampling="deterministic") == ""
    assert request_reason("chat", {"top_k": 2}, sampling="deterministic") != ""


@pytest.mark.parametrize("body", [{}, {"temperature": None}])
def test_the_default_samples(body: dict[str, Any]) -> None:
    """An absent temperature is the provider's default, which samples."""
    assert request_reason("chat", body, sampling="deterministic") == "is sampled: no temperature is given"
    assert request_reason("chat", body, sampling="any") == ""


@pytest.mark.parametrize("temperature", [0.1, 1, False, "0", [0], {}])
def test_warm_calls_are_sampled(temperature: object) -> None:
    """Anything but the number 0 counts as sampling; false is not 0, nor is a text."""
    body = {"temperature": temperature, "top_k": True}
    assert request_reason("chat", body, sampling="deterministic") == "is sampled: its temperature is not 0"


@pytest.mark.parametrize("sampling", BOTH)
def test_embeddings_share(sampling: Sampling) -> None:
    """Embeddings are never sampled."""
    assert request_reason("embeddings", {"input": "Hi"}, sampling=sampling) == ""


@pytest.mark.parametrize("name", NEVER)
@pytest.mark.parametrize("sampling", BOTH)
def test_never(name: str, sampling: Sampling) -> None:
    """What depends on the world and not on the call is never shared, whatever the policy."""
    assert request_reason("chat", COLD | {name: {}}, sampling=sampling) == NEVER[name]
    assert request_reason("chat", COLD | {name: None}, sampling=sampling) == ""
    assert request_reason("chat", COLD | {name: False}, sampling=sampling) == ""


@pytest.mark.parametrize(
    "tool", [{"type": "web_search"}, {"googleSearch": {}}, {"type": ["function"]}, {"type": None}, "function"]
)
@pytest.mark.parametrize("sampling", BOTH)
def test_hosted_tools(tool: object, sampling: Sampling) -> None:
    """A tool that the provider runs may answer otherwise tomorrow; one of an unknown kind may be one."""
    tools = [{"type": "function", "function": {}}, tool]
    assert request_reason("chat", COLD | {"tools": tools}, sampling=sampling) == "has a tool that the provider runs"


def test_the_callers_own_tools() -> None:
    """Tools that the caller runs are part of the call and nothing more."""
    body = COLD | {"tools": [{"type": "function"}, {"type": "custom"}], "functions": [{"name": "f"}]}
    assert request_reason("chat", body, sampling="deterministic") == ""
    assert request_reason("chat", COLD | {"tools": None}, sampling="any") == ""
    assert request_reason("chat", COLD | {"tools": []}, sampling="any") == ""
    assert request_reason("chat", COLD | {"tools": {}}, sampling="any") == "tools is not a list"


def test_modalities() -> None:
    """Only text is kept."""
    for kept in (None, ["text"]):
        assert request_reason("chat", COLD | {"modalities": kept}, sampling="any") == ""
    for modalities in (["text", "audio"], ["audio"], [], "text"):
        assert request_reason("chat", COLD | {"modalities": modalities}, sampling="any") == "asks for more than text"


@pytest.mark.parametrize(
    ("body", "choices"),
    [
        ({}, 1),
        ({"n": 3}, 3),
        ({"n": None}, 1),
        ({"n": "x", "prompt": "a"}, 1),
        ({"n": 2, "prompt": ["a", "b"]}, 4),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]]}, 2),
        ({"prompt": []}, 1),
    ],
)
def test_choices(body: dict[str, Any], choices: int) -> None:
    """A whole answer has n choices for each prompt; a list of tokens is one prompt."""
    assert choices_of(body) == choices


@pytest.mark.parametrize("end", sorted(word.decode() for word in WHOLE))
def test_whole_answers(end: str) -> None:
    """An answer that came to its own end is kept, plain and streamed."""
    assert answer_reason(answer(end), truncated=False) == ""
    assert answer_reason(stream(None, "", end), truncated=False) == ""
    assert answer_reason(answer(end, error=None), truncated=False) == ""


@pytest.mark.parametrize("end", sorted(word.decode() for word in TRUNCATED))
def test_truncated_answers(end: str) -> None:
    """An answer cut at a length is kept only if the policy says so."""
    assert answer_reason(answer("stop", end), truncated=False) == f"ended early: {end}"
    assert answer_reason(stream(None, end), truncated=False) == f"ended early: {end}"
    assert answer_reason(answer("stop", end), truncated=True) == ""


@pytest.mark.parametrize("end", ["content_filter", "error", "abort", "st\\op", "unknown", 7, True, {"a": "stop"}])
def test_other_ends(end: object) -> None:
    """Filtered, failed or in a way nobody knows: not kept, even where truncated ones are."""
    assert answer_reason(answer("stop", end), truncated=True).startswith("ended early: ")


@pytest.mark.parametrize(
    "body", [b"", b"{}", stream(), stream(None, None), answer(), answer(None), answer(""), b"data: [DONE]\n\n"]
)
def test_unfinished_answers(body: bytes) -> None:
    """An answer that does not say that it has ended was cut."""
    assert answer_reason(body, truncated=True) == "does not say that it has ended"


def test_every_choice_must_end() -> None:
    """Of four choices one that stopped does not make the answer whole."""
    assert answer_reason(answer("stop", "stop"), truncated=False, choices=2) == ""
    assert answer_reason(stream(None, "stop"), truncated=False, choices=2) == "does not say that it has ended"


@pytest.mark.parametrize(
    "error",
    [
        b'{"error":{"message":"x"}}',
        b'{"error" : "x"}',
        b'{"a":1, "error":\n\t{}}',
        b'{"error":false}',
        b'{"choices":[{"error":{"code":502},"finish_reason":"stop"}]}',
        b'data: {"error":{}}\n\n',
        b'data:{"a":1,\ndata:"error":{}}\n\n',
        b'{"object":"error","message":"x"}',
        b'event: error\ndata: {"message":"x"}\n\n',
        b'data: {}\n\nevent:error\r\ndata: {"message":"x"}\n\n',
    ],
)
def test_errors_in_band(error: bytes) -> None:
    """An error inside an answer of status 200 is found, wherever it stands."""
    assert answer_reason(stream("stop") + error, truncated=True) == "has an error in it"
    assert answer_reason(error + stream("stop"), truncated=True) == "has an error in it"
    assert embedding_reason(b'{"data":[{"embedding":[1]}]}' + b"\n" + error) == "has an error in it"


@pytest.mark.parametrize("space", ["", " ", "\n  "])
def test_no_error(space: str) -> None:
    """A null error is none, however it is spaced."""
    assert answer_reason(answer("stop") + f'{{"error"{space}:{space}null}}'.encode(), truncated=False) == ""


@given(
    st.lists(
        st.sampled_from(
            [
                '"error": {}',
                '"finish_reason": "length"',
                '"object":"error"',
                '"filtered":true',
                "\\",
                '"',
                "\n",
                ",",
                "{",
                " é\\u0065",
            ]
        ),
        max_size=6,
    ).map("".join)
)
def test_texts_are_not_read(text: str) -> None:
    """What the model wrote, its tool calls' arguments included, decides nothing, whatever it looks like."""
    message = {"content": text, "tool_calls": [{"function": {"arguments": json.dumps({"a": text, "error": text})}}]}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}, ensure_ascii=False).encode()
    assert answer_reason(body, truncated=False) in {"", "has plain letters written as escapes"}
    assert ("\\u0065" in text) or answer_reason(body, truncated=False) == ""
    assert answer_reason(json.dumps({"choices": [{"text": text}]}).encode(), truncated=False) != ""


def test_events_in_texts() -> None:
    """A line break in a text is written as an escape, so a text cannot look like an event."""
    assert answer_reason(answer("stop", note="x\nevent: error"), truncated=False) == ""


def test_hidden_names() -> None:
    """A name written with escaped letters could hide an error: such an answer is not kept. Other escapes are usual."""
    hidden = rb'{"\u0065rror":{}, "choices":[{"finish_reason":"stop"}]}'
    assert answer_reason(hidden, truncated=False) == "has plain letters written as escapes"
    assert answer_reason(answer("stop", note="<é\u007f\u0000"), truncated=False) == ""


def test_filtered_in_part() -> None:
    """A provider's own note that something was filtered counts, as its finish reason does."""
    assert (
        answer_reason(answer("stop", content_filter_results={"hate": {"filtered": True}}), truncated=False)
        == "was filtered"
    )
    assert answer_reason(answer("stop", content_filter_results={"hate": {"filtered": False}}), truncated=False) == ""


def test_embeddings() -> None:
    """An answer with embeddings is kept if it has one, as numbers or in base64."""
    assert (
        embedding_reason(b'{"data":[{"embedding": [0.5]}]}')
        == embedding_reason(b'{"data":[{"embedding":"AAAA"}]}')
        == ""
    )
    assert embedding_reason(b'{"data":[]}') == embedding_reason(b'{"object":"embedding"}') == "has no embedding"


def use(now: float, asked: str = "", stale_ok: float = 0.0) -> Use:
    """The decision about an entry made at 1000, fresh until 1100, kept until 1200."""
    return usable(1000.0, 1100.0, 1200.0, now, parse(asked), stale_ok=stale_ok)


@pytest.mark.parametrize(("now", "age"), [(1000.0, 0), (1000.9, 0), (1001.0, 1), (1099.9, 99), (996.0, 0), (995.0, 0)])
def test_fresh(now: float, age: int) -> None:
    """Until it expires an entry is fresh; its age is told in whole seconds, never below 0."""
    assert use(now) == Use(Freshness.FRESH, age)


@pytest.mark.parametrize("now", [994.9, 0.0, -1e9, float("nan")])
def test_from_the_future(now: float) -> None:
    """An entry made later than now comes of a clock that jumped, and is not trusted."""
    assert use(now) == Use(Freshness.UNUSABLE, 0, "from the future")


@pytest.mark.parametrize(
    "times", [(float("nan"), 2e9, 2e9), (0.0, float("nan"), 2e9), (0.0, 2e9, float("nan")), (float("inf"), 2e9, 2e9)]
)
def test_broken_times(times: tuple[float, float, float]) -> None:
    """An entry whose times are no numbers is not used."""
    assert usable(*times, 1e9, NONE, stale_ok=60).freshness is Freshness.UNUSABLE


def test_stale() -> None:
    """Past its time an entry may be used for as long as the policy says, and never after its death."""
    assert use(1100.0) == Use(Freshness.UNUSABLE, 100, "expired")
    assert use(1100.0, stale_ok=30) == Use(Freshness.STALE, 100)
    assert use(1130.0, stale_ok=30) == Use(Freshness.UNUSABLE, 130, "expired")
    assert use(1199.0, stale_ok=1e9) == Use(Freshness.STALE, 199)
    assert use(1200.0, stale_ok=1e9) == Use(Freshness.UNUSABLE, 200, "expired")


def test_dead_before_it_expires() -> None:
    """An entry is never used after its death, even one that claims to be fresh."""
    assert usable(0.0, 100.0, 50.0, 60.0, NONE, stale_ok=1e9) == Use(Freshness.UNUSABLE, 60, "expired")


@pytest.mark.parametrize("asked", ["no-cache", "max-age=0", "max-age=x"])
def test_a_new_answer(asked: str) -> None:
    """Who asks for a new answer gets no kept one, not even one of this very second."""
    assert use(1000.0, asked) == Use(Freshness.UNUSABLE, 0, "the caller wants a new answer")


def test_max_age() -> None:
    """No answer is older than the caller allows."""
    assert use(1010.0, "max-age=10") == Use(Freshness.FRESH, 10)
    assert use(1010.5, "max-age=10") == Use(Freshness.UNUSABLE, 10, "older than the caller allows")


def test_min_fresh() -> None:
    """An answer stays fresh for as long as the caller asks."""
    assert use(1090.0, "min-fresh=10") == Use(Freshness.FRESH, 90)
    assert use(1090.5, "min-fresh=10") == Use(Freshness.UNUSABLE, 90, "not fresh for long enough")


@pytest.mark.parametrize("asked", ["max-age=500", "min-fresh=0", "max-age=500, max-stale=500"])
def test_nobody_gets_stale_answers_who_asked_for_fresh_ones(asked: str) -> None:
    """The policy's leave to use stale answers does not override the caller."""
    assert use(1110.0, asked, stale_ok=60) == Use(Freshness.UNUSABLE, 110, "expired")


def test_other_directives() -> None:
    """What a caller says of storing does not matter to what is stored already."""
    asked = Directives(no_store=True, only_if_cached=True, ttl=0, namespace="x")
    assert usable(0.0, 9.0, 9.0, 1.0, asked, stale_ok=0.0) == Use(Freshness.FRESH, 1)
