"""What the pages show, from the ledger, the workers' files, the policy's history and the issued keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

from pydantic import ValidationError

from gateway.admin.dashboard.data import Json, Order, Query, Source
from gateway.admin.workers import engines, living, policy_of, read_workers, upstreams_of
from gateway.errors import BadRequest, GatewayError
from gateway.keys.changes import add, by_age, revoke
from gateway.keys.record import issue, new_secret
from gateway.keys.store import KeyStore
from gateway.ledger.filters import Filters
from gateway.ledger.profile import By
from gateway.ledger.reader import LedgerReader
from gateway.state import State
from policies.difference import difference
from policies.history import History, HistoryError
from policies.loader import PolicyError
from policies.shown import shown

POLICY_BYTES = 1_000_000
Opened = Callable[[], AbstractAsyncContextManager[KeyStore]]


class HistoryFailed(GatewayError):
    """The history of the policy cannot do this."""

    status, code = 409, "policy_history"


@dataclass(frozen=True, slots=True)
class LedgerCalls:
    """Calls from the ledger."""

    reader: LedgerReader

    def overview(self, query: Query) -> Json:
        """Sums, series and tops; `unknown` is no part of it, for the page of sums shows how many there are."""
        return self.reader.overview(query.since, query.until, _filters(query, times=False))

    def search(self, query: Query, order: Order, limit: int, before: int | None) -> list[Json]:
        """Calls without their stories."""
        return self.reader.search(limit, before, replace(_filters(query), unknown=query.unknown), order)

    def one(self, id: str) -> Json | None:  # noqa: A002 - the record's name for it
        """One call, whole."""
        return self.reader.one(id)

    def profile(self, since: float, until: float, by: str) -> list[Json]:
        """How flows behave."""
        return self.reader.profile(since, until, cast(By, by))


def _filters(query: Query, *, times: bool = True) -> Filters:
    given = {name: value for name, value in asdict(query).items() if name not in {"unknown", "since", "until"}}
    filters = Filters(**given)
    return replace(filters, since=query.since, until=query.until) if times else filters


@dataclass(frozen=True, slots=True)
class WorkersFleet:
    """Upstreams and prices as the workers tell of them."""

    state: State
    clock: Callable[[], float] = time.time

    def upstreams(self) -> Json:
        """Breakers of those workers that live, and who lives."""
        now, snapshots = self.clock(), read_workers(self.state)
        workers = [policy_of(snapshot, now) for snapshot in snapshots if snapshot["alive"]]  # the others said goodbye
        return {
            "upstreams": upstreams_of(living(snapshots, now)),
            "engines": engines(self.state),
            "workers": [{name: worker[name] for name in ("worker", "alive", "seen")} for worker in workers],
        }

    def prices(self) -> list[Json]:
        """As the worker that wrote last tells of them: a machine's load is its own, the rest is the same in all."""
        told = sorted(living(read_workers(self.state), self.clock()), key=lambda snapshot: -snapshot["at"])
        return next((found for snapshot in told if (found := snapshot["status"].get("prices"))), [])


@dataclass(frozen=True, slots=True)
class PolicyHistory:
    """The policy file, who serves by it, and what was in force before."""

    state_dir: State
    file: Path
    history: History
    check: Callable[[str], object]  # raises PolicyError for a text that is no policy here
    clock: Callable[[], float] = time.time

    def state(self) -> Json:
        """The file as it stands, and each worker's version."""
        now = self.clock()
        workers = [policy_of(snapshot, now) for snapshot in read_workers(self.state_dir)]
        return {"file": self.file.name, "workers": workers, **_text(self.file)}

    def versions(self) -> list[Json]:
        """Every version kept."""
        return [asdict(version) for version in _had(self.history.list)]

    def difference(self, older: str, newer: str) -> str:
        """Between two texts as they may be shown."""
        before, after = (shown(_had(partial(self.history.text, version))) for version in (older, newer))
        return difference(before, after, older, newer)

    def restore(self, version: str) -> None:
        """Into the file, if it would load here; the workers notice that as they notice any edit."""
        try:
            self.check(_had(partial(self.history.text, version)))
        except PolicyError as failure:
            raise HistoryFailed(f"This version does not load here: {failure}") from failure
        _had(partial(self.history.restore, version, self.file))


def _had(asked: Callable[[], Any]) -> Any:
    try:
        return asked()
    except (HistoryError, OSError) as failure:
        raise HistoryFailed(f"The history of the policy cannot do this: {failure}.") from failure


def _text(path: Path) -> Json:
    try:
        with path.open("rb") as file:
            return {"text": shown(file.read(POLICY_BYTES).decode("utf-8", "replace")), "error": None}
    except OSError as failure:
        return {"text": None, "error": f"The policy file cannot be read: {failure.strerror}."}


@dataclass(frozen=True, slots=True)
class IssuedKeys:
    """Keys in their store. Its work is awaited in a loop of its own: pages are made in threads."""

    opened: Opened
    clock: Callable[[], float] = time.time

    def list(self) -> list[Json]:
        """Every issued key."""
        now = self.clock()
        return [_key(key, key.state(now)) for key in by_age(asyncio.run(self._load()))]

    def create(self, name: str, tenant: str, team: str, models: tuple[str, ...]) -> str:
        """A new key's secret. Raises BadRequest for what no key can be."""
        secret, now = new_secret(), self.clock()
        try:
            key = issue(secret, now, name=name, tenant=tenant, team=team or None, models=models)
        except ValidationError as failure:
            first = failure.errors()[0]
            raise BadRequest(f"{first['loc'][0]}: {first['msg']}.") from failure
        asyncio.run(self._change(add(key, now)))
        return secret

    def revoke(self, name: str) -> None:
        """End it."""
        asyncio.run(self._change(revoke(name, self.clock())))

    async def _load(self) -> Iterable[Any]:
        async with self.opened() as store:
            return (await store.load()).records.values()

    async def _change(self, decide: Any) -> None:
        async with self.opened() as store:
            await store.change(decide)


class _Kept(Protocol):
    def model_dump(self, *, include: set[str]) -> Json: ...


def _key(key: _Kept, state: str) -> Json:
    names = {"name", "prefix", "tenant", "team", "models", "created", "expires"}
    return {**key.model_dump(include=names), "state": state}


def source_of(
    state: State, policy: Path, history: History, check: Callable[[str], object], opened_keys: Opened | None
) -> Source:
    """Everything the dashboard reads, over one state directory and one policy file; no keys page without keys."""
    return Source(
        LedgerCalls(LedgerReader(state.ledger)),
        WorkersFleet(state),
        PolicyHistory(state, policy, history, check),
        IssuedKeys(opened_keys) if opened_keys else None,
    )
