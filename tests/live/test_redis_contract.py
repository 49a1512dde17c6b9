"""The contract of all stores, over Redis behind Sentinels and as a Cluster; one server alone is in tests/contracts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from caching.connection import connect
from caching.stores.redis import RedisStore, entry_name
from tests.contracts.conftest import Held
from tests.contracts.test_stores import *  # noqa: F403  # its tests run here with the stores below
from tests.fakes.stores import Clock

del test_unavailable  # noqa: F821  # the servers are shared here; outages are in test_redis_store


@pytest.fixture(params=["sentinel_url", "cluster_url"])
async def held(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[Held]:
    """Each in turn, with names of the test's own."""
    url, clock = request.getfixturevalue(request.param), Clock()
    client = connect(url)
    store = RedisStore(connect(url), prefix=prefix, clock=clock)

    async def overwrite(key: bytes, data: bytes) -> None:
        await client.set(entry_name(prefix, key), data)

    async def cut() -> None:
        raise NotImplementedError("the servers are shared")

    yield Held(store, clock, overwrite, cut)
    await store.close()
    await client.aclose()
