"""Which calls are meant: by what they have in common, by time, by cost, by a word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_EQUAL = ("model", "tenant", "upstream", "outcome", "cache", "team", "key", "endpoint")
_LIKE = ("id", "model", "outcome")


@dataclass(frozen=True, slots=True)
class Filters:
    """Those calls that fit everything given. Times are Unix times: since and before when a call began."""

    model: str | None = None
    tenant: str | None = None
    upstream: str | None = None
    outcome: str | None = None
    cache: str | None = None
    team: str | None = None
    key: str | None = None
    tag: str | None = None
    endpoint: str | None = None
    q: str | None = None  # part of the id, the model or the outcome
    since: float | None = None
    until: float | None = None
    min_cost_usd: float | None = None
    unknown: bool = False  # only those whose price is not known

    @property
    def flow(self) -> dict[str, str]:
        """What is asked of the flow, by its name there."""
        return {name: value for name in _EQUAL if (value := getattr(self, name)) is not None}

    @property
    def is_of_flows(self) -> bool:
        """Say whether sums can tell these calls from others; times aside."""
        return self.tag is None and self.q is None and self.min_cost_usd is None and not self.unknown

    def where(self) -> tuple[list[str], list[Any]]:
        """SQL conditions on `calls` and their values."""
        conditions = [f"{name} = ?" for name in self.flow]
        values: list[Any] = list(self.flow.values())
        for condition, value in (
            ("instr(tags, ?) > 0", None if self.tag is None else f",{self.tag},"),
            ("at >= ?", self.since),
            ("at < ?", self.until),
            ("cost_usd >= ?", self.min_cost_usd),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        if self.unknown:
            conditions.append("cost_usd IS NULL")
        if self.q:
            conditions.append(f"({' OR '.join(f'instr(lower({name}), ?) > 0' for name in _LIKE)})")
            values += [self.q.lower()] * len(_LIKE)
        return conditions, values
