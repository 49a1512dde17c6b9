"""Tests of gateway.admin.workers: what the files say, and that a spoilt one spoils nothing else."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from gateway.admin.workers import breakers, engines, living, policy_of, read_workers, upstreams_of
from gateway.ledger.pages import StatusPage
from gateway.metrics import CALLS, Metrics, Snapshot, Status
from gateway.state import State
from tests.gateway.ledger.traces import answered


def snapshot(number: int, status: Status, at: float = 100.0, *, alive: bool = True) -> Snapshot:
    """A worker's file."""
    return Metrics().snapshot(number, at, status, alive=alive)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"format":1}', b'{"format":2}', b"\xff\xfe"])
def test_a_spoilt_file_is_left_out(tmp_path: Path, data: bytes) -> None:
    """Half a file, or another release's, hides one worker and no other."""
    state = State(tmp_path)
    state.write(state.worker(0), orjson.dumps(snapshot(0, {})))
    state.write(state.worker(1), data)
    assert [found["worker"] for found in read_workers(state)] == [0]


def test_both_files_make_one_worker(tmp_path: Path) -> None:
    """What a worker says of itself and what was counted of its calls are shown as one; either may be missing."""
    state = State(tmp_path)
    metrics = Metrics()
    metrics.count(answered())
    state.write(state.worker(0), orjson.dumps(metrics.snapshot(0, 50.0, {"fleet": {"state": "ok"}}, alive=False)))
    for number in (0, 1):
        status: Status = {"policy": "v1"}
        page = StatusPage(state, number, lambda told=status: told)  # type: ignore[misc]  # a lambda's default
        page.publish("failing: disk full", alive=True)
    state.write(state.worker(2), orjson.dumps(snapshot(2, {})))
    first, second, third = read_workers(state)
    assert (first["alive"], first["ledger"], first["at"] > 50.0) == (True, "failing: disk full", True)
    assert first["status"] == {"fleet": {"state": "ok"}, "policy": "v1"}
    assert [len(each["counters"][CALLS.name]) for each in (first, second, third)] == [1, 0, 0]
    assert (second["worker"], second["status"]) == (1, {"policy": "v1"})
    state.write(state.status(0), b"{")
    assert read_workers(state)[0]["alive"] is False


def test_who_lives() -> None:
    """A worker that ended in good order, or has been silent for half a minute, does not."""
    workers = [snapshot(0, {}), snapshot(1, {}, alive=False), snapshot(2, {}, at=60.0)]
    assert [found["worker"] for found in living(workers, now=101.0)] == [0]


def test_upstreams_at_their_worst_and_by_worker() -> None:
    """An upstream shows its worst breaker and each worker's own."""
    workers = [snapshot(0, {"upstreams": {"a": 0, "b": 1}}), snapshot(1, {"upstreams": {"a": 2}})]
    assert breakers(workers) == {"a": 2, "b": 1}
    assert upstreams_of(workers) == {
        "a": {"state": "open", "workers": {"0": "closed", "1": "open"}},
        "b": {"state": "half-open", "workers": {"0": "half-open"}},
    }


def test_a_refusal_is_passed_on() -> None:
    """The refused edit's file and line are shown beside the version still in force."""
    told = policy_of(
        snapshot(0, {"policy": "v1", "reloads_refused": 2, "refusal": "policy.yaml:7: no such"}), now=100.0
    )
    assert told["version"] == "v1"
    assert told["alive"] is True
    assert told["reloads"] == {"ok": 0, "refused": 2}
    assert told["refusal"] == "policy.yaml:7: no such"


def test_engines_are_passed_on_as_they_are(tmp_path: Path) -> None:
    """What serve wrote is shown; where it wrote nothing, or half of it, there is none."""
    state = State(tmp_path)
    assert engines(state) is None
    state.write(state.engines, b'{"small": {"port": 1}}')
    assert engines(state) == {"small": {"port": 1}}
    state.write(state.engines, b'{"small')
    assert engines(state) is None
