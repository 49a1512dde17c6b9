"""Tests of the filled stores, small ones."""

from __future__ import annotations

import orjson
import pytest

from benchmarks.keeping import Kind, Task, perform


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_lookups_find_what_is_there(store: Kind) -> None:
    """Every hit is one and (but for a filter's rare mistakes) every miss; each repetition gives a mean."""
    outcome = orjson.loads(orjson.dumps(await perform(Task(store, 1_500, 2))))
    found = {one["name"]: one["found"] for one in outcome["lookups"]}
    assert [share for name, share in found.items() if "hit" in name] == [1.0] * (len(found) - 1)
    assert [share < 0.05 for name, share in found.items() if "miss" in name] == [True]
    for one in outcome["lookups"]:
        assert len(one["few"]) == len(one["many"]) == 2
        assert min(one["few"] + one["many"]) > 0


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_a_store_with_room_holds_everything(store: Kind) -> None:
    """Nothing is refused or lost, and what is counted stays inside the bound."""
    bound = (await perform(Task(store, 1_000, bound=100_000_000)))["bound"]
    assert (bound["puts"], bound["held"], bound["refused"]) == (1_000, 1_000, 0)
    assert bound["counted"] == bound["offered"] < bound["bound"]


async def test_a_bound_is_kept() -> None:
    """With room for a tenth, memory holds that much and no more."""
    bound = (await perform(Task("memory", 2_000, bound=400_000)))["bound"]
    assert 0 < bound["held"] < 400
    assert 0.5 * bound["bound"] < bound["counted"] <= bound["bound"] < bound["offered"]
