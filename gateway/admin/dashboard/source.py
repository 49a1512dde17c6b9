"""What the pages show, from the ledger, the workers' files, the policy's history and the issued keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from gateway.admin.dashboard.data import Json, Order, Query, Source
from gateway.admin.dashboard.keyring import IssuedKeys, Opened
from gateway.admin.workers import engines, living, policy_of, read_workers, upstreams_of
from gateway.errors import GatewayError
from gateway.ledger.filters import Filters
from gateway.ledger.profile import By
from gateway.ledger.reader import LedgerReader
from gateway.state import State
from policies.difference import difference
from policies.history import History, HistoryError
from policies.loader import PolicyError
from policies.model import Key
from policies.shown import shown

POLICY_BYTES = 1_000_000


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
        """The file as it stands, each worker's version, and how the file differs from what is in force."""
        now = self.clock()
        workers = [policy_of(snapshot, now) for snapshot in read_workers(self.state_dir)]
        text, error = _text(self.file)
        told = {"text": None if text is None else shown(text), "error": error}
        return {"file": self.file.name, "workers": workers, **told, **self._drift(text)}

    def _drift(self, text: str | None) -> Json:
        """A history that cannot be read is told where its versions should stand."""
        try:
            kept = next((version.version for version in self.history.list() if version.is_in_force), None)
            before = None if kept is None else self.history.text(kept)
        except (HistoryError, OSError):
            before = None
        if before is None or kept is None:
            return {"differs": None, "drift": ""}
        changed = "" if text is None else difference(shown(before), shown(text), kept, self.file.name)
        return {"differs": before != text, "drift": changed}

    def versions(self) -> list[Json]:
        """Every version kept."""
        return [asdict(version) for version in _had(self.history.list)]

    def text(self, version: str) -> str:
        """As it may be shown."""
        return shown(self._kept(version))

    def difference(self, older: str, newer: str) -> str:
        """Between two texts as they may be shown."""
        return difference(self.text(older), self.text(newer), older, newer)

    def _kept(self, said: str) -> str:
        return str(_had(partial(self.history.text, self._found(said)), f"'{said}'"))

    def _found(self, said: str) -> str:
        return str(_had(partial(self.history.find, said), f"'{said}'"))

    def restore(self, version: str) -> None:
        """Into the file, if it would load here; the workers notice that as they notice any edit."""
        found = self._found(version)
        try:
            self.check(self._kept(found))
        except PolicyError as failure:
            raise HistoryFailed(f"This version does not load here: {failure}") from failure
        _had(partial(self.history.restore, found, self.file))

    def name(self, version: str, name: str) -> None:
        """From now on; a version that has a name is never dropped."""
        _had(partial(self.history.name, self._found(version), name))


def _had(asked: Callable[[], Any], about: str = "") -> Any:
    try:
        return asked()
    except (HistoryError, OSError) as failure:
        what = f" ({about})" if about else ""
        raise HistoryFailed(f"The history of the policy cannot do this: {failure}{what}.") from failure


def _text(path: Path) -> tuple[str | None, str | None]:
    """The policy file, or why it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(POLICY_BYTES).decode("utf-8", "replace"), None
    except OSError as failure:
        return None, f"The policy file cannot be read: {failure.strerror}."


def source_of(
    state: State,
    policy: Path,
    history: History,
    check: Callable[[str], object],
    opened_keys: Opened | None,
    policy_keys: Callable[[], Sequence[Key]] = tuple,
) -> Source:
    """Everything the dashboard reads, over one state directory and one policy file; no keys page without keys.

    `policy_keys` tells the keys of the policy in force.
    """
    return Source(
        LedgerCalls(LedgerReader(state.ledger)),
        WorkersFleet(state),
        PolicyHistory(state, policy, history, check),
        IssuedKeys(opened_keys, policy_keys) if opened_keys else None,
    )
