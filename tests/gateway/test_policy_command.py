"""The command `sluice policy`, over a history such as a gateway leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.policy_command import HISTORY, policy_app
from policies.history import History
from policies.schema import json_schema

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
FIRST = "upstreams: {one: {url: 'http://127.0.0.1:9/v1'}}\nmodels: {m: {targets: [{upstream: one}]}}\n"
SECOND = FIRST.replace(":9/", ":10/").replace("}}\n", ", key: '${UP_KEY}'}}\n", 1)
ENV = {"UP_KEY": "up-key-of-the-test", "COLUMNS": "200"}
CONFIG = Path(__file__).parents[1] / "policies/importers/litellm/own_servers.yaml"


def run(*words: str, env: dict[str, str] | None = None, given: str = "") -> tuple[int, str, str]:
    """Run a command: its exit status, what it prints, and what it says beside that."""
    result = CliRunner().invoke(policy_app, words, env=ENV if env is None else env, input=given)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def where(tmp_path: Path) -> list[str]:
    """Options for a state folder in which two versions came into force, and a policy file that has been edited."""
    history = History(tmp_path / "state" / HISTORY)
    history.record(A, FIRST, 1_000_000_000.0)
    history.record(B, SECOND, 1_000_000_060.0)
    (tmp_path / "policy.yaml").write_text(FIRST + "# edited\n")
    return ["--state", str(tmp_path / "state"), "--policy", str(tmp_path / "policy.yaml")]


def test_list(where: list[str]) -> None:
    """The newest stands first, with its time, its length and its name; a star tells which is in force."""
    run("name", A, "before the sale", *where[:2])
    status, said, _ = run("list", *where[:2])
    assert status == 0
    assert [line.split() for line in said.splitlines()] == [
        ["*", B, "2001-09-09", "01:47:40Z", str(len(SECOND)), "bytes"],
        [A, "2001-09-09", "01:46:40Z", str(len(FIRST)), "bytes", "before", "the", "sale"],
    ]
    assert run("list", "--most", "1", *where[:2])[1].endswith("and 1 more; --most tells how many to list\n")


def test_a_clock_that_went_mad(tmp_path: Path) -> None:
    """A time beyond all calendars is a number."""
    History(tmp_path / HISTORY).record(A, FIRST, 1e18)
    assert "1000000000000000000" in run("list", "--state", str(tmp_path))[1]


def test_nothing_is_kept(tmp_path: Path) -> None:
    """A folder without a history is said to have none, and none is made."""
    status, said, _ = run("list", "--state", str(tmp_path / "nowhere"))
    assert (status, "no gateway has put a policy in force there" in said) == (0, True)
    assert list(tmp_path.iterdir()) == []


def test_show(where: list[str]) -> None:
    """A version is printed as its file was, found by its id or its name."""
    assert run("show", B, *where[:2]) == (0, SECOND, "")
    run("name", B, "good", *where[:2])
    assert run("show", "good", *where[:2])[1] == SECOND


@pytest.mark.parametrize(
    "words", [("show", "nothing"), ("diff", "nothing"), ("name", "nothing", "x"), ("restore", "x")]
)
def test_a_version_that_is_none(where: list[str], words: tuple[str, ...]) -> None:
    """A version that is not kept costs exit status 1 and one line."""
    status, said, told = run(*words, *(where if words[0] in ("diff", "restore") else where[:2]))
    assert (status, said) == (1, "")
    assert "no such version is kept" in told


def test_diff(where: list[str]) -> None:
    """Two versions are compared, or one with the policy file as it stands."""
    said = run("diff", A, B, *where)[1]
    assert f"--- {A}\n+++ {B}\n" in said
    assert "+upstreams: {one: {url: 'http://127.0.0.1:10/v1', key: '${UP_KEY}'}}\n" in said
    said = run("diff", A, *where)[1]
    assert f"+++ {where[3]}\n" in said
    assert said.endswith("+# edited\n")
    assert run("diff", A, A, *where) == (0, "", "")


def test_diff_shows_no_secret(where: list[str]) -> None:
    """A key that someone wrote into the file against the rules is not printed."""
    Path(where[3]).write_text(SECOND.replace("${UP_KEY}", "sk-written-out"))
    said = run("diff", A, *where)[1]
    assert "***" in said
    assert "written-out" not in said


def test_name(where: list[str]) -> None:
    """A version gets a name and loses it; a bad name is refused."""
    assert run("name", A, "good", *where[:2]) == (0, f"{A} is named good.\n", "")
    assert run("name", "good", "", *where[:2]) == (0, f"{A} has no name.\n", "")
    status, _, told = run("name", A, "a\nb", *where[:2])
    assert (status, "printable" in told) == (1, True)


def test_restore(where: list[str], tmp_path: Path) -> None:
    """After a yes the file is that version, and what stood there is kept; after a no nothing changed."""
    status, said, _ = run("restore", B, *where, given="n\n")
    assert status == 1
    assert "-# edited" in said
    assert Path(where[3]).read_text() == FIRST + "# edited\n"
    assert run("restore", B, *where, given="y\n")[0] == 0
    assert Path(where[3]).read_text() == SECOND
    status, said, _ = run("restore", A, "--yes", *where)
    assert (status, Path(where[3]).read_text()) == (0, FIRST)
    assert [path.read_text() for path in sorted((tmp_path / "state" / HISTORY / "replaced").iterdir())] == [
        FIRST + "# edited\n",
        SECOND,
    ]


def test_a_version_that_loads_no_more(where: list[str]) -> None:
    """A version whose variable is not set any more is refused, and the file stays."""
    status, said, told = run("restore", B, "--yes", *where, env={"UP_KEY": ""})
    assert (status, said) == (1, "")
    assert "UP_KEY is empty" in told
    assert Path(where[3]).read_text() == FIRST + "# edited\n"


def test_a_file_that_is_lost(where: list[str]) -> None:
    """A policy file that is gone is written anew; what is no file is told."""
    Path(where[3]).unlink()
    assert run("restore", A, *where, given="y\n")[0] == 0
    assert Path(where[3]).read_text() == FIRST
    Path(where[3]).unlink()
    Path(where[3]).mkdir()
    for words in (("restore", A), ("restore", A, "--yes"), ("diff", A)):
        status, _, told = run(*words, *where, given="y\n")
        assert (status, "file" in told) == (1, True)


def test_every_command_is_documented() -> None:
    """docs/policy.md tells each command."""
    page = (Path(__file__).parents[2] / "docs/policy.md").read_text()
    for command in policy_app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "")
        assert f"`sluice policy {name}" in page
    assert "sluice policy import litellm" in page


def test_schema() -> None:
    """The schema is printed as JSON."""
    status, said, _ = run("schema")
    assert (status, json.loads(said)) == (0, json_schema())


def test_import(tmp_path: Path) -> None:
    """The policy is printed, or written to a new file; what is different is said beside it, and no secret anywhere."""
    status, said, told = run("import", "litellm", str(CONFIG))
    assert status == 0
    assert said.startswith("# Made of a LiteLLM config.yaml")
    assert "model_list[4].litellm_params.model: Sluice serves chat" in told
    assert "Set in the gateway's environment: LLM_EXAMPLE_COM_API_KEY" in told
    assert "written-out" not in said + told
    out = tmp_path / "policy.yaml"
    assert run("import", "litellm", str(CONFIG), "--out", str(out))[:2] == (0, "")
    assert out.read_text() == said
    status, _, told = run("import", "litellm", str(CONFIG), "--out", str(out))
    assert (status, "is there already" in told) == (1, True)
    assert run("import", "litellm", str(CONFIG), "--out", str(tmp_path / "a/b"))[0] == 1


@pytest.mark.parametrize("content", [b"", b"\xff", b"a: [", b"model_list: []\n", b"a: &a [*a]\n", b"\0"])
def test_an_import_of_nothing(tmp_path: Path, content: bytes) -> None:
    """What is no such configuration costs exit status 1 and names the file; nothing is written."""
    (tmp_path / "config.yaml").write_bytes(content)
    status, said, told = run("import", "litellm", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "out.yaml"))
    assert (status, said) == (1, "")
    assert told.startswith(str(tmp_path / "config.yaml"))
    assert not (tmp_path / "out.yaml").exists()
    assert run("import", "litellm", str(tmp_path / "missing"))[0] == 1
