"""Stacking layers."""

from __future__ import annotations

from gateway.call import Call, Handler, Reply
from gateway.stack import stack
from tests.gateway.layers.chain import call, good


async def test_first_is_outermost() -> None:
    """Layers are passed in the order they are written in; without any there is only the handler."""
    passed: list[str] = []

    def layer(name: str) -> object:
        def over(inner: Handler) -> Handler:
            async def handle(asked: Call) -> Reply:
                passed.append(name)
                return await inner(asked)

            return handle

        return over

    async def innermost(asked: Call) -> Reply:
        passed.append("end")
        return good()

    await stack([layer("a"), layer("b")], innermost)(call("u"))  # type: ignore[list-item]
    assert passed == ["a", "b", "end"]
    assert stack([], innermost) is innermost
