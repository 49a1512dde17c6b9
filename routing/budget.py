"""A retry budget: retries may be a small share of what succeeds, so that they never turn a slow hour into an outage.

A token bucket as in Finagle and gRPC: each success puts `ratio` of a token in, each retry takes one, and the bucket
holds `cap` at most. It starts full, so that a quiet gateway may retry too; a ratio of 0 means no retry at all.
"""

from __future__ import annotations


class RetryBudget:
    """How many more retries are affordable now."""

    def __init__(self, ratio: float = 0.1, cap: float = 10.0) -> None:
        self._ratio = ratio
        self._cap = cap
        self._tokens = cap if ratio > 0 else 0.0

    def succeeded(self) -> None:
        """A call was answered."""
        self._tokens = min(self._cap, self._tokens + self._ratio)

    def take(self) -> bool:
        """Take one retry, if there is one."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
