"""Holdout: a share of calls passes untouched by whatever saves, so that savings are measured against them."""

from __future__ import annotations

from collections.abc import Callable
from random import random

from gateway.call import Call, Handler, Reply
from gateway.trace import HELD_OUT, TREATED


class Holdout:
    """Send a random share of calls by another way. It stands before all layers."""

    def __init__(self, inner: Handler, untouched: Handler, share: float, draw: Callable[[], float] = random) -> None:
        """`share` is from 0 to 1; `draw` gives a number from 0 up to 1."""
        self._inner = inner
        self._untouched = untouched
        self._share = share
        self._draw = draw

    async def __call__(self, call: Call) -> Reply:
        """Answer as either way does. Who wants nothing but a cached answer is no part of the measurement."""
        if call.wishes.directives.only_if_cached:
            return await self._inner(call)
        if self._draw() >= self._share:
            call.trace.holdout = TREATED
            return await self._inner(call)
        call.trace.holdout = HELD_OUT
        call.trace.note("holdout", "passed untouched, to measure savings against it")
        return await self._untouched(call)
