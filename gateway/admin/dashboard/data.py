"""What the pages ask for: four small protocols, so that each page can be tested against made-up figures.

Every method may raise GatewayError; the page then says so in the figures' place. Shapes of the answers are those of
`gateway.ledger.reader` and of the admin API.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

Json = dict[str, Any]
Order = Literal["newest", "dearest", "slowest"]
ORDERS: tuple[Order, ...] = ("newest", "dearest", "slowest")


@dataclass(frozen=True, slots=True)
class Query:
    """Which calls: those that equal every name given, and began between `since` and `until` (Unix time)."""

    since: float
    until: float
    model: str | None = None
    upstream: str | None = None
    tenant: str | None = None
    team: str | None = None
    key: str | None = None
    tag: str | None = None
    endpoint: str | None = None
    outcome: str | None = None
    cache: str | None = None
    q: str | None = None  # part of an id, a model or an outcome
    min_cost_usd: float | None = None
    unknown: bool = False  # only calls whose price is not known


class Calls(Protocol):
    """What the ledger tells of calls."""

    def overview(self, query: Query) -> Json:
        """Sums, series and tops over the calls."""

    def search(self, query: Query, order: Order, limit: int, before: int | None) -> list[Json]:
        """Calls without their stories; `before` is the `seq` of the last one already seen."""

    def one(self, id: str) -> Json | None:  # noqa: A002 - the record's name for it
        """One call with its story and, where a policy recorded it, its content."""

    def profile(self, since: float, until: float, by: str) -> list[Json]:
        """Speeds, costs and lengths of each flow."""


class Fleet(Protocol):
    """What calls are sent to, and what it costs."""

    def upstreams(self) -> Json:
        """Breakers by worker, and the engines of our own."""

    def prices(self) -> list[Json]:
        """One entry for each model of each upstream: the price in force, or that none is known."""


class Policies(Protocol):
    """The policy in force and those before it."""

    def state(self) -> Json:
        """The file, by which version each worker serves, and how the file differs from what is in force.

        `differs` is None where nothing is in force; `drift` is a unified difference, from what is in force to the file.
        """

    def versions(self) -> list[Json]:
        """Every version kept, the newest first."""

    def text(self, version: str) -> str:
        """The file as it was at a version, by its id or its name, without secrets."""

    def difference(self, older: str, newer: str) -> str:
        """What changed between two versions, by their ids or names, as a unified difference."""

    def restore(self, version: str) -> None:
        """Write this version into the policy file, from where every worker takes it up."""

    def name(self, version: str, name: str) -> None:
        """Give a version a name; "" takes it away."""


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """What a new key is to be, as somebody wrote it."""

    name: str
    tenant: str
    team: str = ""
    models: tuple[str, ...] = ()  # globs; empty: all of them
    tags: tuple[str, ...] = ()
    expires_in: str = ""  # "30d", or seconds; "" is never


class Keys(Protocol):
    """Virtual keys."""

    def list(self) -> Json:
        """`keys`: every key of the policy and every issued one, without their secrets; `trouble` with the store."""

    def create(self, order: KeyOrder) -> str:
        """A new key's secret, which is shown this once."""

    def revoke(self, name: str) -> None:
        """End a key on every worker within seconds."""


@dataclass(frozen=True, slots=True)
class Source:
    """Everything the dashboard reads and the little that it does."""

    calls: Calls
    fleet: Fleet
    policies: Policies
    keys: Keys | None = None  # None: keys are not kept here, and there is no such page
