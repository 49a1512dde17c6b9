"""Decisions over all records, without I/O. None of them removes one, or changes what it is given."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.keys.record import IssuedKey, newest
from gateway.keys.store import Decision, KeyExists, NoSuchKey, Records


def add(key: IssuedKey, now: float) -> Decision:
    """Keep a new key. Raises KeyExists if a living one has its name."""

    def decide(records: Records) -> Records:
        if any(one.name == key.name and one.is_living(now) for one in records.values()):
            raise KeyExists(f"There is a key named '{key.name}' already; revoke it first.", param="name")
        return {**records, key.hash: key}

    return decide


def revoke(name: str, now: float) -> Decision:
    """Revoke every key of this name that is not yet: of merged places there may be two. Raises NoSuchKey."""

    def decide(records: Records) -> Records:
        named = [key for key in records.values() if key.name == name and key.revoked is None]
        if not named:
            raise NoSuchKey(f"There is no issued key named '{name}' that is not revoked.", param="name")
        return {**records, **{key.hash: _revoked(key, now) for key in named}}

    return decide


def merge(told: Records) -> Decision:
    """Add what another place tells."""
    return lambda records: merged(records, told)


def merged(one: Records, other: Records) -> Records:
    """All that either tells; `one` itself if the other adds nothing."""
    more: dict[str, IssuedKey] = {}
    for digest, key in other.items():
        mine = one.get(digest)
        found = key if mine is None else newest(mine, key)
        if found is not mine:
            more[digest] = found
    return {**one, **more} if more else one


def by_age(keys: Iterable[IssuedKey]) -> list[IssuedKey]:
    """As people read a list: the oldest first."""
    return sorted(keys, key=lambda key: (key.created, key.name))


def _revoked(key: IssuedKey, now: float) -> IssuedKey:
    return key.model_copy(update={"revoked": now, "changed": max(now, key.changed)})
