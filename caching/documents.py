"""JSON documents as they are kept: an object or Unfaithful, and bytes that take no more room than they need."""

from __future__ import annotations

from typing import Any

import orjson

from caching.errors import Unfaithful


def loads(data: bytes) -> dict[str, Any]:
    """The JSON object these bytes are. Raises Unfaithful for anything else."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Unfaithful("this is not JSON") from error
    if not isinstance(value, dict):
        raise Unfaithful("this is not a JSON object")
    return value


def dumps(value: object) -> bytes:
    """The value as JSON. Raises Unfaithful where it has none."""
    try:
        return tight(orjson.dumps(value))
    except orjson.JSONEncodeError as error:
        raise Unfaithful(f"this cannot be written as JSON: {error}") from error


def tight(data: bytes) -> bytes:
    """A copy in just the room it needs: what orjson has written may hold up to ten times as much."""
    return bytes(memoryview(data))
