"""Our HTTP client beside the libraries: the same call to the same static upstream, in one run.

`python -m benchmarks.clients [--calls N] [--repetitions N] [--json FILE]` prints, for a plain answer and an unpaced
stream at 32 connections, the CPU that each client's process takes a call, and the ratio to ours with its 95 % interval.
It answers one question: is `gateway.upstreams.http` worth being our own? The control is our own client measured twice.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import processes
from benchmarks.bodies import Kind, request_body
from benchmarks.stand import Stand, usual_cores
from benchmarks.statistics import Estimate, mean, ratio
from gateway.upstreams.connection import Patience
from gateway.upstreams.http import Origin, Pool

CONNECTIONS = 32
KINDS: tuple[Kind, ...] = ("plain", "burst")
PATH = "/v1/chat/completions"
Ask = Callable[[bytes], Awaitable[int]]
Connect = Callable[[AsyncExitStack, int], Awaitable[Ask]]


async def ours(stack: AsyncExitStack, port: int) -> Ask:
    """The gateway's own client."""
    pool = Pool(Origin(tls=False, host="127.0.0.1", port=port))
    stack.callback(pool.close)
    loop = asyncio.get_running_loop()
    start = f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n".encode()

    async def ask(body: bytes) -> int:
        head = start + b"content-length: %d\r\n\r\n" % len(body)
        response = await pool.request(head, body, Patience(2, 30, 30, loop.time() + 60))
        return len(await response.read(1 << 24))

    return ask


async def with_httpx(stack: AsyncExitStack, port: int) -> Ask:
    """The httpx library."""
    client = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}"))

    async def ask(body: bytes) -> int:
        return len((await client.post(PATH, content=body, headers={"content-type": "application/json"})).content)

    return ask


async def with_aiohttp(stack: AsyncExitStack, port: int) -> Ask:
    """The aiohttp library, where it is installed."""
    aiohttp = importlib.import_module("aiohttp")
    session = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}"))

    async def ask(body: bytes) -> int:
        async with session.post(PATH, data=body, headers={"content-type": "application/json"}) as response:
            return len(await response.read())

    return ask


def clients() -> dict[str, Connect]:
    """The clients to compare, ours twice for the noise."""
    found: dict[str, Connect] = {"ours": ours, "ours again": ours, "httpx": with_httpx}
    if find_spec("aiohttp"):
        found["aiohttp"] = with_aiohttp
    return found


async def cpu_per_call(connect: Connect, port: int, kind: Kind, calls: int) -> float:
    """Microseconds of CPU a call, over `calls` calls on 32 connections. Raises RuntimeError on an empty answer."""
    body = request_body(kind, "1.7k")
    numbers = iter(range(calls))
    async with AsyncExitStack() as stack:
        ask = await connect(stack, port)

        async def keep_asking() -> None:
            for number in numbers:
                if not await ask(body.numbered(number)):
                    raise RuntimeError("an empty answer")

        began = time.process_time()
        await asyncio.gather(*(keep_asking() for _ in range(CONNECTIONS)))
        return (time.process_time() - began) / calls * 1e6


def measure(calls: int, repetitions: int, console: Console) -> dict[str, dict[str, list[float]]]:
    """Microseconds a call by kind and client, a value a repetition, the clients taking turns."""
    found: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in clients()} for kind in KINDS}
    cores = usual_cores()
    with Stand(cores) as stand, processes.on_cores(cores.gateway), Progress(console=console) as progress:
        task = progress.add_task("clients", total=repetitions * len(KINDS) * len(clients()))
        for _ in range(repetitions):
            for kind in KINDS:
                for name, connect in clients().items():
                    cost = uvloop.run(cpu_per_call(connect, stand.upstream_port, kind, calls))
                    found[kind][name].append(cost)
                    progress.advance(task)
    return found


def show(found: dict[str, dict[str, list[float]]], console: Console) -> dict[str, dict[str, dict[str, Any]]]:
    """Print a table a kind and return the same figures for JSON."""
    told: dict[str, dict[str, dict[str, Any]]] = {}
    for kind, series in found.items():
        table = Table("client", "CPU µs a call", "times ours", title=kind)
        told[kind] = {}
        for name, values in series.items():
            cost, times = mean(values), ratio(values, series["ours"])
            table.add_row(name, f"{cost.value:.0f}", _interval(times))
            told[kind][name] = {"cpu_us": asdict(cost), "times_ours": asdict(times) if times else None}
        console.print(table)
    return told


def _interval(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def main(argv: Sequence[str]) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clients", description=__doc__)
    parser.add_argument("--calls", type=int, default=4000, help="calls a measurement")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args(argv)
    console = Console()
    told = show(measure(given.calls, given.repetitions, console), console)
    if given.json:
        given.json.write_text(json.dumps(told, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
