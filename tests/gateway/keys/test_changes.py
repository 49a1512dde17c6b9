"""Decisions over all records."""

from __future__ import annotations

import pytest

from gateway.keys.changes import add, by_age, merged, revoke
from gateway.keys.store import KeyExists
from tests.gateway.keys.fakes import NOW, key, told


def test_an_expired_name_may_be_used_again() -> None:
    """A name is taken by a living key only."""
    before = told(key(lifetime=10))
    other = key("second").model_copy(update={"name": "app"})
    with pytest.raises(KeyExists):
        add(other, NOW + 9)(before)
    assert len(add(other, NOW + 10)(before)) == 2


def test_all_of_a_name_are_revoked() -> None:
    """Merged places may hold two keys of one name; both go, one that had expired too, for clocks can jump."""
    before = told(key(lifetime=10), key("second").model_copy(update={"name": "app"}), key("other"))
    after = revoke("app", NOW + 20)(before)
    assert {one.revoked for one in after.values() if one.name == "app"} == {NOW + 20}
    assert all(one.revoked is None for one in before.values())
    assert [one.revoked for one in after.values() if one.name == "other"] == [None]


def test_a_revocation_is_never_older_than_the_last_change() -> None:
    """With a clock that was set back the revoked telling is still the later one."""
    [after] = revoke("app", NOW - 100)(told(key())).values()
    assert (after.revoked, after.changed) == (NOW - 100, NOW)


def test_merged() -> None:
    """Both sides' keys are there; who gains nothing is given back as it was."""
    one, other = told(key("a")), told(key("b"))
    assert merged(one, other).keys() == one.keys() | other.keys()
    assert merged(one, told(key("a"))) is one


def test_an_old_telling_brings_nothing_back() -> None:
    """A place that has not heard of a revocation cannot undo it."""
    revoked = revoke("app", NOW)(told(key()))
    assert merged(revoked, told(key())) is revoked
    assert merged(told(key()), revoked) == revoked


def test_by_age() -> None:
    """The oldest is first."""
    keys = [key("b", now=NOW + 1), key("c"), key("a", now=NOW + 1)]
    assert [one.name for one in by_age(keys)] == ["c", "a", "b"]
