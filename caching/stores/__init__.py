"""Where entries are kept: what every slow store can do, and how entries are selected to be purged.

    memory   entries as objects, bounded by bytes; what a call meets first
    sqlite   one file on disk; the default behind memory
    redis    shared by gateways; by URL

A purge is known by what it selects and when it was made. An entry it selects that was made before it must not come
back, although a write behind a call may put it later: see Cutoffs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from caching.entry import Entry


@dataclass(frozen=True, slots=True)
class Selection:
    """Entries that have all that is named here; with nothing named, all of them."""

    tenant: str | None = None
    namespace: str | None = None
    tag: str | None = None
    older_than: float | None = None  # seconds since they were made

    def __post_init__(self) -> None:
        """Raises ValueError for an age that is none: compared with it, nothing would be selected, or all."""
        if self.older_than is not None and not 0.0 <= self.older_than < math.inf:
            raise ValueError("an age is a number of seconds, not below 0")

    def fits(self, entry: Entry, now: float) -> bool:
        """Say whether the entry is one of them."""
        return (
            self.tenant in (None, entry.tenant)
            and self.namespace in (None, entry.namespace)
            and (self.tag is None or self.tag in entry.tags)
            and (self.older_than is None or entry.created <= now - self.older_than)
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @staticmethod
    def of(data: object) -> Selection:
        """The reverse of as_dict. Raises TypeError or ValueError for anything else."""
        if not isinstance(data, dict):
            raise TypeError("a selection is an object")
        selection = Selection(**data)
        names = (selection.tenant, selection.namespace, selection.tag)
        if not all(name is None or isinstance(name, str) for name in names):
            raise ValueError("a name in a selection is a string")
        return selection


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge removed, or with `dry_run` would have."""

    entries: int
    bytes: int
    dry_run: bool


class Store(Protocol):
    """A slow store: on disk or behind a network. Its coroutines raise StoreUnavailable and nothing else.

    Entries come back as they went in or not at all: what is corrupt, of another version or past its end is dropped.
    A store at its quota makes room by dropping what is worth least, or refuses.
    """

    def may_hold(self, key: bytes) -> bool:
        """Say, without I/O, whether `key` may be here; False only where it surely is not."""
        ...

    async def get(self, key: bytes) -> Entry | None:
        """The entry under this key, if it is here and may still be used."""
        ...

    async def put(self, entries: Sequence[Entry]) -> None:
        """Keep these entries, all but those that cannot be kept faithfully, were purged meanwhile or are too big."""
        ...

    async def drop(self, keys: Sequence[bytes]) -> None:
        """Forget these keys."""
        ...

    async def purge(self, selection: Selection, *, dry_run: bool) -> Purged:
        """Remove what is selected, or only count it."""
        ...

    async def purges(self, after: int) -> list[tuple[int, Selection]]:
        """The purges others made, in order, whose number is above `after`; so that memory in front can follow."""
        ...

    async def newest(self, most: int) -> list[Entry]:
        """At most so many entries that may still be used: the newest first, or any, where the store cannot tell."""
        ...

    async def tidy(self, hits: Mapping[bytes, int]) -> None:
        """Do a little of what is due now and then; `hits`, by key, are those that memory in front served meanwhile."""
        ...

    async def ping(self) -> None:
        """Return if the store works."""
        ...

    async def usage(self) -> tuple[int, int]:
        """How many entries are here, and how many bytes they take."""
        ...

    async def close(self) -> None:
        """Give everything back; a second call does nothing."""
        ...


class Cutoffs:
    """For everything that was ever purged, the time up to which its entries were made.

    One lookup for each combination of names a selection could have: the cost does not grow with the purges, and an
    entry made after the last purge costs one comparison.
    """

    __slots__ = ("_by_names", "latest")

    def __init__(self) -> None:
        self._by_names: dict[tuple[str | None, str | None, str | None], float] = {}
        self.latest = -1.0

    def __len__(self) -> int:
        return len(self._by_names)

    def add(self, selection: Selection, at: float) -> None:
        """Note a purge made at this time."""
        names = (selection.tenant, selection.namespace, selection.tag)
        cutoff = at - (selection.older_than or 0.0)
        self._by_names[names] = max(cutoff, self._by_names.get(names, cutoff))
        self.latest = max(cutoff, self.latest)

    def refuse(self, entry: Entry) -> bool:
        """Say whether a purge selected this entry."""
        if entry.created > self.latest:
            return False
        found = self._by_names.get
        created = entry.created
        for tenant in (entry.tenant, None):
            for namespace in (entry.namespace, None):
                for tag in (*entry.tags, None):
                    if created <= found((tenant, namespace, tag), -1.0):
                        return True
        return False

    def forget(self, before: float) -> None:
        """Drop cutoffs older than this: nothing made so long ago is kept any more."""
        self._by_names = {names: at for names, at in self._by_names.items() if at >= before}
        self.latest = max(self._by_names.values(), default=-1.0)

    def forget_half(self) -> None:
        """Drop the older half: for when there are too many, and only what is still under way could fall under them."""
        by_age = sorted(self._by_names.items(), key=lambda item: item[1])
        self._by_names = dict(by_age[len(by_age) // 2 :])
