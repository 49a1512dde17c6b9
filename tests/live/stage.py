"""Several real gateways before one upstream, and what tests wait for there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.running import Gateway, gateway

UPSTREAM = """\
upstreams:
  up: {{url: "http://127.0.0.1:{port}/v1", breaker: {{window: 50, failures: 1.0}}}}
models:
  m: {{targets: [{{upstream: up}}]}}
{more}
"""


def policy(folder: Path, upstream: int, more: str = "") -> Path:
    """A policy whose model `m` is answered by the upstream on this port; `more` is added to it."""
    path = folder / "policy.yaml"
    path.write_text(UPSTREAM.format(port=upstream, more=more))
    return path


@contextmanager
def gateways(
    folder: Path, count: int, upstream: int, *options: str, more: str = "", env: Mapping[str, str] | None = None
) -> Iterator[list[Gateway]]:
    """So many gateways with one policy, each with a state folder of its own."""
    file = policy(folder, upstream, more)
    folders = [folder / f"gateway{number}" for number in range(count)]
    for each in folders:
        each.mkdir()
    with ExitStack() as stack, ThreadPoolExecutor(count) as threads:

        def start(each: Path) -> Gateway:
            return stack.enter_context(gateway(each, file, *options, env=env))

        yield list(threads.map(start, folders))


async def eventually(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something holds that only looking can tell."""
    until = time.monotonic() + seconds
    while not await asyncio.to_thread(true):
        assert time.monotonic() < until, "it did not come about"
        await asyncio.sleep(0.05)
