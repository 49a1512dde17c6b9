"""Route: which targets may answer a call, best first: the policy's list for the model."""

from __future__ import annotations

from gateway.call import Call, Handler, Reply, Target


class Route:
    """Give every call the same ordered targets."""

    def __init__(self, inner: Handler, targets: tuple[Target, ...]) -> None:
        self._inner = inner
        self._targets = targets

    async def __call__(self, call: Call) -> Reply:
        """Pass the call on with its targets."""
        return await self._inner(call.aimed_at(self._targets))
