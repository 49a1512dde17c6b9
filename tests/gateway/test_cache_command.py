"""The command `sluice cache`, over a store such as workers leave behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cache_command import cache_app
from tests.gateway.admin.answers import entry, keep, kept


def run(*words: str, state: Path) -> tuple[int, str]:
    """Run a command on a state folder: its exit status and all it said, in one line."""
    result = CliRunner().invoke(cache_app, [*words, "--state", str(state)], env={"COLUMNS": "200"})
    return result.exit_code, " ".join(result.output.split())


def filled(state: Path) -> None:
    """Four answers: one old and tagged, one tagged, one of a namespace, one of another tenant."""
    tagged = entry("a", age=8 * 86400.0, tags=("demo",)), entry("b", tags=("demo", "x"))
    asyncio.run(keep(state, *tagged, entry("c", namespace="tests"), entry("d", tenant="other")))


def test_status(tmp_path: Path) -> None:
    """It says where the store is, how many answers it holds and how many bytes they take."""
    filled(tmp_path)
    status, said = run("status", state=tmp_path)
    assert status == 0
    assert said.startswith(f"{tmp_path / 'cache.sqlite'}: 4 entries, ")
    assert said.endswith("kB")


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        (("--tenant", "acme"), 3),
        (("--tenant", "nobody"), 0),
        (("--namespace", "tests"), 1),
        (("--namespace", ""), 3),
        (("--tag", "demo"), 2),
        (("--older-than", "7d"), 1),
        (("--tag", "demo", "--older-than", "9d"), 0),
        (("--all",), 4),
    ],
)
def test_purge(tmp_path: Path, words: tuple[str, ...], gone: int) -> None:
    """A dry run says what would go and removes nothing; the run after it removes just that."""
    filled(tmp_path)
    status, said = run("purge", "--dry-run", *words, state=tmp_path)
    assert (status, asyncio.run(kept(tmp_path))) == (0, 4)
    assert said.startswith(f"{gone} ")
    assert "would be removed from" in said
    status, said = run("purge", *words, state=tmp_path)
    assert (status, asyncio.run(kept(tmp_path))) == (0, 4 - gone)
    assert said.startswith(f"{gone} ")


@pytest.mark.parametrize("words", [(), ("--dry-run",), ("--all", "--tenant", "acme"), ("--older-than", "soon")])
def test_a_purge_that_cannot_be_meant_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Nothing selected, everything and something at once, or an age that is none: nothing goes."""
    filled(tmp_path)
    assert run("purge", *words, state=tmp_path)[0] == 2
    assert asyncio.run(kept(tmp_path)) == 4


@pytest.mark.parametrize("words", [("status",), ("purge", "--all")])
def test_no_store_is_told(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A folder without a store, and a Redis URL that is none, cost exit status 1 and one line without a password."""
    status, said = run(*words, state=tmp_path)
    assert status == 1
    assert "no worker has kept an answer there" in said
    status, said = run(*words, "--redis-url", "nonsense://me:secret@host", state=tmp_path)
    assert status == 1
    assert "a Redis URL begins with" in said
    assert "secret" not in said


def test_a_corrupt_file_is_told(tmp_path: Path) -> None:
    """`status` says that the file is corrupt and moves nothing."""
    (tmp_path / "cache.sqlite").write_bytes(b"no database" * 1000)
    status, said = run("status", state=tmp_path)
    assert (status, said.endswith("cannot be had: corrupt.")) == (1, True)
    assert not (tmp_path / "cache.sqlite.corrupt").exists()


def test_a_purge_of_a_deleted_file(tmp_path: Path) -> None:
    """It begins the file where a gateway was, for workers to hear of it; a dry run does not."""
    (tmp_path / "serve.lock").touch()
    assert run("purge", "--all", "--dry-run", state=tmp_path)[0] == 1
    assert not (tmp_path / "cache.sqlite").exists()
    assert run("purge", "--all", state=tmp_path) == (0, f"0 entries, 0 B removed from {tmp_path / 'cache.sqlite'}")
    assert (tmp_path / "cache.sqlite").exists()


def test_a_redis_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A port where nobody listens costs exit status 1 and one line."""
    status, said = run("purge", "--all", "--redis-url", "redis://me:secret@127.0.0.1:9/0", state=tmp_path)
    assert status == 1
    assert said == "The cache at redis://127.0.0.1:9 cannot be had: Redis cannot be reached."
