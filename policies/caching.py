"""Caching in the policy: what the stores may use, and which calls are answered from answers already made."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from policies.part import Part
from policies.scalars import Bytes, Grace, Lifetime, Name, Room, Seconds

DISK_SHARE = 2  # the store on disk keeps answers up to this part of its bound
_ANSWERS = {1: "even one answer", DISK_SHARE: "two answers"}

MOST_TAGS = 20  # on one entry; a store keeps an index of each


class Cache(Part):
    """What the stores of answers may use."""

    memory: Bytes = Field(default=64_000_000, description="Most bytes of answers kept in a worker's memory.")
    disk: Room = Field(
        default=1_000_000_000,
        description="Most bytes of answers kept on disk; 0 keeps them in memory only. "
        "With --redis-url Redis keeps them instead, bounded by its own maxmemory.",
    )
    entry: Bytes = Field(default=1_000_000, description="Longest answer that is kept; at most half of `disk`.")
    retention: Lifetime = Field(
        default=7 * 24 * 3600.0, description="How long after it was made an answer is deleted, whatever its ttl."
    )
    deadline: Seconds = Field(
        default=0.05, description="Longest a call waits for the store behind memory, before it goes on without."
    )

    @model_validator(mode="after")
    def _holds_an_entry(self) -> Self:
        """Refuse an `entry` that a store could never hold: answers of that length would silently not be kept."""
        for store, share in (("memory", 1), ("disk", DISK_SHARE)):
            if 0 < getattr(self, store) < share * self.entry:
                raise ValueError(f"{store} is too small for {_ANSWERS[share]} of the length that entry allows")
        return self


def _each_once(tags: list[str]) -> list[str]:
    """Refuse a tag given twice: the second would do nothing."""
    if len(set(tags)) < len(tags):
        raise ValueError("a tag is given twice")
    return tags


# What only the keeping of answers reads; sampling also says which calls coalesce.
_NEED_EXACT = ("ttl", "stale_while_revalidate", "stale_if_error", "truncated", "finish", "tags")


class RuleCache(Part):
    """Which calls are answered from answers already made or under way, and how long an answer may serve."""

    exact: bool = Field(default=True, description="Answer equal calls from the cache.")
    coalesce: bool = Field(
        default=True, description="Let equal calls that come while one is under way share its answer."
    )
    sampling: Literal["deterministic", "any"] = Field(
        default="deterministic",
        description="Which calls have an equal: only those that ask for temperature 0 (an absent temperature is the "
        "provider's default, which samples), or any.",
    )
    ttl: Lifetime = Field(default=3600.0, description="How long an answer is fresh.")
    stale_while_revalidate: Grace = Field(
        default=0.0, description="How long after its ttl an answer still serves, while a new one is fetched behind it."
    )
    stale_if_error: Grace = Field(
        default=0.0, description="How long after its ttl an answer still serves when every upstream fails."
    )
    truncated: bool = Field(default=False, description="Whether answers cut off by their length limit are kept.")
    finish: Grace = Field(
        default=0.0,
        description="When every caller of a call has left: how long its upstream may go on so that the answer is kept. "
        "0s cancels it at once.",
    )
    tags: Annotated[list[Name], AfterValidator(_each_once)] = Field(
        default_factory=list, max_length=MOST_TAGS, description="Tags that entries bear, by which they can be purged."
    )

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        """Refuse settings that what is switched off would silently ignore."""
        for name in sorted(self.model_fields_set):
            if name in _NEED_EXACT and not self.exact:
                raise ValueError(f"{name} has no effect while exact is false: no answer is kept")
            if name == "sampling" and not (self.exact or self.coalesce):
                raise ValueError("sampling has no effect while exact and coalesce are false")
        return self
