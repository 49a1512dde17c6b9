"""Holdout: which calls pass untouched."""

from __future__ import annotations

from dataclasses import replace

from caching.directives import Directives
from gateway.call import Wishes
from gateway.holdout import Holdout
from tests.gateway.layers.chain import Scripted, call, good


async def test_share() -> None:
    """A drawn number below the share sends the call by the untouched way, and its record says so."""
    drawn = iter([0.04, 0.05, 0.99])
    saved, plain = good(), good()
    layer = Holdout(Scripted(saved, saved), Scripted(plain), 0.05, lambda: next(drawn))
    asked = [call("a") for _ in range(3)]
    assert [await layer(each) for each in asked] == [plain, saved, saved]
    assert [each.trace.is_held_out for each in asked] == [True, False, False]
    assert asked[0].trace.notes == [("holdout", "passed untouched, to measure savings against it")]


async def test_only_if_cached() -> None:
    """Who wants nothing but a cached answer is never held out: there would be no answer."""
    layer = Holdout(Scripted(good()), Scripted(), 1.0, lambda: 0.0)
    asked = replace(call("a"), wishes=Wishes(Directives(only_if_cached=True)))
    assert (await layer(asked)).status == 200
    assert not asked.trace.is_held_out
