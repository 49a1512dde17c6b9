"""What every place that keeps issued keys can do, and how that fails.

GatewayError
├── KeysUnavailable   503   the place cannot be read or written now
├── KeyExists         409   a living key has this name
└── NoSuchKey         404   no key of this name to revoke
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import GatewayError
from gateway.keys.record import IssuedKey

Records = Mapping[str, IssuedKey]  # by hash
Decision = Callable[[Records], Records]  # from what there is to what shall be; may raise KeyExists or NoSuchKey


class KeysUnavailable(GatewayError):
    """The place cannot be read or written now; the message is the reason."""

    status, code = 503, "keys_unavailable"


class KeyExists(GatewayError):
    """A living key has this name."""

    status, code, type = 409, "key_exists", "invalid_request_error"


class NoSuchKey(GatewayError):
    """No key of this name is there to be revoked."""

    status, code, type = 404, "key_not_found", "invalid_request_error"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a place tells: all records, and what is wrong although they could be read."""

    records: Records
    exists: bool = True  # False: nobody has begun it yet
    trouble: str = ""


class KeyStore(Protocol):
    """A place that keeps issued keys. Each method but `aclose` may raise KeysUnavailable."""

    async def changed(self) -> bool:
        """Say whether `load` may tell something else than it last did; cheap."""

    async def load(self) -> Snapshot:
        """Everything there is."""

    async def change(self, decide: Decision) -> Snapshot:
        """Put in place what is decided, as one step that no other writer comes between; what `decide` raises, too.

        It may be asked several times. Records that it leaves out stay.
        """

    async def aclose(self) -> None:
        """Give back what is held."""
