"""The command line, as far as it starts no processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app

GOOD = """\
upstreams:
  one: {url: 'http://127.0.0.1:9/v1', key: '${UP_KEY}'}
models:
  m: {targets: [{upstream: one, model: theirs}]}
rules:
  - {name: patient, match: {model: m}, timeouts: {total: 20m}, retry: {attempts: 2, budget: 0.5}}
"""
ENV = {"UP_KEY": "sk-0123456789"}


def run(*words: str, env: dict[str, str] | None = None, given: str = "") -> tuple[int, str]:
    """Run a command, with what is given on its standard input: its exit status and all it said."""
    result = CliRunner().invoke(app, list(words), env=ENV if env is None else env, input=given)
    return result.exit_code, result.output


def policy(folder: Path, text: str = GOOD) -> str:
    """A policy file."""
    path = folder / "policy.yaml"
    path.write_text(text)
    return str(path)


def test_help() -> None:
    """The help names every command."""
    status, said = run("--help")
    assert status == 0
    assert all(command in said for command in ("serve", "check", "explain", "cache", "bench"))


def test_check(tmp_path: Path) -> None:
    """A good policy is said to be good, with what it holds and no secret."""
    status, said = run("check", policy(tmp_path))
    assert status == 0
    assert "1 upstreams, 1 models, 0 keys, 1 rules" in said
    assert "sk-0123456789" not in said


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        (GOOD.replace("targets", "tragets"), 4, "tragets"),
        (GOOD.replace("upstream: one", "upstream: two"), 4, "two"),
        (GOOD.replace("UP_KEY", "NO_SUCH_KEY"), 2, "NO_SUCH_KEY"),
        (GOOD.replace("match: {model: m}", "match: {model: x}"), 6, "x"),
        (GOOD[:-20], 6, ""),
        ("a: &a [1]\nb: *a\n", 1, ""),
    ],
)
def test_check_refuses(text: str, line: int, word: str, tmp_path: Path) -> None:
    """What is wrong is told with file and line, and the exit status says so."""
    file = policy(tmp_path, text)
    status, said = run("check", file)
    assert status == 1
    assert f"{file}:{line}" in said
    assert word in said
    assert "Traceback" not in said


def test_check_without_a_file(tmp_path: Path) -> None:
    """A file that is not there is a problem like any other; the shipped policy is good."""
    status, said = run("check", str(tmp_path / "none.yaml"))
    assert status == 1
    assert "none.yaml" in said


def test_explain(tmp_path: Path) -> None:
    """The layers of a call are printed in their order, with their reasons."""
    status, said = run("explain", "m", "--policy", policy(tmp_path))
    assert status == 0
    assert "rule   patient: at most 1200 s" in said
    lines = [line.split()[1] for line in said.splitlines() if line.strip()[:1].isdigit()]
    assert lines == ["equal", "exact", "single", "route", "failover", "health", "upstream"]
    assert "one (theirs)" in said
    assert "at most 2 upstreams asked" in said


@pytest.mark.parametrize(
    ("words", "reason"),
    [(("x",), "does not exist"), (("m", "--endpoint", "chats"), "no endpoint 'chats'")],
)
def test_explain_refuses(words: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    """A call that would be refused is explained by why."""
    status, said = run("explain", *words, "--policy", policy(tmp_path))
    assert status == 1
    assert reason in said


def test_unknown_options() -> None:
    """A mistyped option is refused."""
    assert run("serve", "--prot", "80")[0] == 2
    assert run("serve", "--port", "99999")[0] == 2
    assert run("nonsense")[0] == 2


def test_explain_a_body(tmp_path: Path) -> None:
    """A call's JSON, from a file or standard input, is told whether it has an equal; a body that is none is refused."""
    words = ("explain", "m", "--policy", policy(tmp_path), "--state", str(tmp_path), "--body")
    body = '{"messages": [{"role": "user", "content": "hi"}]}'
    (tmp_path / "call.json").write_text(body)
    for file, given in (("-", body), (str(tmp_path / "call.json"), "")):
        status, said = run(*words, file, given=given)
        assert status == 0
        assert "is sampled: no temperature is given" in said
    for given, reason in (
        ("{", "not valid JSON"),
        (body.replace("{", '{"model": "other", ', 1), "names the model 'other'"),
    ):
        status, said = run(*words, "-", given=given)
        assert status == 1
        assert reason in said
    assert run(*words, str(tmp_path / "nothing.json"))[0] == 2
