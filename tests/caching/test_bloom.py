"""The filter never denies a key it was given, and rarely admits another."""

from __future__ import annotations

from caching.bloom import Bloom
from tests.fakes.stores import key


def test_holds_all() -> None:
    """Every key that was added is there."""
    known = Bloom(5000)
    for number in range(5000):
        known.add(key(number))
    assert all(key(number) in known for number in range(5000))


def test_rarely_wrong() -> None:
    """At its capacity, fewer than two absent keys in a hundred look present."""
    known = Bloom(1000)
    for number in range(known.capacity):
        known.add(key(number))
    assert not known.full
    wrong = sum(key(f"absent {number}") in known for number in range(10_000))
    assert wrong < 200


def test_full() -> None:
    """It says when it was given more than it was made for."""
    known = Bloom(10)
    for number in range(known.capacity + 1):
        known.add(key(number))
    assert known.full


def test_empty() -> None:
    """An empty filter holds nothing."""
    assert key("a") not in Bloom(1)
