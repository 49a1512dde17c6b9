"""Memory holds what is worth most, inside its bound, and gives nothing that was purged or has died."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from caching.forms import Answer
from caching.stores import Selection
from caching.stores.memory import Memory, weight
from tests.fakes.stores import START, Clock, entry, key, same
from tests.running import REPOSITORY

ONE = weight(entry())
STATM = Path("/proc/self/statm")


def held(memory: Memory, names: Sequence[object]) -> int:
    """How many of these entries are there."""
    return sum(memory.get(key(name)) is not None for name in names)


def test_put_then_get() -> None:
    """What was put is given, the very object."""
    memory = Memory(100 * ONE, Clock())
    made = entry()
    assert memory.put(made)
    assert same(memory.get(made.key), made)
    assert memory.get(key("never")) is None


def test_overwritten_and_dropped() -> None:
    """The later of two entries stays; a dropped one is gone."""
    memory = Memory(100 * ONE, Clock())
    memory.put(entry(text="first"))
    later = entry(text="second")
    memory.put(later)
    assert same(memory.get(key("a")), later)
    memory.drop(key("a"))
    memory.drop(key("a"))
    assert memory.get(key("a")) is None


def test_dead() -> None:
    """An entry past its end, or from a time that has not come yet, is not given and is dropped."""
    clock = Clock()
    memory = Memory(100 * ONE, clock)
    for now in (START + 3601, START - 3600):
        clock.now = START
        memory.put(entry())
        clock.now = now
        assert memory.get(key("a")) is None
        clock.now = START
        assert memory.get(key("a")) is None


def test_purge() -> None:
    """A purge hides what it selects, also what was made before it and comes later, and nothing else."""
    clock = Clock()
    memory = Memory(100 * ONE, clock)
    memory.put(entry("a"))
    memory.put(entry("b", tenant="umbrella"))
    clock.now = START + 5
    memory.purge(Selection(tenant="acme"))
    assert not memory.put(entry("late"))
    assert memory.put(entry("new", created=START + 6))
    assert held(memory, ["a", "late"]) == 0
    assert held(memory, ["b", "new"]) == 2


def test_purge_of_everything() -> None:
    """A purge of everything empties memory."""
    memory = Memory(100 * ONE, Clock())
    memory.put(entry())
    memory.purge(Selection())
    assert memory.usage() == (0, 0)


def test_purge_after_the_clock_was_set_back() -> None:
    """A purge also removes entries that claim to be made after it."""
    clock = Clock()
    memory = Memory(100 * ONE, clock)
    memory.put(entry())
    clock.now = START - 30
    memory.purge(Selection(tenant="acme"))
    assert memory.get(key("a")) is None


def test_many_purges() -> None:
    """Purges by thousands of names stay bounded, and all hold against what is there."""
    clock = Clock()
    memory = Memory(1000 * ONE, clock)
    memory.put(entry("a", tenant="tenant 3"))
    for number in range(9000):
        clock.now += 0.001
        memory.purge(Selection(tenant=f"tenant {number}"))
    assert memory.get(key("a")) is None
    assert not memory.put(entry("b", tenant="tenant 8999"))


def test_bound() -> None:
    """However much is put, the weight stays inside the bound, and an entry larger than the bound is not held."""
    memory = Memory(50 * ONE, Clock())
    for number in range(2000):
        memory.put(entry(number))
    assert memory.usage()[1] <= 50 * ONE
    memory.put(entry("big", text="x" * 100 * ONE))
    assert memory.usage()[1] <= 50 * ONE
    assert memory.get(key("big")) is None


def test_dear_entries_survive() -> None:
    """At equal frequency and size, what is dear to make stays and what is cheap goes."""
    memory = Memory(200 * ONE, Clock())
    rng = random.Random(1)
    names = [f"{kind} {number}" for number in range(400) for kind in ("cheap", "dear")]
    for _ in range(4):
        rng.shuffle(names)
        for name in names:
            if memory.get(key(name)) is None:
                memory.put(entry(name, seconds=20.0 if name.startswith("dear") else 0.5))
    dear = held(memory, [name for name in names if name.startswith("dear")])
    cheap = held(memory, [name for name in names if name.startswith("cheap")])
    assert dear > 4 * cheap


def test_frequent_entries_survive() -> None:
    """At equal cost, what is asked for often stays through a crowd that is asked for once."""
    memory = Memory(200 * ONE, Clock())
    often = [f"often {number}" for number in range(100)]
    for number in range(3000):
        for name in (often[number % 100], f"once {number}"):
            if memory.get(key(name)) is None:
                memory.put(entry(name))
    assert held(memory, often) > 90


def saved(*, weigh_cost: bool, seed: int) -> float:
    """The part of all cost that memory saves on a Zipf trace (exponent 0.9) whose costs differ 150-fold."""
    rng = random.Random(seed)
    costs = [rng.choice([0.2, 0.2, 0.5, 1.0, 8.0, 30.0]) for _ in range(1500)]
    weights = [1 / (rank + 1) ** 0.9 for rank in range(1500)]
    memory = Memory(100 * ONE, Clock(), weigh_cost=weigh_cost)
    entries = [entry(number, seconds=cost) for number, cost in enumerate(costs)]
    total = kept = 0.0
    for number in rng.choices(range(1500), weights, k=12_000):
        total += costs[number]
        if memory.get(entries[number].key) is not None:
            kept += costs[number]
        else:
            memory.put(entries[number])
    return kept / total


def test_cost_counts() -> None:
    """On a Zipf trace, looking at cost saves more of it than looking at frequency alone."""
    with_cost = [saved(weigh_cost=True, seed=seed) for seed in range(3)]
    without = [saved(weigh_cost=False, seed=seed) for seed in range(3)]
    assert all(more >= less for more, less in zip(with_cost, without, strict=True))


def test_odd_costs() -> None:
    """Costs that are no costs, as after a clock jump, upset nothing."""
    memory = Memory(100 * ONE, Clock())
    odd = (0.0, -5.0, float("nan"), 1.0, float("inf"), float("nan"), -1.0, 1e300, 0.0)
    for number, seconds in enumerate(odd):
        memory.put(entry(number, seconds=seconds))
        assert memory.get(key(number)) is not None


def test_weighed_again() -> None:
    """When a stream was folded, memory learns how much smaller the entry is; another entry is left alone."""
    frames = [
        f'data: {{"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{"content":"{n}"}}}}]}}\n\n'.encode()
        for n in range(50)
    ]
    last = b'{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{}}'
    end = b"data: " + last + b"\n\n"
    memory = Memory(100 * ONE, Clock())
    made = entry(answer=Answer.of_stream([*frames, end, b"data: [DONE]\n\n"]))
    memory.put(made)
    before = memory.usage()[1]
    made.answer.plain()
    memory.weigh_again(made)
    assert memory.usage()[1] < before / 2
    memory.weigh_again(entry(text="not there", created=START + 1))
    assert same(memory.get(key("a")), made)


@pytest.mark.skipif(not STATM.exists(), reason="only Linux says there what a process takes")
def test_resident_bytes() -> None:
    """The weight of 20,000 entries is what they take of a fresh process's memory, give or take a quarter."""
    command = [sys.executable, "-c", f"from {__name__} import measured; print(*measured())"]
    output = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    grown, weighed, found = map(int, output.split())
    assert found == 20_000
    assert 0.75 * grown < weighed < 1.25 * grown


def measured() -> tuple[int, int, int]:
    """How much this process grew by 20,000 entries, what they weigh, and how many of them are found again."""
    memory = Memory(1 << 30, Clock())
    parts = tuple(f"messages.{number}.content" for number in range(5))
    before = resident()
    for number in range(20_000):
        digests = tuple((path, os.urandom(4).hex()) for path in parts)
        memory.put(entry(number, parts=digests, check=os.urandom(16), answer=Answer.of_plain(os.urandom(1000))))
    return resident() - before, memory.usage()[1], held(memory, list(range(20_000)))


def resident() -> int:
    """This process's resident bytes."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
