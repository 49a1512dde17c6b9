"""The cache as operations people see it, over real Redis servers: counted, purged, explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from caching.connection import connect
from caching.entry import Entry
from caching.stores import Selection
from caching.stores.redis import RedisStore
from gateway.admin.caches import newest, opened
from tests.gateway.admin.answers import entry

NOWHERE = Path("nowhere")  # Redis is asked, and no state folder


async def put(url: str, *entries: Entry) -> None:
    """Have only these entries kept, as a gateway would."""
    client = connect(url)
    await client.flushall()
    gateway = RedisStore(client)
    await gateway.put(entries)
    await gateway.close()


@pytest.mark.parametrize(
    ("selection", "left"), [(Selection(tenant="acme"), 1), (Selection(tag="t"), 2), (Selection(), 0)]
)
async def test_a_purge_reaches_every_gateway(url: str, selection: Selection, left: int) -> None:
    """What is selected is gone, on whichever server it lay, and a gateway reads that it was purged."""
    await put(url, entry("a", tags=("t",)), entry("b"), entry("c", tenant="other"))
    async with opened(NOWHERE, url) as store:
        dry = await store.purge(selection, dry_run=True)
        done = await store.purge(selection, dry_run=False)
        assert (dry.entries, done.entries) == (3 - left, 3 - left)
        assert (await store.usage())[0] == left
    async with opened(NOWHERE, url) as gateway:
        assert [purged for _, purged in await gateway.purges(0)] == [selection]


async def test_any_entries_can_be_compared_with(url: str) -> None:
    """As many as are asked for, each whole, from every server."""
    await put(url, *(entry(str(number), parts=(("tenant", str(number)),)) for number in range(30)))
    found = await newest(NOWHERE, url, 100)
    assert {one.parts[0][1] for one in found} == {str(number) for number in range(30)}
    assert len(await newest(NOWHERE, url, 7)) == 7
