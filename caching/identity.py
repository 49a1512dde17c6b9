"""What makes two calls equal: the key under which an answer is kept, and the digests that tell near calls apart.

Laws of this module:

* Two calls have one key only if every field that has an effect on the answer is equal, fields nobody has heard of
  included, and all six fields of their scope. Order, white space, escapes and the writing of numbers do not matter.
* A key is the same in every process, on every machine, after every restart, and says nothing about what it was made of
  to someone who does not know it all.
* Where it is not certain what an upstream would read, the call has no key: Unkeyable.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from hashlib import blake2b
from typing import Any

import orjson

from caching.directives import LITELLM_FIELDS
from caching.errors import Unkeyable

KEY_BYTES = 32
CHECK_BYTES = 16  # compared on a hit, so that even two calls under one key never share an answer
MAX_CHECKED = 1024 * 1024  # bytes; reading a longer body for keys that stand twice would hold up the other calls
EXACT = 2**53  # from here on two whole numbers can be one double
MAX_PARTS = 64
ITEMS = {"messages": 36, "input": 36, "tools": 8}  # told apart one by one, up to so many
MAX_PATH = 64  # characters; a field's name is the caller's to choose

# They say who asks, how the answer travels and where its prompt is kept, not what is asked.
IGNORED = frozenset(
    {
        "stream",
        "user",
        "safety_identifier",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "priority",  # vLLM's scheduling
        "request_id",  # vLLM's
    }
)
JUDGED = frozenset({"store", "stream_options", "cache"})  # ignored or not, by what they hold
STREAM_OPTIONS = frozenset({"include_usage", "include_obfuscation"})  # the edge knows how to do without them
# OpenAI's request fields, all endpoints together: null means there as much as saying nothing. Of others nobody knows.
SCHEMA = frozenset(
    {
        *("audio", "best_of", "dimensions", "echo", "encoding_format", "frequency_penalty", "function_call"),
        *("functions", "input", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "messages"),
        *("metadata", "modalities", "model", "moderation", "n", "parallel_tool_calls", "prediction"),
        *("presence_penalty", "prompt", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        *("reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "stop", "store"),
        *("stream", "stream_options", "suffix", "temperature", "tool_choice", "tools", "top_logprobs", "top_p"),
        *("user", "verbosity", "web_search_options"),
    }
)

Parts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """Within which calls can be equal: nothing is ever shared across two scopes."""

    tenant: str
    namespace: str
    endpoint: str
    model: str  # as requested
    quality: str
    rule: str  # a fingerprint of what the matching rule does to answers


class Identity:
    """Which call this is. `key` (32 bytes) finds its answer, `check` (16 bytes) proves that it is the one."""

    __slots__ = ("_parts", "body", "check", "key", "scope")

    def __init__(self, scope: Scope, key: bytes, check: bytes, body: Mapping[str, Any]) -> None:
        self.scope = scope
        self.key = key
        self.check = check
        self.body = body
        self._parts: Parts | None = None

    def parts(self) -> Parts:
        """The call field by field: (path, 12 hex digits), scope first, at most 64; made once, when first asked for.

        Equal digests mean equal values within one tenant; digests of two tenants never compare. No text can be read
        from them. What is beyond the first items of a list, or beyond 64 parts, is digested together.
        """
        if self._parts is None:
            self._parts = _parts(self.scope, _effective(self.body))
        return self._parts


class Identifier:
    """Gives the calls of one scope their keys."""

    __slots__ = ("_fed", "_scope")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._fed = blake2b(digest_size=KEY_BYTES + CHECK_BYTES, person=b"sluice-key-v1")
        for text in astuple(scope):  # each behind its length: ("ab", "c") is not ("a", "bc")
            data = text.encode("utf-8", "surrogatepass")
            self._fed.update(len(data).to_bytes(8, "little") + data)

    def identify(self, body: Mapping[str, Any], raw: bytes) -> Identity:
        """The identity of a call: `raw` its JSON object as it came, `body` the same parsed by orjson.

        Raises Unkeyable for a call that cannot be told apart from others for certain.
        """
        _refuse_keys_standing_twice(body, raw)
        digest = self._fed.copy()
        digest.update(_written(_effective(body), orjson.OPT_SORT_KEYS))
        made = digest.digest()
        return Identity(self._scope, made[:KEY_BYTES], made[KEY_BYTES:], body)


def _written(value: object, option: int = 0) -> bytes:
    try:
        return orjson.dumps(value, option=option)
    except orjson.JSONEncodeError as error:
        raise Unkeyable("the body is nested too deeply") from error


def _refuse_keys_standing_twice(body: Mapping[str, Any], raw: bytes) -> None:
    """Raise Unkeyable if an object of `raw` has a key twice: nobody knows which of the two an upstream reads.

    Two quick tests prove that most bodies have none. The body's dump has each key once, so a text equal to it has too.
    And without an escaped colon in the text, its colons are those of the dump and one for every key that was dropped.
    """
    once = _written(body)
    if raw == once or (b"\\u003" not in raw and raw.count(b":") == once.count(b":")):
        return
    if len(raw) > MAX_CHECKED:
        raise Unkeyable("the body is too long to look for keys that stand twice")
    try:
        json.loads(raw, object_pairs_hook=_object_of)
    except (RecursionError, ValueError) as error:  # the two readers do not agree
        raise Unkeyable("the body cannot be read for certain") from error


def _object_of(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise Unkeyable("a key stands twice in an object of the body")


def _effective(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have an effect on the answer, with every number written in the one way."""
    fields = {
        name: value for name, value in body.items() if name not in IGNORED and (value is not None or name not in SCHEMA)
    }
    if not JUDGED.isdisjoint(fields):
        _judge(fields)
    return _with_plain_numbers(fields) if _has_whole_float(fields) else fields


def _judge(fields: dict[str, Any]) -> None:
    """Take out what has no effect here; raise Unkeyable for what cannot be kept."""
    if fields.pop("store", False) is not False:
        raise Unkeyable("store: the caller wants the upstream to keep the answer")
    options = fields.pop("stream_options", {})
    if not isinstance(options, dict):
        raise Unkeyable("stream_options is not an object")
    for name in options:
        if name not in STREAM_OPTIONS:
            raise Unkeyable(f"stream_options.{_shown(name)} changes the stream in a way that is not kept")
    cache = fields.get("cache")
    if isinstance(cache, dict) and cache.keys() <= LITELLM_FIELDS:  # LiteLLM's word to the gateway; see directives
        del fields["cache"]


def _has_whole_float(value: Any) -> bool:
    """Say whether a float somewhere could be written as an integer: only these have two writings here."""
    for item in value.values() if type(value) is dict else value:
        kind = type(item)
        if kind is float:
            if item.is_integer():
                return True
        elif (kind is dict or (kind is list and item and not _is_all_ints(item))) and _has_whole_float(item):
            return True
    return False


def _is_all_ints(items: list[Any]) -> bool:
    """Say whether a list surely holds integers only, as one of tokens does: a sum with a float in it is a float."""
    if type(items[0]) is not int:
        return False
    try:
        return type(sum(items)) is int
    except (TypeError, OverflowError):  # it holds something else than numbers, or a float near the largest
        return False


def _with_plain_numbers(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return {name: _with_plain_numbers(item) for name, item in value.items()}
    if kind is list:
        return [_with_plain_numbers(item) for item in value]
    if kind is float and value.is_integer():
        if abs(value) >= EXACT:  # also integers so long that they were read as floats
            raise Unkeyable("a whole number is too large to be told apart from its neighbours")
        return int(value)
    return value


def _parts(scope: Scope, fields: Mapping[str, Any]) -> Parts:
    # Keyed by the tenant, so that nobody sees that two tenants wrote the same.
    tenant = blake2b(scope.tenant.encode("utf-8", "surrogatepass"), digest_size=32).digest()
    base = blake2b(digest_size=6, key=tenant, person=b"sluice-part-v1")

    def part(path: str, value: bytes) -> tuple[str, str]:
        digest = base.copy()
        digest.update(path.encode() + b"\0" + value)
        return _shown(path), digest.hexdigest()

    parts = [
        part(name, getattr(scope, name).encode("utf-8", "surrogatepass"))
        for name in ("tenant", "namespace", "endpoint", "model", "quality", "rule")
    ]
    pieces = [piece for piece in _pieces(fields) if piece != ("model", scope.model)]  # told already
    room = MAX_PARTS - len(parts)
    if len(pieces) > room:
        pieces, rest = pieces[: room - 1], pieces[room - 1 :]
        pieces.append(("other fields", rest))
    parts.extend(part(path, _written(value, orjson.OPT_SORT_KEYS)) for path, value in pieces)
    return tuple(parts)


def _shown(name: str) -> str:
    """A field's name, short and fit for a log line or a header; for eyes only, since two names can look the same."""
    return name[:MAX_PATH] if name and name.isascii() and name.isprintable() else ascii(name[:MAX_PATH])


def _pieces(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every field by its path, sorted; the lists that grow item by item."""
    for name in sorted(fields):
        value = fields[name]
        most = ITEMS.get(name)
        if most is None or type(value) is not list:
            yield name, value
            continue
        whole = len(value) if len(value) <= most else most - 1
        for index in range(whole):
            yield f"{name}[{index}]", value[index]
        if whole < len(value):
            yield f"{name}[{whole}..]", value[whole:]
