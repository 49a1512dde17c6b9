"""Embeddings item by item."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching import items
from caching.errors import Unfaithful, Unkeyable
from caching.items import Item, Part
from tests.caching.strategies import SCALARS, VALUES, Json

TOKENS = st.lists(st.integers(0, 60000), min_size=1, max_size=5)
INPUTS: st.SearchStrategy[Any] = st.lists(st.text(max_size=8), min_size=1, max_size=6) | st.lists(
    TOKENS, min_size=1, max_size=6
)


def answer_to(asked: list[Item], tokens: int = 9, **fields: Any) -> Json:
    """What an upstream answers: vectors that tell which item they are of."""
    data = [{"object": "embedding", "index": at, "embedding": vector(item)} for at, item in enumerate(asked)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": "m", "usage": usage, **fields}


def vector(item: Item) -> list[float]:
    """A vector only this item has."""
    return [0.1, -1e-17, float(hash(str(item)) % 1000)]


@pytest.mark.parametrize(
    ("given_input", "wanted"),
    [
        ("x", ["x"]),
        ("", [""]),
        (["x"], ["x"]),
        (["x", "y", "x"], ["x", "y", "x"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2]], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_what_is_an_item(given_input: Any, wanted: list[Item]) -> None:
    """A text is an item, and so is a list of token ids; lists of either are several."""
    assert items.split({"input": given_input}) == wanted


@pytest.mark.parametrize(
    "bad", [None, 1, True, [], [[]], [1, "x"], ["x", [1]], [[1], []], [True], [1.0], {"a": 1}, [None]]
)
def test_what_is_none(bad: Any) -> None:
    """Nothing, mixtures and anything else cannot be told apart into items."""
    with pytest.raises(Unkeyable):
        items.split({"input": bad})
    with pytest.raises(Unkeyable):
        items.split({})


def test_one_item_has_one_body() -> None:
    """A text alone and in a list of one is the same call, and the other fields stay."""
    for same in ({"input": "x", "model": "m"}, {"input": ["x"], "model": "m"}):
        assert items.body_of(same, items.split(same)[0]) == {"input": "x", "model": "m"}


def test_misses_are_asked_once() -> None:
    """The upstream gets each missing item once, in order; one alone in its plain form."""
    body = {"input": ["a", "b", "a", "c"], "model": "m"}
    assert items.body_for(body, ["a", "c", "a"]) == {"input": ["a", "c"], "model": "m"}
    assert items.body_for(body, ["c", "c"]) == {"input": "c", "model": "m"}
    assert items.body_for(body, [[1, 2], [3], [1, 2]])["input"] == [[1, 2], [3]]
    assert body["input"] == ["a", "b", "a", "c"]


@given(INPUTS, st.integers(0, 500), st.data())
def test_hits_and_misses_make_the_whole_answer(asked: list[Item], tokens: int, data: st.DataObject) -> None:
    """Whichever items were known before, the answer has every embedding in its place and all their tokens."""
    known = {str(item): part for item, part in zip(asked, parts_of(asked, tokens), strict=True)}
    hits = {name: known[name] for name in data.draw(st.sets(st.sampled_from(sorted(known))))}
    missing = [item for item in asked if str(item) not in hits]
    fresh = parts_of(items.unique(missing), tokens) if missing else []
    found = hits | {str(item): part for item, part in zip(items.unique(missing), fresh, strict=True)}
    whole = orjson.loads(items.assemble([Part.loads(found[str(item)].dumps()) for item in asked], "m"))
    assert whole["data"] == answer_to(asked)["data"]
    counted = sum(found[str(item)].tokens for item in asked)
    assert whole["usage"] == {"prompt_tokens": counted, "total_tokens": counted}


def parts_of(asked: list[Item], tokens: int) -> list[Part]:
    """The parts of an upstream's answer to these items."""
    return items.parse(orjson.dumps(answer_to(asked, tokens)), asked)


@given(INPUTS, st.integers(0, 10**6), st.randoms())
def test_a_whole_answer_comes_back_equal(asked: list[Item], tokens: int, random: Any) -> None:
    """An answer taken apart and put together is the answer, in whatever order its items came."""
    answer = answer_to(asked, tokens)
    shuffled = {**answer, "data": random.sample(answer["data"], len(asked))}
    assert orjson.loads(items.assemble(items.parse(orjson.dumps(shuffled), asked), "m")) == answer


def test_tokens_are_shared_by_length() -> None:
    """Each item bears its part of the prompt's tokens, in whole numbers that add up."""
    asked: list[Item] = ["a", "bbbb", "ccccc"]
    assert [part.tokens for part in parts_of(asked, 20)] == [2, 8, 10]
    assert [part.tokens for part in parts_of(asked, 7)] == [1, 3, 3]
    assert [part.tokens for part in parts_of(["", ""], 3)] == [2, 1]


def test_base64_and_unknown_fields_of_an_item_survive() -> None:
    """What the upstream says of an item stays with it, vectors as base64 too."""
    answer = answer_to(["a"])
    answer["data"][0] |= {"embedding": "AACAPw==", "x_note": "é"}
    assert orjson.loads(items.assemble(items.parse(orjson.dumps(answer), ["a"]), "m")) == answer


def test_empty_counts_of_a_usage_survive() -> None:
    """Engines report completions of nothing; zeros and nulls are the same for a part as for the whole."""
    usage = {
        "prompt_tokens": 2,
        "total_tokens": 2,
        "completion_tokens": 0,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    parts = items.parse(orjson.dumps(answer_to(["a", "b"], usage=usage, id="embd-1", created=1)), ["a", "b"])
    assert orjson.loads(items.assemble(parts, "m"))["usage"] == usage


@pytest.mark.parametrize(
    "fields",
    [
        {"warnings": []},
        {"object": "embeddings"},
        {"model": 1},
        {"usage": None},
        {"usage": {"total_tokens": 1}},
        {"usage": {"prompt_tokens": -1}},
        {"usage": {"prompt_tokens": True}},
        {"usage": {"prompt_tokens": 1, "total_tokens": 2}},
        {"usage": {"prompt_tokens": 1, "total_tokens": 1, "images": 1}},
        {"data": None},
        {"data": []},
        {"data": [1, 2]},
        {"data": [{"index": 0, "embedding": [1]}]},
        {"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]},
        {"data": [{"index": 0, "embedding": [1]}, {"index": 2, "embedding": [1]}]},
        {"data": [{"index": 0, "embedding": [1]}, {"embedding": [1]}]},
        {"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": []}]},
        {"data": [{"index": 0, "embedding": [1]}, {"index": 1}]},
        {"data": [{"index": 0, "embedding": [1]}, {"index": True, "embedding": [1]}]},
    ],
)
def test_what_cannot_be_taken_apart_is_refused(fields: Json) -> None:
    """Missing, doubled or misnumbered embeddings, and fields that belong to no item, are not kept."""
    with pytest.raises(Unfaithful):
        items.parse(orjson.dumps(answer_to(["a", "b"], **fields)), ["a", "b"])


def test_vectors_of_two_models_do_not_meet() -> None:
    """Parts that different models made are never put into one answer: their vectors cannot be compared."""
    (one,), (other,) = parts_of(["a"], 1), items.parse(orjson.dumps(answer_to(["b"], model="n")), ["b"])
    with pytest.raises(Unfaithful):
        items.assemble([one, other], "m")


@given(st.sampled_from(["object", "data", "model", "usage", "x"]), VALUES)
def test_nothing_but_unfaithful_is_raised_by_parse(name: str, value: Any) -> None:
    """Whatever an upstream sends in a field, the answer is taken apart or refused."""
    with contextlib.suppress(Unfaithful):
        items.parse(orjson.dumps(answer_to(["a"], **{name: value})), ["a"])
    with contextlib.suppress(Unfaithful):
        items.parse(orjson.dumps(answer_to(["a"], data=[{"index": 0, "embedding": [1], "x": 1, name: value}])), ["a"])


@given(st.binary(max_size=40) | st.builds(lambda head: orjson.dumps(head) + b'\n{"embedding":[1]}', SCALARS))
def test_what_is_no_part_is_refused(data: bytes) -> None:
    """Bytes that `dumps` did not write are refused."""
    with pytest.raises(Unfaithful):
        Part.loads(data)
    with pytest.raises(Unfaithful):
        items.parse(data, ["a"])
