"""A slow store that is a dictionary, with the troubles of a real one; and what tests of stores are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import orjson

from caching.entry import Entry
from caching.errors import StoreUnavailable, Unfaithful
from caching.forms import Answer
from caching.stores import Cutoffs, Purged, Selection

START = 1_800_000_000.0


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: float = START

    def __call__(self) -> float:
        return self.now


def key(name: object) -> bytes:
    """A key as a call would have it."""
    return blake2b(str(name).encode(), digest_size=32).digest()


def entry(name: object = "a", text: str = "hello", **changes: object) -> Entry:
    """An entry made at START that is fresh for a minute and lives for an hour."""
    made = Entry(
        key=key(name),
        check=b"c" * 16,
        tenant="acme",
        namespace="default",
        tags=(),
        model="small",
        upstream="local",
        created=START,
        expires=START + 60,
        dies=START + 3600,
        seconds=1.5,
        tokens=42,
        parts=(("messages.0.content", "0a1b2c3d"),),
        answer=Answer.of_plain(orjson.dumps({"choices": [{"message": {"content": text}}]})),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # a field each


def same(one: Entry | None, other: Entry) -> bool:
    """Say whether two entries say the same; answers have no equality of their own."""
    if one is None or one.answer.plain() != other.answer.plain():
        return False
    return replace(one, answer=other.answer) == other


class FakeStore:
    """A Store in a dictionary. While `down` it raises; while `hanging` it never answers."""

    def __init__(self, clock: Clock) -> None:
        self.values: dict[bytes, bytes] = {}
        self.hits: dict[bytes, int] = {}  # told to `tidy`
        self.down = ""
        self.hanging = False
        self.calls: list[str] = []
        self.others_purges: list[tuple[int, Selection]] = []
        self.closed = False
        self._clock = clock
        self._cutoffs = Cutoffs()

    def may_hold(self, key: bytes) -> bool:
        return bool(self.down) or key in self.values

    async def get(self, key: bytes) -> Entry | None:
        await self._met("get")
        data = self.values.get(key)
        found = Entry.loads(key, data) if data is not None else None
        if found is None or not self._keeps(found):
            self.values.pop(key, None)
            return None
        return found

    async def put(self, entries: Sequence[Entry]) -> None:
        await self._met("put")
        for entry in entries:
            if self._keeps(entry):
                try:
                    self.values[entry.key] = entry.dumps()
                except Unfaithful:
                    continue

    async def drop(self, keys: Sequence[bytes]) -> None:
        await self._met("drop")
        for key in keys:
            self.values.pop(key, None)

    async def purge(self, selection: Selection, *, dry_run: bool) -> Purged:
        await self._met("purge")
        now = self._clock()
        found = [entry for key, data in self.values.items() if (entry := Entry.loads(key, data)) is not None]
        chosen = {entry.key: len(self.values[entry.key]) for entry in found if selection.fits(entry, now)}
        if not dry_run:
            self._cutoffs.add(selection, now)
            for key in chosen:
                del self.values[key]
        return Purged(len(chosen), sum(chosen.values()), dry_run)

    async def purges(self, after: int) -> list[tuple[int, Selection]]:
        await self._met("purges")
        return [purge for purge in self.others_purges if purge[0] > after]

    async def newest(self, most: int) -> list[Entry]:
        await self._met("newest")
        found = [entry for key in reversed(self.values) if (entry := Entry.loads(key, self.values[key])) is not None]
        return [entry for entry in found if self._keeps(entry)][:most]

    async def tidy(self, hits: Mapping[bytes, int]) -> None:
        await self._met("tidy")
        for key, count in hits.items():
            self.hits[key] = self.hits.get(key, 0) + count

    async def ping(self) -> None:
        await self._met("ping")

    async def usage(self) -> tuple[int, int]:
        await self._met("usage")
        return len(self.values), sum(map(len, self.values.values()))

    async def close(self) -> None:
        self.closed = True

    def _keeps(self, entry: Entry) -> bool:
        return entry.usable(self._clock()) and not self._cutoffs.refuse(entry)

    async def _met(self, call: str) -> None:
        self.calls.append(call)
        if self.closed:
            raise StoreUnavailable("closed")
        if self.hanging:
            await asyncio.Event().wait()
        if self.down:
            raise StoreUnavailable(self.down)
