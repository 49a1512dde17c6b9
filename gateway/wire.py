"""OpenAI's wire format at both borders: what a client may send, and what an upstream's answer says.

The client's JSON is read, never edited: `with_usage_chunk` and `with_model` make other bytes for the upstream.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import orjson

from gateway.errors import BadRequest

VERSION = re.compile(r"[-:@](\d{3,}[\d-]*|v\d[\w.]*|latest|preview|exp)")


def parse_body(body: bytes) -> dict[str, Any]:
    """The JSON object a client sent. Raises BadRequest with the place of the fault, never with the text."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object.")
    return value


def check(endpoint: str, body: Mapping[str, Any], *, max_messages: int | None = None) -> str:
    """Check what the gateway itself reads and return the model's name. The rest is the upstream's to judge."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("'model' is required and must be a string.", param="model")
    if not isinstance(body.get("stream"), bool | None):
        raise BadRequest("'stream' must be true or false.", param="stream")
    if not isinstance(body.get("stream_options"), dict | None):
        raise BadRequest("'stream_options' must be an object.", param="stream_options")
    if endpoint == "embeddings" and body.get("stream"):
        raise BadRequest("Embeddings are not streamed.", param="stream")
    if endpoint == "chat":
        _check_messages(body.get("messages"), max_messages)
    else:
        _check_present(body, "prompt" if endpoint == "completions" else "input")
    return model


def _check_messages(messages: object, limit: int | None) -> None:
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' is required and must be a list with at least one message.", param="messages")
    if limit is not None and len(messages) > limit:
        raise BadRequest(f"'messages' holds {len(messages)}; the limit is {limit}.", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadRequest(f"'messages[{index}]' must be an object with a 'role'.", param=f"messages[{index}]")


def _check_present(body: Mapping[str, Any], name: str) -> None:
    if not isinstance(body.get(name), str | list):
        raise BadRequest(f"'{name}' is required and must be a string or a list.", param=name)


def with_usage_chunk(raw: bytes, body: Mapping[str, Any]) -> bytes:
    """The body with `stream_options.include_usage` asked for; the client's own bytes where they need no change."""
    options = body.get("stream_options")
    if options is None and "stream_options" not in body:
        # The client's bytes, with one field put in front: nothing of theirs is re-written.
        return b'{"stream_options":{"include_usage":true},' + raw.lstrip()[1:]
    if options and options.get("include_usage") is True:
        return raw
    return dumps({**body, "stream_options": {**(options or {}), "include_usage": True}})


def with_model(body: Mapping[str, Any], model: str) -> bytes:
    """The body with another model's name. Raises BadRequest for what can be read but not written again."""
    return dumps({**body, "model": model})


def dumps(body: Mapping[str, Any]) -> bytes:
    """A client's JSON as bytes. Raises BadRequest for a depth that can be read but not written again."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise BadRequest("The body is nested too deeply.") from error


def has_twin_keys(raw: bytes, body: Mapping[str, Any]) -> bool:
    """Say whether a key the gateway decides by may stand twice: an upstream might heed the one we did not check."""
    if _stands_twice(raw, b'"model"') or ("stream" in body and _stands_twice(raw, b'"stream"')):
        return True
    # A letter of a key may be written \u006d; nobody but an attacker or a test does.
    return b"\\" in raw and raw.rfind(b"\\u00") >= 0 and (b"\\u006" in raw or b"\\u007" in raw)


def _stands_twice(raw: bytes, word: bytes) -> bool:
    """Searched from the end: in long bodies that takes half the time of counting."""
    last = raw.rfind(word)
    return last >= 0 and raw.rfind(word, 0, last) >= 0


def parse_answer(body: bytes) -> dict[str, Any] | None:
    """The JSON object an upstream sent, or None if it is none."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = _parse_leniently(body)
    return value if isinstance(value, dict) else None


def _parse_leniently(body: bytes) -> object:
    """Engines cut characters in two and write lone surrogates, which orjson refuses and clients accept."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def error_of(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The error inside an answer, whatever its HTTP status says; None if it is a real answer.

    Some routers send `choices` beside the error of a stream that broke.
    """
    error = answer.get("error")
    if not error:
        return None
    return error if isinstance(error, dict) else {"message": str(error)}


def is_model(answered: object, asked: str, accepted: tuple[str, ...] = ()) -> bool:
    """Say whether an answer's `model` can be the one asked for.

    It is when the names are equal, when one is the other's last path part, when the answer adds a version to the name
    (`gpt-4o` answers as `gpt-4o-2024-08-06`), or when the policy accepts it. An answer without a name passes.
    """
    if not isinstance(answered, str) or not answered or answered == asked:
        return True
    ours = asked.rsplit("/", 1)[-1].removesuffix("-latest")
    theirs = answered.rsplit("/", 1)[-1]
    is_version_of = theirs.startswith(ours) and VERSION.fullmatch(theirs, len(ours)) is not None
    return ours == theirs or is_version_of or any(fnmatchcase(answered, pattern) for pattern in accepted)
