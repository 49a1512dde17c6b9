"""What a caller asks of the gateway itself."""

from __future__ import annotations

import pytest

from caching.directives import NONE, Directives
from gateway.call import NO_WISHES
from gateway.errors import BadRequest
from gateway.wishes import LONGEST_NAME, MOST_TAGS, read, without_litellm


def test_nothing() -> None:
    """A call that asks nothing costs no object of its own."""
    assert read({b"content-type": b"application/json"}, {"model": "m"}) is NO_WISHES


@pytest.mark.parametrize(
    ("headers", "field", "asked"),
    [
        ({b"cache-control": b"no-cache"}, None, Directives(no_cache=True)),
        ({b"pragma": b"no-cache"}, None, Directives(no_cache=True)),
        ({b"cache-control": b"max-age=9"}, {"s-maxage": 5}, Directives(max_age=5)),
        ({b"cache-control": b"max-age=5"}, {"no-store": True}, Directives(max_age=5, no_store=True)),
        ({b"cache-control": b"\xff\x00="}, None, NONE),
        ({}, {"ttl": 7}, Directives(ttl=7)),
        ({}, {}, NONE),
        ({}, None, NONE),
    ],
)
def test_directives(headers: dict[bytes, bytes], field: object, asked: Directives) -> None:
    """The header and LiteLLM's field both count; of two the stricter."""
    assert read(headers, {"cache": field}).directives == asked


def test_namespace() -> None:
    """A namespace is named by the header, or else by LiteLLM's field."""
    assert read({b"x-sluice-namespace": b" n "}, {}).namespace == "n"
    assert read({}, {"cache": {"namespace": "f"}}).namespace == "f"
    assert read({b"x-sluice-namespace": b"n"}, {"cache": {"namespace": "f"}}).namespace == "n"
    assert read({b"x-sluice-namespace": b""}, {"cache": {"namespace": "f"}}).namespace == "f"


def test_quality() -> None:
    """A quality is named by its header."""
    assert read({b"x-sluice-quality": b"high"}, {}).quality == "high"


def test_tags() -> None:
    """Tags come from our header and from LiteLLM's, each once, in order."""
    headers = {b"x-sluice-tags": b"a, b,,a", b"x-litellm-tags": b"c,b"}
    assert read(headers, {}).tags == ("a", "b", "c")
    assert read({b"x-sluice-tags": b" , "}, {}).tags == ()


@pytest.mark.parametrize(
    ("headers", "body", "param"),
    [
        ({b"x-sluice-namespace": b"n" * (LONGEST_NAME + 1)}, {}, "x-sluice-namespace"),
        ({b"x-sluice-namespace": b"a\tb"}, {}, "x-sluice-namespace"),
        ({b"x-sluice-quality": b"\x80"}, {}, "x-sluice-quality"),
        ({b"x-sluice-tags": b"t" * (LONGEST_NAME + 1)}, {}, "x-sluice-tags"),
        ({b"x-litellm-tags": b",".join(b"%d" % n for n in range(MOST_TAGS + 1))}, {}, "x-sluice-tags"),
        ({}, {"cache": {"namespace": "n" * (LONGEST_NAME + 1)}}, "cache.namespace"),
        ({}, {"cache": {"namespace": "a\nb"}}, "cache.namespace"),
        ({}, {"cache": {"namespace": 7}}, "cache"),
        ({}, {"cache": {"no-cache": "yes"}}, "cache"),
    ],
    ids=str,
)
def test_what_cannot_be_meant(headers: dict[bytes, bytes], body: dict[str, object], param: str) -> None:
    """Names that are too long or not printable, too many tags and values of a wrong type are refused by name."""
    with pytest.raises(BadRequest) as told:
        read(headers, body)
    assert told.value.param == param


@pytest.mark.parametrize("field", [True, {"type": "x"}, {"no-cache": True, "other": 1}, None, "no"])
def test_what_is_not_litellms(field: object) -> None:
    """A field `cache` that LiteLLM would not know is the upstream's: it asks nothing of us."""
    assert read({}, {"cache": field}) is NO_WISHES


def test_names_in_utf_8() -> None:
    """A namespace means the same in a header and in the body."""
    header = read({b"x-sluice-namespace": "über".encode()}, {})
    assert header.namespace == read({}, {"cache": {"namespace": "über"}}).namespace == "über"


def test_the_field_goes_no_further() -> None:
    """LiteLLM's field is taken out of a copy."""
    body = {"model": "m", "cache": {}, "x": 1}
    assert without_litellm(body) == {"model": "m", "x": 1}
    assert "cache" in body
