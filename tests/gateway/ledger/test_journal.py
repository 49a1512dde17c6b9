"""Tests of gateway.ledger.journal: a call's record gets to the recorder, or is counted as lost, and nobody waits."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from caching.identity import Identifier, Identity, Scope
from caching.misses import FIRST, SAME, Misses
from gateway.admin.workers import read_workers
from gateway.ledger.journal import CONTENT, Journal
from gateway.ledger.pages import NO_ANSWER, STALE_SECONDS, Word, tell
from gateway.ledger.reader import LedgerReader
from gateway.ledger.spool import Spool, segments
from gateway.ledger.taking import Taking
from gateway.ledger.why import LONGEST, MOST, Explainer
from gateway.metrics import CALLS, DROPPED, Counts, Status
from gateway.state import State
from gateway.trace import MISS, Trace
from tests.gateway.ledger.traces import answered, hit, refused


def recorded(state: State) -> None:
    """Have the recorder take in what there is."""
    taking = Taking(state)
    while taking.turn():
        pass
    taking.close()


def counted(state: State) -> Counts:
    """What was counted of worker 0's calls."""
    return Counts.read(read_workers(state)[0])


def told(state: State) -> Any:
    """What worker 0 said of itself."""
    return orjson.loads(state.status(0).read_bytes())


class Broken(Spool):
    """A spool on a disk that takes nothing for a while."""

    is_broken = True

    def _append(self, records: Sequence[bytes], dropped: int) -> None:
        if self.is_broken:
            raise OSError(5, "Input/output error")
        super()._append(records, dropped)


def test_a_record_reaches_the_ledger(tmp_path: Path) -> None:
    """Closing writes what is there; the recorder takes it in, and the worker's last word is that it ended."""
    state = State(tmp_path)
    journal = Journal(state)
    journal.start()
    assert journal.health() == "ok"
    journal.add(answered())
    journal.close()
    recorded(state)
    found = LedgerReader(state.ledger).one("req_1")
    assert found is not None
    assert found["outcome"] == "ok"
    assert told(state)["alive"] is False
    assert sum(counted(state).counters[CALLS.name].values()) == 1
    assert segments(state.spool) == []


def test_records_are_handed_over_without_closing(tmp_path: Path) -> None:
    """The thread writes by itself: a status asked for after the write shows that a round was made."""
    rounds = threading.Semaphore(0)

    def status() -> Status:
        rounds.release()
        return {"in_flight": 1, "policy": "v7"}

    state = State(tmp_path)
    journal = Journal(state, status=status, interval=0.01)
    journal.add(answered())
    journal.start()
    assert rounds.acquire(timeout=10)
    recorded(state)
    assert len(LedgerReader(state.ledger).recent()) == 1
    journal.close()
    assert told(state)["status"] == {"in_flight": 1, "policy": "v7"}


def test_a_full_buffer_drops_and_counts(tmp_path: Path) -> None:
    """Records over the bound are lost; the calls' thread neither waits nor fails, and the loss is in the metrics."""
    state = State(tmp_path)
    journal = Journal(state, bound=10)
    for i in range(25):
        journal.add(answered(f"req_{i}"))
    journal.tick()
    journal.close()
    recorded(state)
    assert len(LedgerReader(state.ledger).recent()) == 10
    assert counted(state).counters[DROPPED.name] == {(): 15}


def test_records_wait_for_the_disk(tmp_path: Path) -> None:
    """What came while the spool could not be written is written later, up to the bound; the rest is counted."""
    state = State(tmp_path)
    spool = Broken(state.spool, 0)
    journal = Journal(state, bound=10, spool=spool)
    for i in range(25):
        journal.add(answered(f"req_{i}"))
        journal.tick()
    assert journal.health() == "failing: input/output error"
    spool.is_broken = False
    journal.start()
    journal.close()
    recorded(state)
    assert [r["id"] for r in LedgerReader(state.ledger).recent()] == [f"req_{i}" for i in reversed(range(10))]
    assert journal.dropped() == 15
    assert counted(state).counters[DROPPED.name] == {(): 15}


def test_a_broken_disk_costs_one_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The spool's folder can be gone for good: health says so, and the log is not flooded."""
    state = State(tmp_path)
    journal = Journal(state, spool=Broken(state.spool, 0))
    journal.start()
    for i in range(100):
        journal.add(answered(f"req_{i}"))
    journal.close()
    assert told(state)["ledger"] == "failing: input/output error"
    assert [r.getMessage() for r in caplog.records] == [
        "spool: failing: input/output error; calls go on",
        "ledger: 100 records could not be written before the end",
    ]


def test_a_full_spool_drops_and_counts(tmp_path: Path) -> None:
    """While nobody reads, the spool grows to its bound and no further; the losses are told once it is read."""
    state = State(tmp_path)
    journal = Journal(state, spool=Spool(state.spool, 0, room=100_000))
    for i in range(2000):
        journal.add(answered(f"req_{i}"))
        if i % 10 == 9:
            journal.tick()
    assert journal.health() == "failing: the spool is full"
    assert sum(segment.size() for segment in segments(state.spool)) < 120_000
    journal.close()
    recorded(state)
    kept = len(LedgerReader(state.ledger).recent(5000))
    assert 100 < kept < 2000
    assert counted(state).counters[DROPPED.name] == {(): 2000 - kept}


def test_a_trace_filled_wrongly_costs_no_other(tmp_path: Path) -> None:
    """A record that cannot be converted is dropped and counted; its neighbours are written."""
    state = State(tmp_path)
    journal = Journal(state)
    wrong: list[Trace] = [answered("wrong", model=None), answered("odd", notes=[(object(), "x")])]
    for trace in (refused("before"), *wrong, refused("after")):
        journal.add(trace)
    journal.tick()
    recorded(state)
    assert [r["id"] for r in LedgerReader(state.ledger).recent()] == ["after", "before"]
    assert counted(state).counters[DROPPED.name] == {(): 2}
    journal.close()


def test_a_status_that_raises_does_not_end_the_journal(tmp_path: Path) -> None:
    """The loop's state may change while it is read; records are written all the same."""

    def status() -> Status:
        raise RuntimeError("dictionary changed size during iteration")

    state = State(tmp_path)
    journal = Journal(state, status=status, interval=0.01)
    journal.start()
    journal.add(answered())
    journal.close()
    recorded(state)
    assert len(LedgerReader(state.ledger).recent()) == 1


def test_an_ended_thread_is_told(tmp_path: Path) -> None:
    """A journal that no longer writes is not ready."""
    journal = Journal(State(tmp_path))
    journal.start()
    journal.close()
    assert journal.health() == "failing: the journal has ended"


def test_a_status_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """The spool works and the worker's file does not: health says so."""
    state = State(tmp_path)
    state.status(0).mkdir()
    journal = Journal(state)
    journal.tick()
    assert journal.health() == "failing: input/output error"
    journal.close()


def test_nothing_new_is_not_written_again(tmp_path: Path) -> None:
    """An idle worker's file is left alone between heartbeats."""
    state = State(tmp_path)
    journal = Journal(state)
    journal.publish()
    first = state.status(0).stat().st_ino
    journal.publish()
    assert state.status(0).stat().st_ino == first
    journal.publish(alive=False)
    assert state.status(0).stat().st_ino != first


def test_the_recorders_word_is_the_ledgers_health(tmp_path: Path) -> None:
    """What the recorder says is what a worker says; one that is silent for long has no say any more."""
    now = [100.0]
    state = State(tmp_path)
    word = Word(state, monotonic=lambda: now[0])
    journal = Journal(state, word=word)
    word.listen()
    assert journal.health() == "ok", "it has not come up yet"
    tell(state, "failing: disk full")
    word.listen()
    assert journal.health() == "failing: disk full"
    tell(state, "ok")
    word.listen()
    assert journal.health() == "ok"
    state.recorder.write_bytes(b'{"at": 5.0, "ledger": "ok"}')
    now[0] += STALE_SECONDS
    word.listen()
    assert journal.health() == NO_ANSWER
    for spoilt in (b"", b"[]", b'{"at": "x"}', b"\xff"):
        state.recorder.write_bytes(spoilt)
        word.listen()
        assert journal.health() == NO_ANSWER
    state.recorder.unlink()
    word.listen()
    assert journal.health() == NO_ANSWER
    tell(state, "ok")
    word.listen()
    assert journal.health() == "ok"


FULL_DISK = """
import resource, sys
from pathlib import Path
from gateway.ledger import Journal
from gateway.state import State
from tests.gateway.ledger.traces import answered

state = State(Path(sys.argv[1]))
journal = Journal(state)
journal.tick()
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, unlimited[1]))
for i in range(5000):
    journal.add(answered(f"req_{i}"))
journal.tick()
print(journal.health())
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
journal.start()
journal.close(30)
print(journal.dropped())
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="this system knows no limit on a file's size")
def test_files_that_cannot_grow_cost_nothing(tmp_path: Path) -> None:
    """The kernel refuses to let the file grow, as on a full disk: health says so, and later every record is there."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == ["failing: disk full", "0"]
    assert len(done.stderr.splitlines()) == 2, "one log line when it began, one when it ended"
    state = State(tmp_path)
    recorded(state)
    found = [record["id"] for record in LedgerReader(state.ledger).recent(10_000)]
    assert len(found) == len(set(found)) == 5000
    assert counted(state).counters[DROPPED.name] == {(): 0}


def test_workers_need_neither_fastapi_nor_prometheus() -> None:
    """The data plane's process does not load what only the admin process uses."""
    code = "import sys, gateway.ledger, gateway.recorder, gateway.metrics, gateway.state; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not {"fastapi", "starlette", "prometheus_client", "pydantic"} & set(done.stdout.split())


def identity(prompt: str = "hello") -> Identity:
    """What a cache tells a completion by; it holds the request's JSON."""
    body = {"model": "small", "prompt": prompt, "temperature": 0}
    return Identifier(Scope("acme", "", "completions", "small", "", "rule")).identify(body, orjson.dumps(body))


def missed(id: str, prompt: str = "hello", **fields: Any) -> Trace:  # noqa: A002 - the field's name
    """A call that the cache could have answered and had not."""
    return answered(id, cache=MISS, identity=identity(prompt), **fields)


def test_a_record_says_why_its_call_missed(tmp_path: Path) -> None:
    """The first call of its kind says so, an equal one that it came before, another one in what it differs."""
    state = State(tmp_path)
    journal = Journal(state)
    for trace in (missed("one"), missed("two"), missed("three", prompt="goodbye")):
        journal.add(trace)
    journal.tick()
    journal.close()
    recorded(state)
    reader = LedgerReader(state.ledger)
    found = [record["story"]["notes"][-1] for record in map(reader.one, ("one", "two", "three")) if record]
    assert found[:2] == [["cache", f"miss: {FIRST}"], ["cache", f"miss: {SAME}"]]
    assert "prompt" in found[2][1]


def test_a_converted_record_holds_no_request(tmp_path: Path) -> None:
    """Hits and misses alike give their request's JSON back, explained or not."""
    journal = Journal(State(tmp_path), explainer=Explainer(Misses(), per_second=1.0))
    traces = [missed("a"), missed("b"), hit(identity=identity())]
    for trace in traces:
        journal.add(trace)
    journal.tick()
    journal.close()
    assert [trace.identity for trace in traces] == [None] * 3


def test_a_full_buffer_holds_few_requests(tmp_path: Path) -> None:
    """While the thread cannot keep up, only the first records wait with their request's JSON, and no huge one does."""
    journal = Journal(State(tmp_path))
    huge = missed("huge", request_bytes=LONGEST + 1)
    traces = [missed(str(i)) for i in range(MOST + 500)]
    for trace in (huge, *traces):
        journal.add(trace)
    assert huge.identity is None
    assert sum(trace.identity is not None for trace in traces) == MOST
    journal.close()


def test_watchers_see_every_trace(tmp_path: Path) -> None:
    """Whoever watches is given each call that has ended, in the journal's own time."""
    seen: list[str] = []
    journal = Journal(State(tmp_path), watchers=[lambda trace: seen.append(trace.id)])
    journal.add(answered("a"))
    journal.add(hit("b"))
    journal.tick()
    assert seen == ["a", "b"]


def test_contents_reach_the_file(tmp_path: Path) -> None:
    """What a policy records of a call is shown with it, and with no other."""
    state = State(tmp_path)
    journal = Journal(state)
    journal.add(answered("plain"))
    journal.add(answered("recorded", content=(b'{"prompt": "hi"}', b"\xff answer")))
    journal.tick()
    journal.close()
    recorded(state)
    reader = LedgerReader(state.ledger)
    plain, kept = reader.one("plain"), reader.one("recorded")
    assert plain is not None
    assert kept is not None
    assert plain["content"] is None
    assert kept["content"] == {"request": '{"prompt": "hi"}', "answer": "\ufffd answer"}


def test_a_full_buffer_holds_few_contents(tmp_path: Path) -> None:
    """Past so many bytes that wait, records go without their contents and say so; written ones make room again."""
    state = State(tmp_path)
    journal = Journal(state)
    third = (b"x" * (CONTENT // 3), b"")
    traces = [answered(f"req_{i}", content=third) for i in range(5)]
    for trace in traces:
        journal.add(trace)
    assert [trace.content is not None for trace in traces] == [True, True, True, False, False]
    journal.tick()
    again = answered("again", content=third)
    journal.add(again)
    assert again.content is not None
    journal.close()
    recorded(state)
    found = LedgerReader(state.ledger).one("req_4")
    assert found is not None
    assert found["content"] is None
    assert found["story"]["notes"][-1][0] == "record"
