"""The loop that serves in production, for every test of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import uvloop


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """uvloop, whose transports behave otherwise than asyncio's own."""
    return {"uvloop": uvloop.new_event_loop}
