"""Embeddings item by item: one call taken apart, its answer put together again out of old and new parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import orjson

from caching import documents
from caching.errors import Unfaithful, Unkeyable

Item = str | list[int]  # a text, or the ids of its tokens
Json = dict[str, Any]

KNOWN = frozenset({"object", "data", "model", "usage", "id", "created"})  # of an answer; the last two are dropped
COUNTED = frozenset({"prompt_tokens", "total_tokens"})  # of a usage; an embedding has no completion


@dataclass(frozen=True, slots=True)
class Part:
    """What an upstream answered for one item."""

    embedding: bytes  # its JSON object, with everything the upstream said of it but the index
    tokens: int  # its share of the prompt's
    model: str  # that answered; "" if the upstream did not say
    usage: Json  # fields of the usage besides the counts; they say nothing but zero and null

    def dumps(self) -> bytes:
        """This part as bytes: a line of JSON, then the embedding."""
        return orjson.dumps({"tokens": self.tokens, "model": self.model, "usage": self.usage}) + b"\n" + self.embedding

    @staticmethod
    def loads(data: bytes) -> Part:
        """The part that `dumps` wrote. Raises Unfaithful for anything else."""
        head, _, embedding = data.partition(b"\n")
        fields = documents.loads(head)
        tokens, model, usage = fields.get("tokens"), fields.get("model"), fields.get("usage")
        is_whole = embedding.startswith(b'{"') and embedding.endswith(b"}")
        if not is_whole or not _is_count(tokens) or not isinstance(model, str) or not isinstance(usage, dict):
            raise Unfaithful("this is no part of an answer")
        return Part(embedding, tokens, model, usage)


def split(body: Mapping[str, Any]) -> list[Item]:
    """The items of a call: texts or lists of token ids. A bare list of ids is one item. Raises Unkeyable."""
    given = body.get("input")
    if isinstance(given, str) or _is_tokens(given):
        return [given]
    items = given if isinstance(given, list) else []
    if items and (all(isinstance(item, str) for item in items) or all(map(_is_tokens, items))):
        return list(items)
    raise Unkeyable("the input is neither texts nor lists of token ids")


def unique(items: Sequence[Item]) -> list[Item]:
    """The items without repetitions, in the order of their first appearance."""
    return list({item if isinstance(item, str) else tuple(item): item for item in items}.values())


def body_of(body: Mapping[str, Any], item: Item) -> Json:
    """The call for one item alone, in one form whether it stood in a list or not."""
    return {**body, "input": item}


def body_for(body: Mapping[str, Any], items: Sequence[Item]) -> Json:
    """The call for some items, each asked once; `unique(items)` are those the answer will have, in order."""
    asked = unique(items)
    return {**body, "input": asked[0] if len(asked) == 1 else asked}


def parse(answer: bytes, items: Sequence[Item]) -> list[Part]:
    """The parts of an answer to exactly these items. Raises Unfaithful if one is missing or something would be lost.

    The prompt's tokens are shared out by the items' lengths and add up to what was reported.
    """
    fields = documents.loads(answer)
    if not KNOWN.issuperset(fields) or fields.get("object", "list") != "list":
        raise Unfaithful("the answer has fields that belong to no item")
    model = fields.get("model", "")
    if not isinstance(model, str):
        raise Unfaithful("the answer's model is no name")
    tokens, rest = _usage(fields.get("usage"))
    embeddings = _in_order(fields.get("data"), len(items))
    shares = _shares(tokens, [len(item) for item in items])
    written = map(documents.dumps, embeddings)
    return [Part(embedding, share, model, rest) for embedding, share in zip(written, shares, strict=True)]


def assemble(parts: Sequence[Part], model: str) -> bytes:
    """One answer out of parts, in this order. Raises Unfaithful if different models made them.

    `model` is the name to tell. Vectors of two models cannot be compared, so they must not meet in one answer.
    """
    if len({part.model for part in parts}) > 1:
        raise Unfaithful("different models made the parts of this answer")
    data = [b'{"index":%d,%b' % (at, part.embedding[1:]) for at, part in enumerate(parts)]
    tokens = sum(part.tokens for part in parts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    for part in parts:
        usage.update(part.usage)
    tail = orjson.dumps({"model": model, "usage": usage})
    return b'{"object":"list","data":[%b],%b' % (b",".join(data), tail[1:])


def _is_tokens(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0


def _usage(usage: object) -> tuple[int, Json]:
    if not isinstance(usage, dict) or not _is_count(tokens := usage.get("prompt_tokens")):
        raise Unfaithful("the answer does not say how many tokens its prompt had")
    if usage.get("total_tokens", tokens) != tokens:
        raise Unfaithful("the answer counts tokens besides those of its prompt")
    rest = {name: value for name, value in usage.items() if name not in COUNTED}
    if not all(map(_says_nothing, rest.values())):
        raise Unfaithful("the answer's usage has counts that belong to no item")
    return tokens, rest


def _says_nothing(value: object) -> bool:
    """Zero and null are the same for a part as for the whole, and so are objects of them."""
    if isinstance(value, dict):
        return all(inner is None or inner == 0 for inner in value.values())
    return value is None or value == 0


def _in_order(data: object, count: int) -> list[Json]:
    if not isinstance(data, list) or len(data) != count:
        raise Unfaithful("the answer has more or fewer embeddings than were asked for")
    told: dict[int, Json] = {}
    for item in data:
        if not isinstance(item, dict) or not item.get("embedding") or not isinstance(item["embedding"], list | str):
            raise Unfaithful("an embedding is missing")
        index = item.get("index")
        if type(index) is not int or not 0 <= index < count or index in told:
            raise Unfaithful("the embeddings are not numbered as the items were")
        told[index] = {name: value for name, value in item.items() if name != "index"}
    return [told[index] for index in range(count)]


def _shares(total: int, lengths: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to the lengths that add up to the total: the largest remainder method."""
    weights = [max(1, length) for length in lengths]
    whole = sum(weights)
    shares = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda at: -(total * weights[at] % whole))
    for at in by_remainder[: total - sum(shares)]:
        shares[at] += 1
    return shares
