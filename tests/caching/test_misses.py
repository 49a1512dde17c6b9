"""Why a call missed: told by the nearest call of the same tenant, in bounded memory."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching.identity import Identifier, Parts, Scope
from caching.misses import FIRST, SAME, Misses, explained, nearest


def parts(*messages: str, tenant: str = "acme", model: str = "small", **fields: Any) -> Parts:
    """The parts of a chat call at temperature 0."""
    body = {"model": model, "messages": list(messages), "temperature": 0, **fields}
    return Identifier(Scope(tenant, "", "chat", model, "", "")).identify(body, orjson.dumps(body)).parts()


def after(*before: Parts) -> Misses:
    """Misses that has seen these calls."""
    misses = Misses()
    for each in before:
        misses.add(each)
    return misses


def test_first() -> None:
    """Before any other call there is nothing to compare with."""
    assert Misses().why(parts("Hi")) == FIRST


def test_first_of_its_kind() -> None:
    """A call that shares nothing but its scope with the others is the first of its kind too."""
    assert after(parts("Hi")).why(parts("Ho", temperature=1)) == FIRST


def test_same() -> None:
    """An equal call that missed all the same tells that its answer was not there any more."""
    assert after(parts("Hi"), parts("Ho")).why(parts("Hi")) == SAME


def test_the_first_difference() -> None:
    """The first field that differs is named, and how many more there are."""
    misses = after(parts("a", "b", "c"), parts("x", "y", "z"))
    assert misses.why(parts("a", "b", "C")) == "differs from the nearest entry in messages[2]"
    assert misses.why(parts("a", "B", "C", seed=1)) == "differs from the nearest entry in messages[1] (and 2 more)"


def test_what_is_missing_is_named() -> None:
    """A field that only the earlier call has is a difference too."""
    assert after(parts("a", seed=1)).why(parts("a")) == "differs from the nearest entry in seed"


def test_a_field_without_a_name() -> None:
    """A field may be called nothing; it is a difference all the same."""
    nameless: dict[str, Any] = {"": 1}
    assert after(parts("a")).why(parts("a", **nameless)) == "differs from the nearest entry in ''"


def test_scope_differs() -> None:
    """An equal body in another scope of the tenant tells which field of the scope it was."""
    assert after(parts("a")).why(parts("a", model="large")) == "differs from the nearest entry in model"


def test_the_latest_of_the_near() -> None:
    """Of calls that are equally near the latest one is compared with, also when the ring has turned."""
    for turned in range(70):
        misses = after(*(parts("other", str(n), temperature=2) for n in range(turned)))
        misses.add(parts("a", "b", seed=1))
        misses.add(parts("a", "b", top_p=1))
        assert misses.why(parts("a", "b")) == "differs from the nearest entry in top_p"


def test_tenants_never_meet() -> None:
    """What another tenant asked is no part of any reason."""
    assert after(parts("a", tenant="other")).why(parts("a")) == FIRST


def test_the_oldest_call_goes() -> None:
    """Of one tenant so many calls are remembered, and no more."""
    misses = Misses(recent=2)
    for text in ("a", "b", "c"):
        misses.add(parts(text))
    assert [misses.why(parts(text)) == SAME for text in ("a", "b", "c")] == [False, True, True]


def test_the_oldest_tenant_goes() -> None:
    """So many tenants are remembered; the one unheard of for longest goes."""
    misses = Misses(tenants=2)
    for tenant in ("a", "b", "a", "c"):
        misses.add(parts("x", tenant=tenant))
    assert [misses.why(parts("x", tenant=tenant)) for tenant in ("a", "b", "c")] == [SAME, FIRST, SAME]


def test_parts_held_are_bounded() -> None:
    """Long calls of many tenants push out tenants before there are too many of these."""
    long = [parts(*map(str, range(40)), tenant=str(tenant)) for tenant in range(4)]
    misses = Misses(held=len(long[0]) * 3)
    for each in long:
        misses.add(each)
    assert [misses.why(each) for each in long] == [FIRST, SAME, SAME, SAME]


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), min_size=1, max_size=12), st.integers(1, 5))
def test_finds_what_a_plain_search_finds(calls: list[list[str]], recent: int) -> None:
    """The index gives the reason that comparing with every remembered call gives."""
    misses, seen = Misses(recent=recent), list[Parts]()
    for messages in calls:
        mine = parts(*messages, temperature=len(messages) // 2)
        near = nearest(mine, reversed(seen[-recent:]))
        assert misses.why(mine) == explained(mine, near)
        misses.add(mine)
        seen.append(mine)


def test_nearest() -> None:
    """The candidate with the most equal parts; the first of equals, and none of another tenant."""
    one, two = parts("a", "b"), parts("a", "c")
    assert nearest(parts("a", "c", "d"), [one, two]) == two
    assert nearest(parts("a"), [one, two]) == one
    assert nearest(parts("a"), [(), parts("a", tenant="other")]) is None


@pytest.mark.parametrize(
    ("near", "words"),
    [
        (None, FIRST),
        (parts("b", temperature=1), FIRST),
        (parts("a"), SAME),
        (parts("b", seed=1), "differs from the nearest entry in messages[0] (and 1 more)"),
    ],
)
def test_explained(near: Parts | None, words: str) -> None:
    """The command line tells the same of the entries of a store."""
    assert explained(parts("a"), near) == words
