"""Keys for tests, and a place for them that needs neither disk nor network and fails when a test says so."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.keys.record import IssuedKey, issue
from gateway.keys.store import Decision, KeysUnavailable, Records, Snapshot

NOW = 1_800_000_000.0


def secret(name: str) -> str:
    """The key that `key` is the record of."""
    return f"sk-sluice-{name}-0123456789"


def key(name: str = "app", *, now: float = NOW, **fields: object) -> IssuedKey:
    """A key of tenant acme, made now."""
    return issue(secret(name), now, **{"name": name, "tenant": "acme", **fields})  # type: ignore[arg-type]


def told(*keys: IssuedKey) -> Records:
    """These as a place tells them."""
    return {one.hash: one for one in keys}


@dataclass
class Shelf:
    """What lies in a place that several use."""

    records: Records = field(default_factory=dict)
    exists: bool = False


class FakeKeys:
    """A KeyStore in memory; `down` is why it cannot be had, `trouble` what it tells of although it can."""

    def __init__(self, *keys: IssuedKey, shelf: Shelf | None = None) -> None:
        self.shelf = shelf or Shelf(told(*keys), exists=bool(keys))
        self.down = ""
        self.trouble = ""
        self.loads = 0
        self.is_closed = False
        self._seen: Records | None = None

    async def changed(self) -> bool:
        """Say whether the records are others."""
        self._check()
        return self.shelf.records is not self._seen

    async def load(self) -> Snapshot:
        """The records."""
        self._check()
        self.loads += 1
        self._seen = self.shelf.records
        return Snapshot(self.shelf.records, self.shelf.exists, self.trouble)

    async def change(self, decide: Decision) -> Snapshot:
        """Keep what is decided."""
        self._check()
        before = self.shelf.records
        wanted = {**before, **decide(before)}
        if wanted != before:
            self.shelf.records = wanted
        self.shelf.exists = True
        self.trouble = ""
        return Snapshot(self.shelf.records)

    async def aclose(self) -> None:
        """Note it."""
        self.is_closed = True

    def _check(self) -> None:
        if self.down:
            raise KeysUnavailable(self.down)
