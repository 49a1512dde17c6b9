"""The table of prices: the shipped one, a fresher one, a broken one, and who is found in it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.money.published import harvest, installed
from gateway.money.table import FILE, SHIPPED, BadTable, Book, Table, read, tariff_of, written

OF_NOTE = (
    "openai/gpt-4o",
    "openai/gpt-4o-mini",
    "anthropic/claude-sonnet-4-5",
    "gemini/gemini-2.5-pro",
    "deepseek/deepseek-chat",
    "openai/text-embedding-3-small",
)


def table(folder: Path, *, date: str = "2099-01-01", **rows: Any) -> Table:
    """A table that a state folder holds; rows are named provider__model."""
    models = {name.replace("__", "/"): row for name, row in rows.items()}
    (folder / FILE).write_bytes(orjson.dumps({"date": date, "models": models}))
    return Table(folder)


def test_the_shipped_table_says_what_it_is() -> None:
    """It bears its date, where it is from, whose licence, its unit, and one line for each of many models."""
    text = SHIPPED.read_text()
    document = orjson.loads(text)
    assert Table().date == document["date"]
    assert document["source"].startswith("litellm ")
    assert "MIT" in document["notice"]
    assert document["unit"] == "USD per million tokens"
    assert len(document["models"]) > 2000
    assert text.count("\n") == len(document["models"]) + 8


def test_every_shipped_row_is_a_price() -> None:
    """No row of the shipped table is one that a lookup would refuse."""
    book = Table().book
    for key, row in book.rows.items():
        assert tariff_of(row, key, book.date).lines.input >= 0


@pytest.mark.parametrize("key", OF_NOTE)
def test_models_of_note_are_as_litellm_has_them(key: str) -> None:
    """Well-known models are in the table, with the lines that litellm publishes in the version it was taken from."""
    book = Table().book
    source = installed()
    if source is None or book.source != f"litellm {source[1]}":
        pytest.skip("another litellm is installed than the table was taken from")
    document = orjson.loads(source[0].read_bytes())
    raw = document.get(key) or document[key.partition("/")[2]]
    lines = tariff_of(book.rows[key], key, book.date).lines
    assert lines.input == pytest.approx(raw["input_cost_per_token"], rel=1e-12)
    assert lines.output == pytest.approx(raw["output_cost_per_token"], rel=1e-12)
    plain = raw["input_cost_per_token"]
    assert lines.cached_input == pytest.approx(raw.get("cache_read_input_token_cost", plain), rel=1e-12)
    assert harvest(document).rows[key] == book.rows[key]


def test_models_of_note_have_a_price() -> None:
    """Well-known models are found whatever litellm is installed."""
    for key in OF_NOTE:
        provider, _, model = key.partition("/")
        found = Table().lookup(provider, model)
        assert found is not None
        assert found.source == f"table {Table().date} {key}"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("m", "p/m"),
        ("p/m", "p/m"),
        ("m-2024-08-06", "p/m"),
        ("m-20250514", "p/m"),
        ("m@20250514", "p/m"),
        ("m-latest", "p/m"),
        ("dated-2024-08-06", "p/dated-2024-08-06"),
        ("m-2024-08-06-preview", None),
        ("m-mini", None),
        ("m-0613", None),
        ("m-99999999", None),
        ("m:free", None),
        ("M", None),
        ("dated", None),
        ("", None),
        ("q/m", None),
    ],
)
def test_who_is_found(tmp_path: Path, asked: str, found: str | None) -> None:
    """A name finds its own row, or that of the model of which it is a dated version; never another's."""
    rows: dict[str, Any] = {"p__m": {"input": 1}, "p__dated-2024-08-06": {"input": 1}}
    assert table(tmp_path, date="2099-01-01", **rows).key_of("p", asked) == found


def test_another_providers_price_is_not_ours(tmp_path: Path) -> None:
    """The same name at another provider is not known here."""
    assert table(tmp_path, p__m={"input": 1}).lookup("q", "m") is None


def test_a_fresher_table_wins(tmp_path: Path) -> None:
    """A table in the state folder counts if it is not older than the shipped one."""
    made = table(tmp_path, p__m={"input": 1}).lookup("p", "m")
    assert made is not None
    assert made.source == "table 2099-01-01 p/m"
    assert table(tmp_path, date="2001-01-01", p__m={"input": 1}).lookup("p", "m") is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"models": {}}', b'{"date": "soon", "models": {}}', b'{"date": "2099-01-01"}', None]
)
def test_a_broken_table_is_told_once(tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    """What is no table, or cannot be read, is named in the log once and the shipped one counts."""
    if content is None:
        (tmp_path / FILE).mkdir()
    else:
        (tmp_path / FILE).write_bytes(content)
    made = Table(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert made.lookup("openai", "gpt-4o") is not None
        assert made.lookup("openai", "gpt-4o-mini") is not None
    (told,) = caplog.records
    assert str(tmp_path / FILE) in told.message


@pytest.mark.parametrize(
    "row",
    [
        None,
        [],
        {},
        {"output": 1},
        {"input": "1"},
        {"input": True},
        {"input": -1},
        {"input": 1e6},
        {"input": 1, "steps": {}},
        {"input": 1, "steps": [{"input": 2}]},
        {"input": 1, "steps": [{"above": -5, "input": 2}]},
        {"input": 1, "steps": [5]},
        {"input": 1, "tiers": []},
        {"input": 1, "tiers": {"batch": {"input": None}}},
    ],
)
def test_a_row_that_is_no_price_is_unknown(tmp_path: Path, row: object) -> None:
    """What stands there and cannot be is an unknown price, never a wrong one; the other rows stay."""
    made = table(tmp_path, p__m=row, p__good={"input": 1})
    assert made.lookup("p", "m") is None
    assert made.lookup("p", "good") is not None


def test_a_table_too_large_is_not_read(tmp_path: Path) -> None:
    """A file that could fill the memory is refused by its size."""
    path = tmp_path / "t.json"
    with path.open("wb") as file:
        file.truncate(40 * 1024 * 1024)
    with pytest.raises(BadTable, match="too large"):
        read(path)


def test_written_is_read(tmp_path: Path) -> None:
    """A table comes back from its file as it was, whatever its names hold."""
    book = Book("2026-01-02", "test", {"p/m": {"input": 1.25}, 'q/"\\\u00e9': {"input": 2, "steps": []}})
    (tmp_path / FILE).write_bytes(written(book))
    assert read(tmp_path / FILE) == book


def test_named(tmp_path: Path) -> None:
    """A whole name is one row, a bare one every provider's, and part of one nobody's."""
    made = table(tmp_path, p__m={"input": 1}, q__m={"input": 1}, q__mm={"input": 1})
    assert made.named("p/m") == ["p/m"]
    assert made.named("m") == ["p/m", "q/m"]
    assert made.named("q") == []
    assert list(made.keys("q")) == ["q/m", "q/mm"]
