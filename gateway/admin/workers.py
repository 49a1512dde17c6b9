"""The files that other processes leave for the admin process: who lives, which policy, upstreams and engines."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import orjson

from gateway.counts import Told
from gateway.ledger.frames import HEAD
from gateway.ledger.pages import HEARTBEAT_SECONDS, read_told
from gateway.ledger.spool import segments
from gateway.metrics import FORMAT, Counts, Metrics, Snapshot
from gateway.state import State

BREAKER = ("closed", "half-open", "open")


def read_workers(state: State) -> list[Snapshot]:
    """What each worker last said, with what the recorder counted of its calls; a file that is not ours is left out."""
    found = (_worker(state, number) for number in state.workers())
    return [snapshot for snapshot in found if snapshot is not None]


def _worker(state: State, number: int) -> Snapshot | None:
    counted, told = _counted(state.worker(number)), _told(state.status(number))
    if counted is None and told is None:
        return None
    if counted is None:
        counted = Metrics().snapshot(number, 0.0, {}, alive=False)  # none of its calls has ended
    if told is not None:
        status = {**counted["status"], **told["status"]}
        counted = cast(Snapshot, {**counted, **told, "status": status})
    counted["behind"] = _behind(state, counted)
    return counted


def _behind(state: State, counted: Snapshot) -> int:
    """Bytes of this worker's records that are in the spool and not yet in the ledger."""
    taken = {name: min(place[0], place[2]) for name, place in counted.get("spool", {}).items()}
    own = (segment for segment in segments(state.spool) if segment.worker == counted["worker"])
    return sum(max(0, segment.size() - taken.get(segment.name, len(HEAD))) for segment in own)


def _counted(path: Path) -> Snapshot | None:
    """What was counted of one worker's calls."""
    try:
        found = orjson.loads(path.read_bytes())
        if found["format"] != FORMAT:
            return None
        Counts.read(found)
        found["status"].get("policy"), found["at"] + 0, found["alive"], found["worker"], found["ledger"]
        _ = {name: min(place[0] + 0, place[2] + 0) for name, place in found.get("spool", {}).items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None
    return cast(Snapshot, found)


def _told(path: Path) -> Told | None:
    """What one worker says of itself."""
    try:
        return read_told(path.read_bytes())
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def living(snapshots: Iterable[Snapshot], now: float) -> list[Snapshot]:
    """Those whose gauges still hold. A worker that was killed stops writing; its counts stay, its state does not."""
    return [s for s in snapshots if s["alive"] and now - s["at"] < 3 * HEARTBEAT_SECONDS]


def breakers(snapshots: Iterable[Snapshot]) -> dict[str, int]:
    """Each upstream's breaker at its worst over workers: 0 closed, 1 half-open, 2 open."""
    worst: dict[str, int] = {}
    for snapshot in snapshots:
        for name, state in snapshot["status"].get("upstreams", {}).items():
            worst[name] = max(worst.get(name, 0), state)
    return worst


def policy_of(snapshot: Snapshot, now: float) -> dict[str, Any]:
    """Which policy one worker serves by, and how its last reloads went."""
    status = snapshot["status"]
    return {
        "worker": snapshot["worker"],
        "alive": bool(living([snapshot], now)),
        "seen": snapshot["at"],
        "version": status.get("policy", ""),
        "reloads": {"ok": status.get("reloads_ok", 0), "refused": status.get("reloads_refused", 0)},
        "refusal": status.get("refusal", ""),
    }


def upstreams_of(snapshots: list[Snapshot]) -> dict[str, Any]:
    """Each upstream's breaker: its worst state, and the state in each worker."""
    return {
        name: {
            "state": BREAKER[worst],
            "workers": {
                str(s["worker"]): BREAKER[s["status"]["upstreams"][name]]
                for s in snapshots
                if name in s["status"].get("upstreams", {})
            },
        }
        for name, worst in sorted(breakers(snapshots).items())
    }


def caches_of(snapshots: Iterable[Snapshot]) -> list[dict[str, Any]]:
    """What each worker says of its memory of answers and of the store behind it."""
    return [{"worker": s["worker"], **s["status"].get("cache", {})} for s in snapshots]


def engines(state: State) -> Any:
    """What serve wrote of its engines; None where it runs none."""
    try:
        return orjson.loads(state.engines.read_bytes())
    except (OSError, ValueError):
        return None
