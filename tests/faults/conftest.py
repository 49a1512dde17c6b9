"""Two bad or good servers and a gateway in front of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that serves in production, whose transports behave otherwise than asyncio's own."""
    return {"uvloop": uvloop.new_event_loop}


BREAKER = "breaker: {window: 50, failures: 1.0}"


@pytest.fixture
def policy() -> Callable[..., str]:
    """A policy whose model `m` is answered by the given servers, in order, and `only` by the first alone."""

    def make(*urls: str, upstream: str = "", rules: str = "", attempts: int = 2, serves: str = "") -> str:
        lines = ["upstreams:"]
        for number, url in enumerate(urls):
            lines.append(f"  u{number}:")
            lines.append(f"    url: {url}")
            lines.append("    key: ${UP_KEY}")
            lines.append("    timeouts: {connect: 1s, first_byte: 300ms, answer: 300ms, idle: 300ms}")
            lines.append(f"    {upstream or BREAKER}")
        targets = ", ".join(f"{{upstream: u{number}}}" for number in range(len(urls)))
        lines += ["models:", f"  m: {{targets: [{targets}]}}", "  only: {targets: [{upstream: u0}]}"]
        lines += ["rules:", rules or f"  - {{name: r, retry: {{attempts: {attempts}}}}}"]
        return "\n".join(lines) + "\n"

    return make
