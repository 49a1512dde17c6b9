"""One issued key: how it is made, what is kept of it, which of two tellings holds."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.keys.record import IssuedKey, digest, new_secret, newest
from tests.gateway.keys.fakes import NOW, key, secret

times = st.floats(0, 1e11, allow_nan=False)


@st.composite
def tellings(draw: st.DrawFn) -> IssuedKey:
    """Tellings of one key that differ as merged places may."""
    changes = {
        "changed": draw(st.sampled_from([NOW, NOW + 1, NOW + 2])),
        "team": draw(st.sampled_from([None, "a", "b"])),
        "revoked": draw(st.one_of(st.none(), st.sampled_from([NOW + 1, NOW + 2]))),
    }
    return key().model_copy(update=changes)


def test_keys_look_alike_and_are_not() -> None:
    """A key is `sk-sluice-` and 43 characters that need no quoting; no two are the same."""
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"sk-sluice-[A-Za-z0-9_-]{43}", one) for one in made)


def test_the_key_is_not_in_its_record() -> None:
    """Only the SHA-256 is kept and the first four characters after the common ones; a repr has neither hash nor key."""
    shown = new_secret()
    record = key().model_validate({**key().model_dump(), "hash": digest(shown), "prefix": shown[:14]})
    assert shown not in record.model_dump_json()
    assert record.hash == "sha256:" + hashlib.sha256(shown.encode()).hexdigest()
    assert "sha256" not in repr(record)
    assert key().prefix == secret("app")[:14]


def test_life() -> None:
    """A key lives from its making to its end, which is when its time is over or when it is revoked."""
    assert key().is_living(NOW + 1e9)
    assert key(lifetime=60).is_living(NOW + 59)
    assert (key(lifetime=60).is_living(NOW + 60), key(lifetime=60).state(NOW + 60)) == (False, "expired")
    revoked = key(lifetime=60).model_copy(update={"revoked": NOW})
    assert (revoked.is_living(NOW + 1), revoked.state(NOW + 1)) == (False, "revoked")


@pytest.mark.parametrize(
    "change",
    [
        {"name": " blank"},
        {"name": ""},
        {"name": "a\nb"},
        {"tenant": "x" * 201},
        {"hash": "sha256:00"},
        {"prefix": "<b>"},
        {"expires": float("nan")},
        {"revoked": float("inf")},
        {"created": -1},
        {"tags": ["t"] * 21},
        {"models": [""]},
    ],
)
def test_hostile_records_are_refused(change: dict[str, object]) -> None:
    """A record with an impossible field is none."""
    with pytest.raises(ValidationError):
        IssuedKey.model_validate({**key().model_dump(), **change})


@given(tellings(), tellings(), tellings())
def test_places_come_to_the_same_end(one: IssuedKey, two: IssuedKey, three: IssuedKey) -> None:
    """Whatever the order in which tellings meet, the same holds; and it is revoked if any of them was."""
    assert newest(one, two) == newest(two, one)
    assert newest(one, newest(two, three)) == newest(newest(one, two), three)
    assert (newest(one, two).revoked is None) == (one.revoked is None and two.revoked is None)
    assert newest(one, one) is one


def test_the_later_telling_holds() -> None:
    """A changed field wins over the older one, and a revocation over a change that knew nothing of it."""
    old, new = key(), key().model_copy(update={"changed": NOW + 9, "team": "new"})
    assert newest(old, new).team == "new"
    revoked = old.model_copy(update={"changed": NOW + 5, "revoked": NOW + 5})
    found = newest(new, revoked)
    assert (found.team, found.revoked) == ("new", NOW + 5)
