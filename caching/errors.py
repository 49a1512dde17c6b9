"""What can go wrong in a cache. None of it costs a call: whoever catches one goes on without the cache.

CachingError
├── Unkeyable          the call cannot be told apart from others for certain
├── Unfaithful         the answer cannot be kept so that both of its forms say the same
└── StoreUnavailable   the store did not do what it was asked, in time or at all
"""

from __future__ import annotations


class CachingError(Exception):
    """The root of this package's errors; its text is the reason, in words an operator reads."""


class Unkeyable(CachingError):
    """The call cannot be told apart from others for certain, or is not the kind that has an equal."""


class Unfaithful(CachingError):
    """The answer cannot be kept so that its plain and its streamed form say the same."""


class StoreUnavailable(CachingError):
    """The store did not answer in time, refused, or is gone."""
