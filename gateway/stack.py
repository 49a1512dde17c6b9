"""Stacking layers: each wraps the handler below it and is a handler itself."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.call import Handler, Layer


def stack(layers: Iterable[Layer], innermost: Handler) -> Handler:
    """One handler out of many; the first layer is the outermost."""
    handler = innermost
    for layer in reversed(list(layers)):
        handler = layer(handler)
    return handler
