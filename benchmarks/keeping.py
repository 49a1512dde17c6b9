"""One cache store, filled: what a lookup costs among few and among many entries, and whether it keeps its byte bound.

It reads one JSON `Task` on standard input and prints its outcome, in a process of its own: memory that another task
left behind would be counted as the store's.

Run by the benchmarks as `python -m benchmarks.keeping`.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import uvloop

from benchmarks.entries import NOW, Lengths, entries, key
from benchmarks.processes import memory_bytes
from caching.entry import Entry
from caching.errors import StoreUnavailable
from caching.stores.file import disk_bytes
from caching.stores.memory import Memory, weight
from caching.stores.sqlite import SqliteStore

Kind = Literal["memory", "sqlite"]

FEW = 1_000
_AMPLE = 1 << 40
_PROBES = 10_000  # lookups of one repetition in memory
_SLOW_PROBES = 300  # and on disk
_BATCH = 256
_SAMPLES = 50  # of memory or disk, spread over the puts
_COLLECTIONS = 5
_ABSENT = 1 << 40  # numbers from here on are of no entry


@dataclass(frozen=True, slots=True)
class Task:
    """Fill a `store` with `entries`: without a bound to time lookups, else to weigh it; `data` is as for `Lengths`."""

    store: Kind
    entries: int
    repetitions: int = 10
    bound: int = 0
    data: str = ""


@dataclass(frozen=True, slots=True)
class Lookups:
    """Microseconds a lookup among few and among many entries, one mean a repetition; `found` is the share found."""

    name: str
    few: list[float]
    many: list[float]
    found: float


@dataclass(frozen=True, slots=True)
class Bound:
    """What a store holds after `puts` entries of together `offered` bytes, as the store counts them.

    `real` is the most its process grew (memory) or its files measured (sqlite), in bytes; `refused` puts did not fit.
    """

    store: Kind
    puts: int
    offered: int
    bound: int
    held: int
    counted: int
    real: int
    refused: int = 0


def _lengths(task: Task) -> Lengths:
    return Lengths.read(Path(task.data)) if task.data else Lengths()


def _keys(count: int, among: int, seed: int) -> list[bytes]:
    """Draw keys of entries that are there; fresh ones each time, or the processor's caches would hold them."""
    rng = random.Random(seed)
    return [key(rng.randrange(among)) for _ in range(count)]


def _absent(count: int, seed: int) -> list[bytes]:
    return [key(_ABSENT + seed * count + i) for i in range(count)]


def memory_lookups(task: Task) -> tuple[list[Lookups], list[float]]:
    """Time lookups in memory, and full collections of Python's garbage in milliseconds while it holds the many."""
    (few, few_plain), (many, many_plain) = (_filled_memory(n, _lengths(task)) for n in (FEW, task.entries))
    stores, controls = ((few, FEW), (many, task.entries)), ((few_plain, FEW), (many_plain, task.entries))
    seeds = range(task.repetitions)
    hits = [[_microseconds(store.get, _keys(_PROBES, n, seed)) for store, n in stores] for seed in seeds]
    misses = [[_microseconds(store.get, _absent(_PROBES, seed)) for store, _ in stores] for seed in seeds]
    plain = [[_microseconds(_looker(table), _keys(_PROBES, n, seed)) for table, n in controls] for seed in seeds]
    found = [many.get(name) is not None for name in _keys(_PROBES, task.entries, -1)]
    missed = [many.get(name) is not None for name in _absent(_PROBES, 0)]
    del controls, few_plain, many_plain  # they hold entries as objects, which the collector would look at
    collections = [_microseconds(lambda _: gc.collect(), [b""]) / 1e3 for _ in range(_COLLECTIONS)]
    lookups = [_lookups("memory, hit", hits, found), _lookups("memory, miss", misses, missed)]
    # What the processor's caches do not hold is slow for everyone: so much of the ratio is not the store's.
    lookups.append(_lookups("a plain dict, hit (control)", plain, [True]))
    return lookups, collections


def _looker(table: dict[bytes, Entry]) -> Callable[[bytes], object]:
    return lambda name: table[name].created


def _filled_memory(count: int, lengths: Lengths) -> tuple[Memory, dict[bytes, Entry]]:
    """Fill a store, and a dict with the same entries."""
    store, plain = Memory(_AMPLE, lambda: NOW), {}
    for entry in entries(range(count), lengths):
        store.put(entry)
        plain[entry.key] = entry
    store.usage()  # whatever is still to be done
    return store, plain


def _microseconds(get: Callable[[bytes], object], keys: Sequence[bytes]) -> float:
    began = time.perf_counter_ns()
    for name in keys:
        get(name)
    return (time.perf_counter_ns() - began) / len(keys) / 1e3


def _lookups(name: str, pairs: Sequence[Sequence[float]], found: Sequence[bool]) -> Lookups:
    return Lookups(name, [few for few, _ in pairs], [many for _, many in pairs], sum(found) / len(found))


async def sqlite_lookups(task: Task) -> list[Lookups]:
    """Time lookups in a file: with the filter in front, as calls do."""
    lengths = _lengths(task)
    async with _sqlite(_AMPLE) as (few, _), _sqlite(_AMPLE) as (many, _):
        for store, count in ((few, FEW), (many, task.entries)):
            for batch in _batches(entries(range(count), lengths)):
                await store.put(batch)
            await _settled(store)
        stores = ((few, FEW), (many, task.entries))
        hits, misses = [], []
        for seed in range(task.repetitions):
            hits.append([await _slow_microseconds(s, _keys(_SLOW_PROBES, n, seed)) for s, n in stores])
            misses.append([await _slow_microseconds(s, _absent(_PROBES, seed)) for s, _ in stores])
        found = [await many.get(name) is not None for name in _keys(_SLOW_PROBES, task.entries, -1)]
        passed = [many.may_hold(name) for name in _absent(_PROBES, -1)]
    return [_lookups("SQLite, hit", hits, found), _lookups("SQLite, miss", misses, passed)]


async def _settled(store: SqliteStore) -> None:
    """Wait until the filter is there and the work behind the puts is done."""
    names = _absent(100, -1)
    for _ in range(600):
        await asyncio.sleep(0.5)
        if not all(map(store.may_hold, names)):
            return
    raise TimeoutError("the store's filter did not come")


async def _slow_microseconds(store: SqliteStore, keys: Sequence[bytes]) -> float:
    began = time.perf_counter_ns()
    for name in keys:
        if store.may_hold(name):
            await store.get(name)
    return (time.perf_counter_ns() - began) / len(keys) / 1e3


@asynccontextmanager
async def _sqlite(max_bytes: int) -> AsyncIterator[tuple[SqliteStore, Path]]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        store = SqliteStore(Path(folder) / "cache.sqlite", max_bytes, clock=lambda: NOW)
        try:
            yield store, Path(folder)
        finally:
            await store.close()


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    while batch := list(itertools.islice(entries, _BATCH)):
        yield batch


def memory_bound(task: Task) -> Bound:
    """Put all entries, each missed once to four times before, and watch how much the process grows."""
    store = Memory(task.bound, lambda: NOW)
    rng = random.Random(1)
    before = most = memory_bytes(os.getpid())[0]
    every = max(1, task.entries // _SAMPLES)
    offered = 0
    for number, entry in enumerate(entries(range(task.entries), _lengths(task))):
        for _ in range(rng.randint(1, 4)):  # what was asked for more often pushes others out
            store.get(entry.key)
        store.put(entry)
        offered += weight(entry)
        if number % every == 0:
            most = max(most, memory_bytes(os.getpid())[0])
    held, counted = store.usage()
    real = max(most, memory_bytes(os.getpid())[0]) - before
    return Bound("memory", task.entries, offered, task.bound, held, counted, real)


async def sqlite_bound(task: Task) -> Bound:
    """Put all entries into a file and watch how much of the disk it takes."""
    offered = most = refused = 0
    async with _sqlite(task.bound) as (store, folder):
        for batch in _batches(entries(range(task.entries), _lengths(task))):
            try:
                await store.put(batch)
            except StoreUnavailable:  # at its quota
                refused += len(batch)
            offered += sum(disk_bytes(len(entry.dumps())) for entry in batch)
            most = max(most, sum(path.stat().st_size for path in folder.iterdir()))
        held, counted = await store.usage()
    return Bound("sqlite", task.entries, offered, task.bound, held, counted, most, refused)


async def perform(task: Task) -> dict[str, Any]:
    """Do the task; give its `lookups` and `collections_ms`, or its `bound`, as plain values."""
    if task.bound:
        return {"bound": asdict(memory_bound(task) if task.store == "memory" else await sqlite_bound(task))}
    if task.store == "memory":
        lookups, collections = memory_lookups(task)
        return {"lookups": list(map(asdict, lookups)), "collections_ms": collections}
    return {"lookups": list(map(asdict, await sqlite_lookups(task))), "collections_ms": []}


def main() -> None:
    """Read a task, do it, print the outcome."""
    task = Task(**orjson.loads(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(orjson.dumps(uvloop.run(perform(task))))


if __name__ == "__main__":
    main()
