"""Tests of gateway.admin.dashboard.source: what the ledger, the workers' files and the history tell, as pages ask."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.admin.dashboard.data import Query, Source
from gateway.admin.dashboard.source import HistoryFailed, source_of
from gateway.counts import FORMAT
from gateway.keys.registry import opened
from gateway.ledger.reader import LedgerUnavailable
from gateway.state import State
from policies.history import History
from policies.loader import PolicyError, Problem

NOW = 1_800_000_000.0


def refuse(text: str) -> None:
    """A check that lets only one text through."""
    if text != "good":
        raise PolicyError([Problem("policy.yaml", 3, "rulez: unknown key")])


def source(folder: Path) -> Source:
    """A source over an empty state directory."""
    opener: Any = partial(opened, folder)
    return source_of(State(folder), folder / "policy.yaml", History(folder / "policies"), refuse, opener)


def worker(folder: Path, number: int, **changed: Any) -> None:
    """A worker's file."""
    told = {
        "format": FORMAT, "worker": number, "pid": 7, "at": 9e9, "alive": True, "resident": 1, "ledger": "ok",
        "counters": {}, "histograms": {}, "status": {"policy": "v", "upstreams": {"up": 2}, "prices": [{"model": "m"}]},
    }  # fmt: skip
    (folder / f"worker-{number}.json").write_bytes(orjson.dumps({**told, **changed}))


def test_without_a_ledger(tmp_path: Path) -> None:
    """Every question says why there is no answer, as an error that pages show."""
    calls = source(tmp_path).calls
    for ask in (
        lambda: calls.overview(Query(0, NOW)),
        lambda: calls.search(Query(0, NOW, unknown=True), "newest", 5, None),
        lambda: calls.one("x"),
        lambda: calls.profile(0, NOW, "model"),
    ):
        with pytest.raises(LedgerUnavailable):
            ask()


def test_workers(tmp_path: Path) -> None:
    """Breakers and prices of those that live; one that stopped writing is told, one that said goodbye is not."""
    worker(tmp_path, 0)
    worker(tmp_path, 1, at=1.0)
    worker(tmp_path, 2, at=1.0, alive=False)
    fleet = source(tmp_path).fleet
    found = fleet.upstreams()
    assert found["upstreams"]["up"]["state"] == "open"
    assert [(each["worker"], each["alive"]) for each in found["workers"]] == [(0, True), (1, False)]
    assert fleet.prices() == [{"model": "m"}]


def test_the_file_without_its_secrets(tmp_path: Path) -> None:
    """The policy's text is shown, a key that stands in it is not; a file that is gone is told."""
    policies = source(tmp_path).policies
    assert policies.state()["text"] is None
    (tmp_path / "policy.yaml").write_text('keys:\n  - {name: a, tenant: t, key: "sk-secret-0123456789"}\n')
    assert "sk-secret" not in policies.state()["text"]


def test_versions(tmp_path: Path) -> None:
    """They are listed, compared and put back, but not one that would not load here."""
    history = History(tmp_path / "policies")
    history.record("a" * 12, "good", NOW)
    history.record("b" * 12, "bad", NOW + 1)
    policies = source(tmp_path).policies
    assert [version["version"] for version in policies.versions()] == ["b" * 12, "a" * 12]
    assert "-good" in policies.difference("a" * 12, "b" * 12)
    policies.restore("a" * 12)
    assert (tmp_path / "policy.yaml").read_text() == "good"
    for refused in ("b" * 12, "c" * 12, "../../x"):
        with pytest.raises(HistoryFailed):
            policies.restore(refused)
    with pytest.raises(HistoryFailed):
        policies.difference("a" * 12, "nothing")


def test_the_file_against_what_is_in_force(tmp_path: Path) -> None:
    """Whether the file is what is in force, and what changed; a file that is gone differs, too."""
    history = History(tmp_path / "policies")
    policies, file = source(tmp_path).policies, tmp_path / "policy.yaml"
    file.write_text("good\n")
    assert (policies.state()["differs"], policies.state()["drift"]) == (None, "")
    history.record("a" * 12, "good\n", NOW)
    assert policies.state()["differs"] is False
    file.write_text("bad\n")
    assert policies.state()["differs"] is True
    assert "-good\n+bad\n" in policies.state()["drift"]
    file.unlink()
    assert (policies.state()["differs"], policies.state()["drift"]) == (True, "")


def test_a_version_has_a_name(tmp_path: Path) -> None:
    """By its name a version is shown, compared and put back; one that is not kept is refused by what was asked for."""
    history = History(tmp_path / "policies")
    history.record("a" * 12, "good", NOW)
    history.record("b" * 12, "bad", NOW + 1)
    policies = source(tmp_path).policies
    policies.name("a" * 12, "launch")
    assert policies.text("launch") == "good"
    assert "+bad" in policies.difference("launch", "b" * 12)
    policies.restore("launch")
    assert (tmp_path / "policy.yaml").read_text() == "good"
    with pytest.raises(HistoryFailed, match="'nowhere'"):
        policies.text("nowhere")
    with pytest.raises(HistoryFailed):
        policies.name("b" * 12, "launch")
