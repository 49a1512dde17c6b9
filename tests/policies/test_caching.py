"""Caching in the policy: its defaults are safe, and nothing that would have no effect can be said."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from policies.caching import MOST_TAGS, Cache, RuleCache
from policies.model import Policy


def test_what_stores_may_use() -> None:
    """Memory, disk, entries and time are bounded when nothing is said."""
    cache = Policy().cache
    assert (cache.memory, cache.disk, cache.entry) == (64_000_000, 1_000_000_000, 1_000_000)
    assert (cache.retention, cache.deadline) == (604_800.0, 0.05)


def test_a_rule_without_a_word_on_caching() -> None:
    """Equal calls are answered once when they do not sample; nothing stale serves, and nothing cut short is kept."""
    cache = Policy().rule_for("gpt-4o", "local", "chat").cache
    assert (cache.exact, cache.coalesce, cache.sampling, cache.ttl) == (True, True, "deterministic", 3600.0)
    assert (cache.stale_while_revalidate, cache.stale_if_error, cache.finish) == (0.0, 0.0, 0.0)
    assert (cache.truncated, cache.tags) == (False, [])


def test_as_people_write_it() -> None:
    """Sizes, durations and tags are read from text."""
    cache = Cache.model_validate({"memory": "1GiB", "disk": "0", "retention": "30d", "deadline": "20ms"})
    assert (cache.memory, cache.disk, cache.retention, cache.deadline) == (2**30, 0, 2_592_000.0, 0.02)
    rule = RuleCache.model_validate({"sampling": "any", "ttl": "30d", "stale_if_error": "1d", "tags": ["a", "b"]})
    assert (rule.sampling, rule.ttl, rule.stale_if_error, rule.tags) == ("any", 2_592_000.0, 86_400.0, ["a", "b"])


@pytest.mark.parametrize(
    "fields",
    [
        {"memory": 0},
        {"disk": "-1"},
        {"disk": "false"},
        {"entry": 0},
        {"retention": 0},
        {"retention": "367d"},
        {"deadline": 0},
    ],
)
def test_stores_that_cannot_be(fields: dict[str, Any]) -> None:
    """Only the disk may be left out: a store of nothing, or kept for no time, is refused."""
    with pytest.raises(ValidationError):
        Cache.model_validate(fields)


@pytest.mark.parametrize(
    ("fields", "small"),
    [
        ({"memory": "512KB"}, "memory"),
        ({"disk": "512KB"}, "disk"),
        ({"entry": "2GB", "memory": "4GB"}, "disk"),
        ({"memory": "2MB", "disk": "1MB", "entry": "1MB"}, "disk"),
        ({"disk": "1999999"}, "disk"),
    ],
)
def test_an_entry_that_no_store_could_hold(fields: dict[str, Any], small: str) -> None:
    """Memory smaller than one answer of the longest kind is refused, and a disk smaller than two; else none is."""
    with pytest.raises(ValidationError, match=f"{small} is too small"):
        Cache.model_validate(fields)
    assert Cache.model_validate({"memory": "512KB", "disk": 0, "entry": "512KB"}).entry == 512_000
    assert Cache.model_validate({"disk": "1MB", "entry": "500KB"}).disk == 1_000_000


@pytest.mark.parametrize(
    "fields",
    [
        {"sampling": "none"},
        {"ttl": 0},
        {"ttl": "367d"},
        {"stale_if_error": -1},
        {"stale_while_revalidate": "8d"},
        {"finish": "inf"},
        {"exact": "perhaps"},
        {"tags": ["a", "a"]},
        {"tags": [""]},
        {"tags": [str(number) for number in range(MOST_TAGS + 1)]},
    ],
)
def test_what_no_rule_can_say(fields: dict[str, Any]) -> None:
    """Values out of reach and tags given twice are refused."""
    with pytest.raises(ValidationError):
        RuleCache.model_validate(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"ttl": "1m"},
        {"stale_while_revalidate": "1m"},
        {"stale_if_error": "0s"},
        {"truncated": True},
        {"finish": "1m"},
        {"tags": ["a"]},
    ],
)
def test_keeping_what_is_not_kept(fields: dict[str, Any]) -> None:
    """A rule that keeps no answers cannot say how they are kept."""
    with pytest.raises(ValidationError, match=f"{next(iter(fields))} has no effect while exact is false"):
        RuleCache.model_validate({"exact": False} | fields)
    assert RuleCache.model_validate({"coalesce": False} | fields).exact


def test_sampling_of_no_call() -> None:
    """Which calls have an equal is said only where equal calls are answered once."""
    with pytest.raises(ValidationError, match="sampling has no effect"):
        RuleCache.model_validate({"exact": False, "coalesce": False, "sampling": "any"})
    assert RuleCache.model_validate({"exact": False, "sampling": "any"}).coalesce
    assert not RuleCache.model_validate({"exact": False, "coalesce": False}).coalesce


def test_equal_stores_are_one_tool() -> None:
    """Stores can be kept in a dict by their configuration: a reload that changes nothing keeps what they hold."""
    assert len({Cache(), Cache.model_validate({"memory": "64MB"}), Cache(memory=2_000_000)}) == 2
