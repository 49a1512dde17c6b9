"""JSON documents as they are kept."""

from __future__ import annotations

import orjson
import pytest

from caching.documents import dumps, loads, tight
from caching.errors import Unfaithful


def test_there_and_back() -> None:
    """An object comes back as it went in."""
    document = {"a": [1, None, 0.5, "\u00fc"], "b": {}}
    assert loads(dumps(document)) == document


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1", b"null", b"\xff"])
def test_no_object(data: bytes) -> None:
    """What is no JSON object is refused."""
    with pytest.raises(Unfaithful):
        loads(data)


def test_what_json_cannot_say() -> None:
    """A value without a JSON form is refused."""
    with pytest.raises(Unfaithful):
        dumps({"a": {1, 2}})


def test_tight() -> None:
    """A copy says the same and is another object: the room behind the first is given back."""
    written = orjson.dumps({"a": "b" * 600})
    assert tight(written) == written
    assert tight(written) is not written
