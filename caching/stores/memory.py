"""Entries as objects in this process, bounded by bytes: what a call meets first.

The table is moka's: TinyLFU admission (Einziger, Friedman and Manes 2017) over weights, so a newcomer enters if it was
asked for more often than all it would push out together. What an entry costs to make anew counts as if it had been
asked for more often: see `_bonus`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from moka_py import Moka

from caching.entry import CLOCK_SLACK, Entry
from caching.forms import Answer
from caching.stores import Cutoffs, Selection

# Resident bytes beside the answer's own, measured over 20,000 entries; the test of this module measures again.
ENTRY_BYTES = 950
PART_BYTES = 160
TAG_BYTES = 60

CUTOFFS = 4096  # combinations of names that purges may have named before memory is rather begun anew

# Times the typical cost from where on nothing counts as dearer: six accesses. moka's counters end at 15, and what is
# asked for often must still outrun what is dear.
_DEAR = 32.0
_AVERAGED = 64  # entries over which the typical cost is averaged


class Memory:
    """Entries by key, at most `max_bytes` of them. For one thread; no method waits."""

    __slots__ = ("_clock", "_cutoffs", "_latest", "_longest", "_table", "_typical", "max_bytes")

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.time, *, weigh_cost: bool = True) -> None:
        self.max_bytes = max_bytes
        self._clock = clock
        self._table: Moka[bytes, Packed] = Moka(max_bytes, policy="tiny_lfu", weigher=_weight)
        self._cutoffs = Cutoffs()
        self._latest = 0.0  # when the youngest entry was made
        self._longest = 0.0  # seconds the longest-lived entry lives
        self._typical = 0.0 if weigh_cost else -1.0  # USD that making an entry costs; negative: not looked at

    def get(self, key: bytes) -> Entry | None:
        """The entry under this key, if it may still be used."""
        packed = self._table.get(key)
        if packed is None:
            return None
        entry = _unpacked(key, packed)
        now = self._clock()
        if entry.created - CLOCK_SLACK <= now <= entry.dies and (
            entry.created > self._cutoffs.latest or not self._cutoffs.refuse(entry)
        ):
            return entry
        self._table.remove(key)
        return None

    def put(self, entry: Entry) -> bool:
        """Keep this entry, if it is worth more than what it would push out. False if it was purged meanwhile."""
        if self._cutoffs.refuse(entry):
            return False
        self._latest = max(self._latest, entry.created)
        self._longest = max(self._longest, entry.dies - entry.created)
        table, key = self._table, entry.key
        for _ in range(self._bonus(entry.cost)):
            table.get(key)
        table.set(key, _packed(entry))
        return True

    def weigh_again(self, entry: Entry) -> None:
        """Take note that the entry's answer has become smaller or larger."""
        if self.holds(entry):
            self._table.set(entry.key, _packed(entry))

    def holds(self, entry: Entry) -> bool:
        """Say whether what lies under the entry's key is this very entry."""
        packed = self._table.get(entry.key)
        return packed is not None and packed[_CHECK] == entry.check and packed[_CREATED] == entry.created

    def drop(self, key: bytes) -> None:
        """Forget this key."""
        self._table.remove(key)

    def purge(self, selection: Selection) -> None:
        """Remove what is selected; what was made before now and is put later stays out as well."""
        now = self._clock()
        self._cutoffs.add(selection, now)
        # An entry that claims to be made after now would pass the cutoff: the clock was set back since.
        if selection == Selection() or self._latest > now:
            self.clear()
        if len(self._cutoffs) > CUTOFFS:
            self._cutoffs.forget(now - self._longest - CLOCK_SLACK)
        if len(self._cutoffs) > CUTOFFS:
            self._cutoffs.forget_half()
            self.clear()

    def clear(self) -> None:
        """Forget everything; unlike after a purge, all of it may be put again."""
        self._table.clear()
        self._latest = 0.0

    def usage(self) -> tuple[int, int]:
        """How many entries are here, and about how many resident bytes they take."""
        self._table.run_pending_tasks()
        return self._table.count(), self._table.weighted_size()

    def _bonus(self, cost: float) -> int:
        """How many accesses its cost is worth: the binary logarithm of its ratio to the typical cost, from 0 to 6.

        TinyLFU compares frequencies by weight, so a frequency times a cost is what it must see. The counters have four
        bits: hence the logarithm. An access of an absent key counts in the sketch as one of a present key does.
        """
        typical = self._typical
        if typical <= 0.0:
            if typical == 0.0 and cost > 0.0:
                self._typical = cost
            return 0
        self._typical = typical + (min(_DEAR * typical, max(0.0, cost)) - typical) / _AVERAGED
        return int(min(_DEAR, max(0.0, cost / typical))).bit_length()


def weight(entry: Entry) -> int:
    """About how many resident bytes it takes to keep this entry."""
    return ENTRY_BYTES + PART_BYTES * len(entry.parts) + TAG_BYTES * len(entry.tags) + entry.answer.size


# A tuple of nothing but texts, bytes and numbers is not looked at by Python's collector; an object is, each time, and a
# million of them would hold up the event loop for half a second. Hence entries lie here taken apart.
Packed = tuple[Any, ...]
_CHECK, _CREATED, _ANSWER, _WEIGHT = 0, 6, 12, 16  # the answer lies at the end; among the fields it comes twelfth


def _packed(entry: Entry) -> Packed:
    answer = entry.answer
    return (
        entry.check,
        entry.tenant,
        entry.namespace,
        entry.tags,
        entry.model,
        entry.upstream,
        entry.created,
        entry.expires,
        entry.dies,
        entry.seconds,
        entry.tokens,
        entry.parts,
        entry.completion,
        entry.cached,
        entry.usd,
        entry.is_estimated,
        weight(entry),
        answer.is_proven,
        answer.plain() if answer.is_plain else answer,
    )


def _unpacked(key: bytes, packed: Packed) -> Entry:
    form = packed[-1]
    answer = form if isinstance(form, Answer) else Answer.of_plain(form, is_proven=packed[-2])
    fields: tuple[Any, ...] = (key, *packed[:_ANSWER], answer, *packed[_ANSWER:_WEIGHT])
    return Entry(*fields)


def _weight(_key: bytes, packed: Packed) -> int:
    weighed: int = packed[_WEIGHT]
    return weighed
