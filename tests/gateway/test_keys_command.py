"""The command `sluice keys`, over state folders."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.auth import Gate
from gateway.keys.registry import look
from gateway.keys_command import keys_app

CREATE = ("create", "app", "--tenant", "acme")


def run(*words: str, shown: str = "") -> tuple[int, str, str]:
    """Run a command: its exit status, and what it prints and says."""
    result = CliRunner().invoke(keys_app, words, input=shown, env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


def keys(*words: str, state: Path) -> tuple[int, str, str]:
    """Run a command on a state folder."""
    return run(*words, "--state", str(state))


def listed(state: Path) -> list[dict[str, Any]]:
    """What `list --json` prints."""
    status, printed, _ = keys("list", "--json", state=state)
    assert status == 0
    told: list[dict[str, Any]] = json.loads(printed)
    return told


def test_create(tmp_path: Path) -> None:
    """The key stands alone on standard output, opens the gate with all that was given, and is in no file."""
    given = ("--team", "shop", "--tag", "a", "--tag", "b", "--model", "gpt-*", "--model", "m", "--expires", "30d")
    status, printed, said = keys(*CREATE, *given, state=tmp_path / "state")
    secret = printed.strip()
    assert status == 0
    assert printed == f"{secret}\n"
    assert "only time" in said
    gate = Gate([], ["gpt-4o", "m", "other"], look(tmp_path / "state").issued)
    caller = gate.admit({b"authorization": f"Bearer {secret}".encode()})
    assert (caller.tenant, caller.key, caller.team, caller.tags) == ("acme", "app", "shop", ("a", "b"))
    assert caller.models == frozenset({"gpt-4o", "m"})
    [key] = listed(tmp_path / "state")
    assert key["expires"] == pytest.approx(time.time() + 30 * 86400, abs=60)
    assert all(secret not in path.read_text() for path in (tmp_path / "state").iterdir())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("create", " app", "--tenant", "acme"), "name: a name is not empty and has no blanks"),
        (("create", "app", "--tenant", ""), "tenant: a name is not empty"),
        (("create", "app\x1b[2J", "--tenant", "acme"), "name: a name has printable characters only"),
        ((*CREATE, "--model", ""), "models: a name is not empty"),
        ((*CREATE, "--expires", "soon"), "a number of seconds"),
        ((*CREATE, "--expires", "400d"), "at most 366 days"),
        (("create", "app"), "Missing option"),
    ],
)
def test_what_is_refused(tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    """Exit status 2, the reason in words, and nothing is made."""
    status, printed, said = keys(*words, state=tmp_path)
    assert (status, printed) == (2, "")
    assert why in said
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_taken(tmp_path: Path) -> None:
    """A second key of a living one's name is refused; after a revocation it is not."""
    keys(*CREATE, state=tmp_path)
    status, printed, said = keys(*CREATE, state=tmp_path)
    assert (status, printed) == (1, "")
    assert said == "There is a key named 'app' already; revoke it first."
    assert keys("revoke", "app", state=tmp_path)[0] == 0
    assert keys(*CREATE, state=tmp_path)[0] == 0
    assert [key["state"] for key in listed(tmp_path)] == ["revoked", "living"]


def test_revoke(tmp_path: Path) -> None:
    """A revoked key is in force no longer; revoking a name that is none costs exit status 1."""
    keys(*CREATE, state=tmp_path)
    assert keys("revoke", "app", state=tmp_path)[:2] == (0, "Key 'app' is revoked.\n")
    assert look(tmp_path).issued == ()
    status, _, said = keys("revoke", "app", state=tmp_path)
    assert (status, said) == (1, "There is no issued key named 'app' that is not revoked.")


def test_list(tmp_path: Path) -> None:
    """A line for each key, the oldest first, without anything that opens."""
    secret = keys(*CREATE, "--team", "shop", "--model", "gpt-*", state=tmp_path)[1].strip()
    keys("create", "second", "--tenant", "bolt", "--expires", "1s", state=tmp_path)
    keys("revoke", "app", state=tmp_path)
    status, printed, _ = keys("list", state=tmp_path)
    head, first, second = printed.splitlines()
    assert status == 0
    assert head.split() == ["name", "key", "tenant", "team", "tags", "models", "created", "expires", "state"]
    assert first.startswith(f"app     {secret[:14]}...  acme    shop")
    assert first.endswith("never              revoked")
    assert second.split()[0] == "second"
    assert secret not in printed
    assert "sha256" not in printed
    assert all("hash" not in key for key in listed(tmp_path))


def test_no_keys(tmp_path: Path) -> None:
    """A folder without keys is told as such and stays as it was."""
    assert keys("list", state=tmp_path)[:2] == (0, "No keys have been issued.\n")
    assert listed(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_damaged_files(tmp_path: Path) -> None:
    """A list from the copy says so; where both are damaged every command is refused with the reason."""
    keys(*CREATE, state=tmp_path)
    (tmp_path / "keys.json").write_text("{")
    status, printed, said = keys("list", state=tmp_path)
    assert (status, "app" in printed, "keys.json.bak is used" in said) == (0, True, True)
    (tmp_path / "keys.json.bak").write_text("{")
    for words in (CREATE, ("list",), ("revoke", "app")):
        status, printed, said = keys(*words, state=tmp_path)
        assert (status, printed) == (1, "")
        assert "is damaged" in said


@pytest.mark.parametrize("words", [CREATE, ("list",), ("revoke", "app")])
def test_a_redis_that_is_not_there(tmp_path: Path, words: tuple[str, ...]) -> None:
    """It costs exit status 1 and a line without a password; no key is printed that nobody knows."""
    status, printed, said = keys(*words, "--redis-url", "redis://me:secret@127.0.0.1:9/0", state=tmp_path)
    assert (status, printed, said) == (1, "", "Redis cannot be reached.")


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_hash(end: str) -> None:
    """The digest as a policy file takes it, with or without a line's end."""
    secret = "a-key-of-sixteen-or-more"
    digest = hashlib.sha256(secret.encode()).hexdigest()
    assert run("hash", shown=secret + end) == (0, f"sha256:{digest}\n", "")


@pytest.mark.parametrize("shown", ["", "short", "with a blank in the middle", "x" * 1001, "two-lines-0123456789\nmore"])
def test_hash_of_what_is_no_key(shown: str) -> None:
    """Exit status 1, with the reason and without what was shown."""
    status, printed, said = run("hash", shown=shown)
    assert (status, printed) == (1, "")
    assert said.startswith("This is no key: a key ")
    assert not shown or shown not in said
