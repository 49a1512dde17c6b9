"""One issued key: what is kept of it, how a new one is made, and which of two tellings of it holds.

A key is 32 random bytes, so its plain SHA-256 can be kept: there is nothing to guess from, and a salt or a slow hash
would defend only what can be guessed. The key itself is shown once and kept nowhere.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from policies.scalars import Glob, KeyHash, Name

PREFIX = "sk-sluice-"
RANDOM_BYTES = 32  # 43 characters
RECOGNISED = len(PREFIX) + 4  # characters by which a key is told from others in a list

Time = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]  # Unix seconds
Tags = Annotated[tuple[Name, ...], Field(max_length=20)]
Globs = Annotated[tuple[Glob, ...], Field(max_length=1000)]


class IssuedKey(BaseModel):
    """What is kept of a key.

    Fields that this release does not know (budgets and tiers of a later one) are kept and written back as they came.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: Name
    hash: KeyHash = Field(repr=False)
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9_-]{0,40}$")  # its first characters, for people
    tenant: Name
    team: Name | None = None
    tags: Tags = ()
    models: Globs = ()  # empty: all of them
    created: Time
    changed: Time  # of two tellings the later one holds
    expires: Time | None = None
    revoked: Time | None = None

    def is_expired(self, now: float) -> bool:
        """Say whether its time is over."""
        return self.expires is not None and self.expires <= now

    def is_living(self, now: float) -> bool:
        """Say whether it opens anything."""
        return self.revoked is None and not self.is_expired(now)

    def state(self, now: float) -> str:
        """What it is, in one word for people."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.is_expired(now) else "living"


def new_secret() -> str:
    """A key that nobody has had before."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def digest(secret: str) -> str:
    """What is kept of a key, and what a policy file takes as `hash`."""
    return "sha256:" + hashlib.sha256(secret.encode()).hexdigest()


def issue(
    secret: str,
    now: float,
    *,
    name: str,
    tenant: str,
    team: str | None = None,
    tags: tuple[str, ...] = (),
    models: tuple[str, ...] = (),
    lifetime: float | None = None,
) -> IssuedKey:
    """The record of this key; `lifetime` is in seconds. Raises pydantic's ValidationError."""
    return IssuedKey(
        name=name,
        hash=digest(secret),
        prefix=secret[:RECOGNISED],
        tenant=tenant,
        team=team,
        tags=tags,
        models=models,
        created=now,
        changed=now,
        expires=None if lifetime is None else now + lifetime,
    )


def newest(one: IssuedKey, other: IssuedKey) -> IssuedKey:
    """What holds of two tellings of one key: the later one; but revoked it is if either says so, whatever the clocks.

    `one` itself if the other adds nothing.
    """
    if one == other:
        return one
    later = max(one, other, key=_rank)
    revoked = min((key.revoked for key in (one, other) if key.revoked is not None), default=None)
    return later if later.revoked == revoked else later.model_copy(update={"revoked": revoked})


def _rank(key: IssuedKey) -> tuple[float, str]:
    """Equal times are told apart by what is said, so that everybody comes to the same end."""
    return key.changed, key.model_dump_json(exclude={"revoked"})
