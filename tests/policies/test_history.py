"""Every version that came into force is kept, named, compared and put back, whatever the disk and the clock do."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from policies.history import BadName, CannotRestore, History, HistoryError, NoSuchVersion
from policies.versions import MOST_KEPT, MOST_LINES, Event
from tests.policies.files import ROOT

A, B, C = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"


def filled(folder: Path) -> History:
    """A history in which A, then B, came into force."""
    history = History(folder / "policies")
    assert history.record(A, "a: 1\n", 1000.0)
    assert history.record(B, "a: 2\nb: ${KEY}\n", 2000.0)
    return history


def test_what_was_in_force(tmp_path: Path) -> None:
    """The newest is first and in force; a version that comes into force again is told again."""
    history = filled(tmp_path)
    assert history.record(A, "a: 1\n", 3000.0)
    assert [(each.version, each.at, each.bytes, each.is_in_force) for each in history.list()] == [
        (A, 3000.0, 5, True), (B, 2000.0, 15, False), (A, 1000.0, 5, False),
    ]  # fmt: skip
    assert (history.text(A), history.text(B)) == ("a: 1\n", "a: 2\nb: ${KEY}\n")


def test_the_same_again_is_nothing_new(tmp_path: Path) -> None:
    """A restart, or a second worker, that tells of the version in force adds nothing, but may name it."""
    history = filled(tmp_path)
    assert not history.record(B, "a: 2\nb: ${KEY}\n", 9000.0, name="good")
    assert [(each.version, each.name) for each in history.list()] == [(B, "good"), (A, "")]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Who only asks makes no folder."""
    history = History(tmp_path / "nowhere/policies")
    assert history.list() == []
    for ask in (history.text, history.find):
        with pytest.raises(NoSuchVersion):
            ask(A)
    with pytest.raises(NoSuchVersion):
        history.name(A, "x")
    assert list(tmp_path.iterdir()) == []


def test_texts_are_kept_to_the_byte(tmp_path: Path) -> None:
    """Line ends of other systems and odd letters come back as they were."""
    history = History(tmp_path)
    text = "a: 1\r\nb: \u00e9\U0001f600\u2028\n"
    history.record(A, text, 1.0)
    assert history.text(A) == text


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    """The folder is its owner's alone, and so is every file."""
    filled(tmp_path)
    folder = tmp_path / "policies"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_names(tmp_path: Path) -> None:
    """A name finds its version; the last word counts; "" takes it away."""
    history = filled(tmp_path)
    history.name(A, "before the sale")
    history.name(A, "the sale")
    assert (history.find("the sale"), history.find(B)) == (A, B)
    with pytest.raises(NoSuchVersion):
        history.find("before the sale")
    history.name(A, "")
    with pytest.raises(NoSuchVersion):
        history.find("the sale")
    with pytest.raises(NoSuchVersion):
        history.find("")


@pytest.mark.parametrize("name", [" a", "a\n", "a\x1b[31m", "x" * 201, "0123456789ab", "taken"])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    """A name that forges a line or a version, or is another's, is refused and changes nothing."""
    history = filled(tmp_path)
    history.name(A, "taken")
    with pytest.raises(BadName):
        history.name(B, name)
    assert [each.name for each in history.list()] == ["", "taken"]


@pytest.mark.parametrize("version", ["", "../../etc/passwd", "a/b", "a.b", "a\0b", "index", "lock", "x" * 65, "*"])
def test_versions_that_are_none(tmp_path: Path, version: str) -> None:
    """No id leads out of the folder or to the history's own files."""
    history = filled(tmp_path)
    for ask in (history.text, history.find):
        with pytest.raises(NoSuchVersion):
            ask(version)
    with pytest.raises(NoSuchVersion):
        history.restore(version, tmp_path / "policy.yaml")
    if not version.isalnum() or len(version) > 64:
        with pytest.raises(HistoryError):
            history.record(version, "a: 1\n", 1.0)


@pytest.mark.parametrize(("text", "at"), [("x" * 4_000_001, 1.0), ("a", float("nan")), ("a", float("inf"))])
def test_what_cannot_be_kept(tmp_path: Path, text: str, at: float) -> None:
    """A text longer than any policy, and a time that is none, are refused."""
    with pytest.raises(HistoryError):
        History(tmp_path).record(A, text, at)


def test_a_clock_that_jumps(tmp_path: Path) -> None:
    """The order is that of coming into force, even when the clock was set back a year."""
    history = filled(tmp_path)
    history.record(C, "c: 1\n", -31_000_000.0)
    assert [each.version for each in history.list()] == [C, B, A]
    assert history.list()[0].is_in_force


def test_a_last_line_that_was_cut_off(tmp_path: Path) -> None:
    """Wherever a cut of power ends the index, the versions before it are there, and the next is added whole."""
    history = filled(tmp_path)
    index = tmp_path / "policies/index.jsonl"
    whole = index.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(first, len(whole) - 1):
        index.write_bytes(whole[:end])
        assert [each.version for each in history.list()] == [A]
        history.record(C, "c: 1\n", 3000.0)
        assert [each.version for each in history.list()] == [C, A]
        assert history.record(A, "a: 1\n", 4000.0)


@pytest.mark.parametrize(
    "line",
    [
        b"", b"nonsense", b"[]", b"5", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"version": 5}',
        b'{"version": "z", "name": 5}',
        b'{"version": "../x", "sha256": "a", "bytes": 1, "at": 1}',
        b'{"version": "z", "sha256": "a", "bytes": "1", "at": 1}',
        b'{"version": "z", "sha256": "a", "bytes": 1, "at": 1e999}',
        b'{"version": "z", "sha256": "a", "bytes": 1, "at": null}',
        b'{"version": "z", "sha256": "a", "bytes": 1, "at": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_an_index_with_rubbish_in_it(tmp_path: Path, line: bytes) -> None:
    """A line that is none costs no version and no crash."""
    history = filled(tmp_path)
    index = tmp_path / "policies/index.jsonl"
    index.write_bytes(line + b"\n" + index.read_bytes() + line + b"\n")
    assert [each.version for each in history.list()] == [B, A]


def test_a_damaged_text(tmp_path: Path) -> None:
    """A text that the disk changed is never put back, and is kept anew when its version is in force."""
    history = filled(tmp_path)
    (tmp_path / "policies" / f"{B}.yaml").write_text("a: 3\n")
    with pytest.raises(NoSuchVersion, match="damaged"):
        history.text(B)
    assert history.record(B, "a: 2\nb: ${KEY}\n", 3000.0)
    assert history.text(B) == "a: 2\nb: ${KEY}\n"


def test_a_text_that_is_a_link(tmp_path: Path) -> None:
    """A link in the place of a text is not followed."""
    history = filled(tmp_path)
    file = tmp_path / "policies" / f"{B}.yaml"
    file.unlink()
    file.symlink_to("/etc/passwd")
    with pytest.raises(NoSuchVersion, match="cannot be read"):
        history.text(B)


def test_it_does_not_grow_for_ever(tmp_path: Path) -> None:
    """The newest thousand stay, and named ones beyond them; texts that nothing names are deleted."""
    history = filled(tmp_path)
    history.name(A, "the first")
    index = tmp_path / "policies/index.jsonl"
    with index.open("ab") as file:
        for number in range(MOST_LINES):
            file.write(Event(f"old{number}", float(number), "0" * 64, 1).line())
    (tmp_path / "policies" / ".x.yaml.0123").write_text("a draft that a crash left")
    history.record(C, "c: 1\n", 1.0)
    kept = history.list()
    assert len(kept) == MOST_KEPT + 1
    assert (kept[0].version, kept[-1].version, kept[-1].name) == (C, A, "the first")
    assert (history.text(A), history.text(C)) == ("a: 1\n", "c: 1\n")
    assert {path.name for path in index.parent.iterdir()} == {f"{A}.yaml", f"{C}.yaml", "index.jsonl", "lock"}
    history.record(B, "a: 2\n", 2.0)
    assert len(index.read_bytes().splitlines()) < MOST_LINES


def test_a_difference(tmp_path: Path) -> None:
    """Two versions are compared line by line."""
    assert filled(tmp_path).diff(A, B) == f"--- {A}\n+++ {B}\n@@ -1 +1,2 @@\n-a: 1\n+a: 2\n+b: ${{KEY}}\n"


def test_put_back(tmp_path: Path) -> None:
    """The file holds the version's text, keeps its mode, and what it held is kept."""
    history, policy = filled(tmp_path), tmp_path / "policy.yaml"
    policy.write_text("something else\n")
    policy.chmod(0o640)
    kept = history.restore(A, policy)
    assert (policy.read_text(), stat.S_IMODE(policy.stat().st_mode)) == ("a: 1\n", 0o640)
    assert kept is not None
    assert kept.read_text() == "something else\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policies", "policy.yaml"]


def test_a_file_that_is_lost(tmp_path: Path) -> None:
    """A policy file that is gone is written anew."""
    assert filled(tmp_path).restore(A, tmp_path / "policy.yaml") is None
    assert (tmp_path / "policy.yaml").read_text() == "a: 1\n"


def test_few_copies_of_what_was_replaced(tmp_path: Path) -> None:
    """Only the last twenty are kept, each under its own number."""
    history, policy = filled(tmp_path), tmp_path / "policy.yaml"
    for number in range(25):
        policy.write_text(f"{number}\n")
        history.restore(A, policy)
    kept = sorted((tmp_path / "policies/replaced").iterdir())
    assert [path.read_text() for path in kept] == [f"{number}\n" for number in range(5, 25)]


def test_a_configmap_is_left_alone(tmp_path: Path) -> None:
    """A file that kubelet mounts is not written, and the refusal says where to change it."""
    (tmp_path / "..2026_11_21").mkdir()
    (tmp_path / "..2026_11_21/policy.yaml").write_text("mounted\n")
    (tmp_path / "..data").symlink_to("..2026_11_21")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    with pytest.raises(CannotRestore, match="ConfigMap"):
        filled(tmp_path).restore(A, tmp_path / "policy.yaml")
    assert (tmp_path / "policy.yaml").read_text() == "mounted\n"


def test_who_is_slow_with_the_lock(tmp_path: Path) -> None:
    """A process that holds the folder for good costs the others a few seconds and a clear error, not their life."""
    history = filled(tmp_path)
    with (tmp_path / "policies/lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        history = History(tmp_path / "policies", patience=0.05)
        with pytest.raises(HistoryError, match="another process"):
            history.name(A, "x")
        assert [each.version for each in history.list()] == [B, A]  # who reads needs no lock


def test_several_at_once(tmp_path: Path) -> None:
    """Processes that name versions while others are recorded lose nothing of each other's."""
    history = filled(tmp_path)
    program = (
        "import sys; from pathlib import Path; from policies.history import History\n"
        "for i in range(40): History(Path(sys.argv[1])).name(sys.argv[2], f'{sys.argv[3]}-{i}')"
    )
    words = [(A, "first"), (B, "second")]
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "policies"), *each], cwd=ROOT) for each in words
    ]
    for number in range(40):
        history.record(f"c{number}", f"c: {number}\n", float(number))
    assert [process.wait(60) for process in running] == [0, 0]
    assert len(history.list()) == 42
    assert (history.find("first-39"), history.find("second-39")) == (A, B)
    lines = (tmp_path / "policies/index.jsonl").read_bytes().splitlines()
    assert len([json.loads(line) for line in lines]) == 42 + 80


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everything")
def test_a_disk_that_refuses(tmp_path: Path) -> None:
    """A folder that cannot be written raises, and what is there stays."""
    history = filled(tmp_path)
    (tmp_path / "policies").chmod(0o500)
    try:
        with pytest.raises(OSError, match="Permission"):
            history.record(C, "c\n", 1.0)
        assert history.list()[0].version == B
    finally:
        (tmp_path / "policies").chmod(0o700)
