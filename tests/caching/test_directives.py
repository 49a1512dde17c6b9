"""What a caller may ask of the cache: always stricter, never looser, and safe where it is malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching.directives import LONGEST, NONE, Directives, from_litellm, merged, parse

NO_CACHE = Directives(no_cache=True)

seconds = st.none() | st.integers(0, 100)
anything = st.builds(Directives, st.booleans(), st.booleans(), st.booleans(), seconds, seconds, seconds)


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        (None, NONE),
        ("", NONE),
        (" , ,", NONE),
        ("no-cache", NO_CACHE),
        (b"no-cache", NO_CACHE),
        ("No-Cache", NO_CACHE),
        ('no-cache="set-cookie"', NO_CACHE),
        ("no-store", Directives(no_store=True)),
        ("only-if-cached", Directives(only_if_cached=True)),
        ("max-age=60", Directives(max_age=60)),
        ('max-age="60"', Directives(max_age=60)),
        (" max-age = 060 ", Directives(max_age=60)),
        ("min-fresh=10", Directives(min_fresh=10)),
        ("no-store,max-age=1 , only-if-cached", Directives(no_store=True, max_age=1, only_if_cached=True)),
    ],
)
def test_directives(value: str | bytes | None, asked: Directives) -> None:
    """The directives of RFC 9111, in every way they are written."""
    assert parse(value) == asked


@pytest.mark.parametrize(
    "value", ["no-transform", "max-stale", "max-stale=100", "stale-if-error=60", "private, x=y", "no_cache"]
)
def test_nothing_loosens(value: str) -> None:
    """What is unknown, or would only loosen, asks for nothing."""
    assert parse(value) == NONE


@pytest.mark.parametrize("number", ["", "-1", "1.5", "x", "1 2", "\u00b2", "\u0661", "0x10", "1_0", '"', "+1"])
@pytest.mark.parametrize("name", ["max-age", "min-fresh"])
def test_malformed_numbers(name: str, number: str) -> None:
    """A number that cannot be read asks for a new answer."""
    assert parse(f"{name}={number}") == parse(name) == NO_CACHE


def test_an_age_of_nothing() -> None:
    """max-age=0 asks for a new answer."""
    assert parse("max-age=0") == Directives(no_cache=True, max_age=0)
    assert not parse("min-fresh=0").no_cache


@pytest.mark.parametrize("number", ["2147483649", "9" * 11, "9" * 10_000, "0" * 5000 + str(2**40)])
def test_huge_numbers(number: str) -> None:
    """A number of any length is read, and counts as the longest time there is."""
    assert parse(f"max-age={number}") == Directives(max_age=LONGEST)


def test_the_stricter_of_two() -> None:
    """A directive that stands twice counts in its stricter form."""
    assert parse("max-age=60, max-age=10, min-fresh=1, min-fresh=5") == Directives(max_age=10, min_fresh=5)
    assert parse("max-age=60, max-age=x") == Directives(no_cache=True, max_age=60)


def test_quotes() -> None:
    """A comma in a quoted text divides nothing; a quote without its partner hides nothing."""
    assert parse('x="a, no-store, b", max-age=3') == Directives(max_age=3)
    assert parse('x="a, no-store') == Directives(no_store=True)


def test_pragma() -> None:
    """Pragma counts only where there is no Cache-Control."""
    assert parse(None, "no-cache") == parse("", b"x, No-Cache") == NO_CACHE
    assert parse("max-age=5", "no-cache") == Directives(max_age=5)
    assert parse(None, "no-store") == NONE


@given(st.text() | st.binary())
def test_any_header(value: str | bytes) -> None:
    """Whatever a caller sends is read."""
    parse(value, value)


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        (None, NONE),
        ({}, NONE),
        ({"no-cache": True}, NO_CACHE),
        ({"no-cache": False, "no-store": None, "use-cache": True}, NONE),
        ({"no-store": True}, Directives(no_store=True)),
        ({"s-maxage": 60}, Directives(max_age=60)),
        ({"s-maxage": 60, "s-max-age": 5.9}, Directives(max_age=5)),
        ({"s-maxage": 0}, Directives(no_cache=True, max_age=0)),
        ({"ttl": 30, "namespace": "mine"}, Directives(ttl=30, namespace="mine")),
        ({"ttl": 10**30}, Directives(ttl=LONGEST)),
        ({"unknown": []}, NONE),
    ],
)
def test_litellm(field: object, asked: Directives) -> None:
    """LiteLLM's body field `cache` asks for the same things under its own names."""
    assert from_litellm(field) == asked


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("no-cache", "cache must be an object"),
        ([], "cache must be an object"),
        (True, "cache must be an object"),
        ({"no-cache": 1}, "cache.no-cache must be true or false"),
        ({"no-store": "true"}, "cache.no-store must be true or false"),
        ({"use-cache": "yes"}, "cache.use-cache must be true or false"),
        ({"ttl": "60"}, "cache.ttl must be a number of seconds, 0 or more"),
        ({"ttl": True}, "cache.ttl must be a number"),
        ({"s-maxage": -1}, "cache.s-maxage must be a number"),
        ({"s-max-age": float("inf")}, "cache.s-max-age must be a number"),
        ({"s-max-age": float("nan")}, "cache.s-max-age must be a number"),
        ({"namespace": 3}, "cache.namespace must be a string"),
    ],
)
def test_litellm_wrong(field: object, words: str) -> None:
    """A value of a wrong type is told to the caller, by its name."""
    with pytest.raises(ValueError, match=words):
        from_litellm(field)


@given(anything, anything)
def test_merged_is_stricter_than_both(a: Directives, b: Directives) -> None:
    """Of two, no wish is lost; the order does not matter, and merging again changes nothing."""
    both = merged(a, b)
    assert both == merged(b, a) == merged(both, a) == merged(NONE, both) == merged(both, NONE)
    for one in (a, b):
        assert both.no_cache >= one.no_cache
        assert both.no_store >= one.no_store
        assert both.only_if_cached >= one.only_if_cached
        assert one.max_age is None or (both.max_age is not None and both.max_age <= one.max_age)
        assert one.min_fresh is None or (both.min_fresh is not None and both.min_fresh >= one.min_fresh)
        assert one.ttl is None or (both.ttl is not None and both.ttl <= one.ttl)


def test_the_first_namespace() -> None:
    """One call is in one namespace: the first that is named."""
    one, other = Directives(namespace="a"), Directives(namespace="b", no_store=True)
    assert merged(one, other) == Directives(namespace="a", no_store=True)
    assert merged(Directives(no_cache=True), other).namespace == "b"
