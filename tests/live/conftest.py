"""Redis as it is run: one server, a master behind a Sentinel, a Cluster; started once, each test with its own names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import uvloop

from caching.connection import Client, connect
from tests.redis_servers import cluster, redis_server, sentinel


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that serves in production, whose transports behave otherwise than asyncio's own."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def single_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server."""
    with redis_server(tmp_path_factory.mktemp("single")) as server:
        yield server.url


@pytest.fixture(scope="session")
def sentinel_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A master that a Sentinel watches."""
    with sentinel(tmp_path_factory.mktemp("sentinel")) as servers:
        yield servers.url


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Three masters that share the slots."""
    with cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers.url


@pytest.fixture(params=["single", "sentinel", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """Each way to run Redis in turn."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    """A client of it."""
    opened = connect(url)
    yield opened
    await opened.aclose()


@pytest.fixture
def prefix() -> str:
    """Names that no other test uses."""
    return f"t{uuid4().hex[:8]}"
