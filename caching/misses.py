"""Why a call missed: the nearest call of the same tenant, and the fields in which the two differ.

No text is held here, only paths and hashes of digests (`Identity.parts`). Not for the event loop, and for one
thread at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from caching.identity import MAX_PARTS, Parts

MAX_TENANTS = 1000
MAX_HELD = 200_000  # parts of all tenants together, some 250 bytes each
RECENT = 64  # calls of one tenant
SCOPE_PARTS = 6  # every call has them: they make no two calls akin

FIRST = "first call of this kind"
SAME = "an equal call came before; its answer was not kept or has gone"


class Misses:
    """The recent calls of each tenant, bounded; the tenants unheard of for longest go first."""

    def __init__(self, tenants: int = MAX_TENANTS, recent: int = RECENT, held: int = MAX_HELD) -> None:
        self._tenants = tenants
        self._recent = recent
        self._max_held = held
        self._held = 0
        self._seen: OrderedDict[tuple[str, str], _Recent] = OrderedDict()  # by the part that tells the tenant

    def why(self, parts: Parts) -> str:
        """Say, in words for an operator, in what the call differs from the nearest one added before it."""
        parts = parts[:MAX_PARTS]
        recent = self._seen.get(parts[0])
        if recent is None:
            return FIRST
        marks = list(map(hash, parts))
        near_marks, near_paths = recent.nearest(marks)
        mine, theirs = frozenset(marks), frozenset(near_marks)
        if theirs.isdisjoint(marks[SCOPE_PARTS:]):
            return FIRST
        paths = [path for (path, _), mark in zip(parts, marks, strict=True) if mark not in theirs]
        paths += [path for path, mark in zip(near_paths, near_marks, strict=True) if mark not in mine]
        return _told(paths)

    def add(self, parts: Parts) -> None:
        """Remember a call."""
        parts = parts[:MAX_PARTS]
        recent = self._seen.get(parts[0])
        if recent is None:
            recent = self._seen[parts[0]] = _Recent(self._recent)
        self._seen.move_to_end(parts[0])
        self._held += recent.add(parts)
        while len(self._seen) > 1 and (len(self._seen) > self._tenants or self._held > self._max_held):
            self._held -= self._seen.popitem(last=False)[1].held


class _Recent:
    """One tenant's recent calls in a ring of slots, with an index that finds the nearest without comparing with each.

    The index holds, for the hash of a part, an integer with a 1 in the byte of every slot whose call has that part.
    The sum over the parts of a call has in each byte how many it shares with that slot's call; at most 64, so none
    runs over into the next.
    """

    __slots__ = ("_index", "_next", "_slots", "held")

    def __init__(self, size: int) -> None:
        self._slots: list[tuple[tuple[int, ...], tuple[str, ...]]] = [((), ())] * size  # marks and paths
        self._next = 0
        self._index: dict[int, int] = {}
        self.held = 0

    def nearest(self, marks: Sequence[int]) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """The call with the most equal parts, of equally near ones the latest: its marks and their paths."""
        index, size, oldest = self._index, len(self._slots), self._next
        shared = sum([index.get(mark, 0) for mark in marks]).to_bytes(size, "little")
        shared = shared[oldest:] + shared[:oldest]
        return self._slots[(shared.rindex(max(shared)) + oldest) % size]

    def add(self, parts: Parts) -> int:
        """Put a call in the place of the oldest; how many parts more are held."""
        pairs = dict.fromkeys(parts)
        marks, paths = tuple(map(hash, pairs)), tuple(path for path, _ in pairs)
        index, slot = self._index, self._next
        one = 1 << 8 * slot
        before, _ = self._slots[slot]
        for mark in before:
            index[mark] -= one
            if not index[mark]:
                del index[mark]
        for mark in marks:
            index[mark] = index.get(mark, 0) + one
        latest = self._slots[slot - 1][1]
        self._slots[slot] = marks, latest if latest == paths else paths  # calls come in few shapes: share them
        self._next = (slot + 1) % len(self._slots)
        self.held += len(marks) - len(before)
        return len(marks) - len(before)


def nearest(parts: Parts, candidates: Iterable[Parts]) -> Parts | None:
    """The candidate of the same tenant with the most equal parts, of equally near ones the first; None without any."""
    mine = frozenset(parts)
    akin = [other for other in candidates if other and other[0] == parts[0]]
    return max(akin, key=lambda other: sum(map(mine.__contains__, other)), default=None)


def explained(parts: Parts, near: Parts | None) -> str:
    """Say, in words for an operator, in what a call differs from its nearest."""
    near = near or ()
    mine, theirs = frozenset(parts), frozenset(near)
    if theirs.isdisjoint(parts[SCOPE_PARTS:]):
        return FIRST
    return _told([path for path, _ in (*(p for p in parts if p not in theirs), *(p for p in near if p not in mine))])


def _told(paths: Iterable[str]) -> str:
    each = list(dict.fromkeys(paths))  # a field that both have stands in both
    if not each:
        return SAME
    return f"differs from the nearest entry in {each[0]}" + (f" (and {len(each) - 1} more)" if len(each) > 1 else "")
