"""The command `sluice prices`: bringing the table up to date, and looking into it."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from gateway.money.published import installed
from gateway.money.table import FILE, Book, Table, read, written
from gateway.prices_command import prices_app


def run(*words: str, state: Path) -> tuple[int, str]:
    """Run a command on a state folder: its exit status and all it said."""
    result = CliRunner().invoke(prices_app, [*words, "--state", str(state)], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def update(*words: str, state: Path) -> tuple[int, str]:
    """Have a table of just what is published."""
    return run("update", "--prune", "--force", *words, state=state)


def in_force(state: Path, source: str, *models: str) -> None:
    """Put a table into the state folder that is newer than any."""
    (state / FILE).write_bytes(written(Book("2099-01-01", source, {f"openai/{name}": {"input": 7} for name in models})))


def raw(cost: float = 1e-6, **fields: Any) -> dict[str, Any]:
    """A model of litellm's file."""
    return {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": cost,
        "output_cost_per_token": 2e-6,
        **fields,
    }


def published(folder: Path, **models: Any) -> str:
    """A file such as litellm publishes."""
    path = folder / "published.json"
    path.write_bytes(orjson.dumps(models))
    return str(path)


def test_update_from_the_installed_litellm(tmp_path: Path) -> None:
    """The table is taken from the litellm that is installed, and counts from then on."""
    source = installed()
    if source is None:
        pytest.skip("litellm is not installed")
    status, said = run("update", state=tmp_path / "new")
    assert status == 0
    assert f"from litellm {source[1]} are in {tmp_path / 'new' / FILE}" in said
    table = Table(tmp_path / "new")
    assert table.book.source == f"litellm {source[1]}"
    assert table.lookup("openai", "gpt-4o") is not None
    assert [path.name for path in (tmp_path / "new").iterdir()] == [FILE]


def test_update_says_what_changed(tmp_path: Path) -> None:
    """It counts what was added, changed and removed, and tells old and new prices of well-known providers."""
    update("--from", published(tmp_path, a=raw(), b=raw(), c=raw()), state=tmp_path)
    flex = {"input_cost_per_token_flex": 5e-7}
    status, said = update("--from", published(tmp_path, b=raw(), c=raw(3e-6, **flex), d=raw()), state=tmp_path)
    assert status == 0
    assert "  openai/c: input 1 -> 3, other tiers\n" in said
    assert "1 added, 1 changed, 1 removed, 0 not published there and kept, 0 refused." in said
    assert "3 models' prices from published.json" in said


def test_an_update_keeps_what_it_does_not_know(tmp_path: Path) -> None:
    """A file of one row once replaced the whole table: now the other rows stay, unless they are to be pruned."""
    in_force(tmp_path, "litellm 1.90.0", *"abcde")
    status, said = run("update", "--from", published(tmp_path, a=raw(), f=raw()), state=tmp_path)
    assert status == 0
    assert "1 added, 1 changed, 0 removed, 4 not published there and kept, 0 refused." in said
    made = read(tmp_path / FILE)
    assert list(made.rows) == [f"openai/{name}" for name in "abcdef"]
    assert (made.rows["openai/a"]["input"], made.rows["openai/b"]["input"]) == (1, 7)
    assert made.source == "published.json, the rest from litellm 1.90.0"


@pytest.mark.parametrize(("left", "status"), [("abcd", 0), ("abc", 1)])
def test_pruning_much_is_refused(tmp_path: Path, left: str, status: int) -> None:
    """More than a fifth of the models is not removed, for the source is likely the wrong one; --force does it."""
    in_force(tmp_path, "litellm 1.90.0", *"abcde")
    before = (tmp_path / FILE).read_bytes()
    file = published(tmp_path, **{name: raw() for name in left})
    found, said = run("update", "--prune", "--from", file, state=tmp_path)
    assert found == status
    assert ("published.json lacks 2 of 5 models of the table in force; the table stays as it was." in said) == bool(
        status
    )
    assert ((tmp_path / FILE).read_bytes() == before) == bool(status)
    assert update("--from", file, state=tmp_path)[0] == 0
    assert len(read(tmp_path / FILE).rows) == len(left)


def test_an_older_litellm_is_refused(tmp_path: Path) -> None:
    """An old litellm's prices once overrode newer ones under today's date; --force takes them all the same."""
    source = installed()
    if source is None:
        pytest.skip("litellm is not installed")
    for newer in ("litellm 999.1.0", "published.json, the rest from litellm 999.0"):
        in_force(tmp_path, newer, "a")
        status, said = run("update", state=tmp_path)
        assert status == 1
        assert f"litellm {source[1]} is older than the table in force, which is from {newer}; the table stays" in said
        assert read(tmp_path / FILE).source == newer
    for older in ("litellm 0.9.10", f"litellm {source[1]}", "published.json"):
        in_force(tmp_path, older, "a")
        assert run("update", state=tmp_path)[0] == 0
    in_force(tmp_path, "litellm 999.1.0", "a")
    assert run("update", "--force", state=tmp_path)[0] == 0
    assert read(tmp_path / FILE).source == f"litellm {source[1]}"


def test_what_ships_newer_is_what_is_kept(tmp_path: Path) -> None:
    """An old table in the state folder is not in force, so it is the shipped one whose rows stay."""
    (tmp_path / FILE).write_bytes(written(Book("2001-01-01", "litellm 0.1", {"openai/old": {"input": 1}})))
    assert run("update", "--from", published(tmp_path, new=raw()), state=tmp_path)[0] == 0
    rows = read(tmp_path / FILE).rows
    assert rows.keys() == {*Table().book.rows, "openai/new"}


def test_the_table_is_its_owners(tmp_path: Path) -> None:
    """In the state folder the table is 0600 as all files there, whatever it was; elsewhere everybody may read it."""
    (tmp_path / FILE).write_text("{}")
    (tmp_path / FILE).chmod(0o644)
    update("--from", published(tmp_path, a=raw()), state=tmp_path)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    update("--from", published(tmp_path, a=raw()), "--table", str(tmp_path / "t" / "t.json"), state=tmp_path)
    assert stat.S_IMODE((tmp_path / "t" / "t.json").stat().st_mode) == 0o644


def test_update_lists_what_it_refuses(tmp_path: Path) -> None:
    """A row that cannot be a price is named with the reason and left out; the rest is taken."""
    file = published(tmp_path, good=raw(), dear=raw(0.5), negative=raw(-1e-6), free=raw(0, output_cost_per_token=0))
    status, said = update("--from", file, state=tmp_path)
    assert status == 0
    assert "input_cost_per_token is 0.5, which is not between 0 and 0.1 USD: dear" in said
    assert "input_cost_per_token is -1e-06, which is not between 0 and 0.1 USD: negative" in said
    assert "every line is 0, which mostly means that nobody knows: free" in said
    assert "3 refused." in said
    assert list(read(tmp_path / FILE).rows) == ["openai/good"]


def test_a_refused_name_does_not_paint_the_terminal(tmp_path: Path) -> None:
    """Control characters in a published name are shown as question marks."""
    file = published(tmp_path, good=raw(), **{"bad\x1b[31m\nname": raw()})
    said = update("--from", file, state=tmp_path)[1]
    assert "bad?[31m?name" in said
    assert "\x1b" not in said


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"{", b'{"m": {"mode": "chat"}}'])
def test_a_file_without_prices_changes_nothing(tmp_path: Path, content: bytes) -> None:
    """What is no file of litellm's costs exit status 1, and the table stays as it was."""
    update("--from", published(tmp_path, a=raw()), state=tmp_path)
    before = (tmp_path / FILE).read_bytes()
    (tmp_path / "other.json").write_bytes(content)
    status, said = update("--from", str(tmp_path / "other.json"), state=tmp_path)
    assert status == 1
    assert "other.json" in said
    assert (tmp_path / FILE).read_bytes() == before


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A wrong name costs exit status 1 and one line."""
    status, said = update("--from", str(tmp_path / "none.json"), state=tmp_path)
    assert (status, said) == (1, f"{tmp_path / 'none.json'} cannot be read: No such file or directory.\n")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A state folder that is a file costs exit status 1 and one line."""
    (tmp_path / "state").touch()
    status, said = update("--from", published(tmp_path, a=raw()), state=tmp_path / "state")
    assert status == 1
    assert "cannot be written" in said


def test_a_broken_table_is_mended(tmp_path: Path) -> None:
    """Whatever stood there before, an update leaves a whole table."""
    (tmp_path / FILE).write_text("{")
    assert update("--from", published(tmp_path, a=raw()), state=tmp_path)[0] == 0
    assert list(read(tmp_path / FILE).rows) == ["openai/a"]


def test_update_elsewhere(tmp_path: Path) -> None:
    """With --table the table goes there and not into the state folder."""
    file = published(tmp_path, a=raw())
    assert update("--from", file, "--table", str(tmp_path / "t.json"), state=tmp_path / "state")[0] == 0
    assert list(read(tmp_path / "t.json").rows) == ["openai/a"]
    assert not (tmp_path / "state").exists()


def test_show(tmp_path: Path) -> None:
    """Every line per million tokens, a column for each tier and each length of prompt."""
    row = raw(input_cost_per_token_batches=5e-7, input_cost_per_token_above_200k_tokens=2e-6)
    update("--from", published(tmp_path, a=row), state=tmp_path)
    status, said = run("show", "a", state=tmp_path)
    lines = [line.split() for line in said.splitlines()]
    assert status == 0
    assert said.startswith("openai/a, table of ")
    assert lines[1] == ["standard", "standard", "above", "200,000", "batch", "batch", "above", "200,000"]
    assert lines[2] == ["input", "1", "2", "0.5", "1"]
    assert len(lines) == 13


def test_show_says_who_is_unknown(tmp_path: Path) -> None:
    """What is known is shown all the same; a name that is not costs exit status 1."""
    status, said = run("show", "openai/gpt-4o", "no\x1bsuch", state=tmp_path)
    assert status == 1
    assert "openai/gpt-4o, table of" in said
    assert "No price is known for no?such." in said


def test_list(tmp_path: Path) -> None:
    """Providers with their number of models, or one provider's models with their main lines."""
    file = published(tmp_path, a=raw(), b=raw(), c=raw(litellm_provider="x", cache_read_input_token_cost=5e-7))
    update("--from", file, state=tmp_path)
    assert [line.split() for line in run("list", state=tmp_path)[1].splitlines()][1:] == [["openai", "2"], ["x", "1"]]
    said = run("list", "--provider", "x", state=tmp_path)[1].splitlines()
    assert said[1].split() == ["x/c", "1", "0.5", "2"]
    status, told = run("list", "--provider", "nobody", state=tmp_path)
    assert (status, "no provider nobody" in told) == (1, True)


def test_list_bears_a_row_that_is_none(tmp_path: Path) -> None:
    """A table that somebody's hand has broken in one row is listed all the same."""
    document = {"date": "2099-01-01", "models": {"p/bad": None, "p/good": {"input": 1}}}
    (tmp_path / FILE).write_bytes(orjson.dumps(document))
    assert run("list", "--provider", "p", state=tmp_path)[0] == 0
    assert "not used" in run("show", "p/bad", state=tmp_path)[1]
