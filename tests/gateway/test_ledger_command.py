"""Tests of gateway.ledger_command: what an operator gets in a terminal."""

from __future__ import annotations

import time
from pathlib import Path

import orjson
import pytest
import typer
from typer.testing import CliRunner

from gateway.ledger import LedgerReader
from gateway.ledger.rows import row
from gateway.ledger.store import Store
from gateway.ledger_command import ledger_app, moment, profile, profile_table
from gateway.state import State
from tests.gateway.ledger.traces import answered, refused

NOW = 1_800_000_000.0


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder whose ledger has two calls, one under a name with a terminal's control characters."""
    odd = answered("b", tenant="\x1b[31mred\n", at=NOW)
    assert Store(State(tmp_path).ledger).write([row(answered("a", at=NOW)), row(odd)])
    return tmp_path


def run(*words: str) -> tuple[int, str]:
    """Exit status and what was said, of `sluice ledger export`."""
    app = typer.Typer()
    app.add_typer(ledger_app, name="ledger")
    app.command()(profile)
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.output


def test_an_export_to_a_file(state: Path) -> None:
    """Every call, with its story where asked for."""
    out = state / "calls.jsonl"
    assert run("ledger", "export", "--state", str(state), "--format", "jsonl", "--story", "--out", str(out))[0] == 0
    assert [orjson.loads(line)["id"] for line in out.read_bytes().splitlines()] == ["a", "b"]


def test_an_export_to_the_terminal_of_a_time(state: Path) -> None:
    """Standard output without --out; only calls of the time asked for."""
    asked = ("ledger", "export", "--state", str(state), "--format", "jsonl")
    status, said = run(*asked, "--since", str(NOW), "--until", "2027-01-31")
    assert (status, len(said.splitlines())) == (0, 2)
    assert run(*asked, "--until", "2020-01-01") == (0, "")


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    """A story in a table, a time that is none, a folder without a ledger."""
    assert run("ledger", "export", "--story")[0] == 2
    assert run("ledger", "export", "--since", "yesterday")[0] == 2
    status, said = run("ledger", "export", "--state", str(tmp_path))
    assert status == 1
    assert "no worker has written" in said
    assert run("profile", "--state", str(tmp_path))[0] == 1


def test_times_in_words_and_numbers() -> None:
    """An age, a date, a time with its zone, a Unix time."""
    assert moment("2h") == pytest.approx(time.time() - 7200, abs=5)
    assert moment("2027-01-15") == 1_799_971_200.0
    assert moment("2027-01-15T01:00+01:00") == 1_799_971_200.0
    assert moment("1800000000.5") == 1_800_000_000.5


def test_the_profile_is_a_table(state: Path) -> None:
    """A flow a line, in columns; names cannot colour or break the screen."""
    table = profile_table(LedgerReader(State(state).ledger), NOW - 60, NOW + 60, "tenant")
    head, *lines = table.splitlines()
    assert head.startswith("tenant")
    assert {line.split()[0] for line in lines} == {"acme", "?[31mred?"}
    assert len({len(line) for line in (head, *lines)}) == 1
    assert "unknown" in table


def test_no_calls_are_told(tmp_path: Path) -> None:
    """A time without calls is said to have none."""
    Store(State(tmp_path).ledger).write([row(refused())])
    assert "no calls" in profile_table(LedgerReader(State(tmp_path).ledger), 1.0, 2.0, "model")
