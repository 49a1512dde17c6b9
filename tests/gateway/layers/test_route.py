"""Route: every call gets the policy's targets."""

from __future__ import annotations

from gateway.call import Call, Reply, Target
from gateway.layers.route import Route
from tests.gateway.layers.chain import call, good


async def test_targets() -> None:
    """The call that goes on has the targets; the one that came is as it was."""
    seen: list[Call] = []

    async def inner(asked: Call) -> Reply:
        seen.append(asked)
        return good()

    targets = (Target("a", "m"), Target("b", "n"))
    came = call()
    await Route(inner, targets)(came)
    assert seen[0].targets == targets
    assert came.targets == ()
    assert seen[0].trace is came.trace
