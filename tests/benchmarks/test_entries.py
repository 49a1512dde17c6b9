"""Tests of the invented cache entries."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from benchmarks.entries import NOW, TRACE, Lengths, entries, key


def test_entries_are_the_same_in_every_run() -> None:
    """Numbers and seed decide all; another seed gives the same keys other answers."""
    once, again, other = (list(entries(range(5), Lengths(), seed)) for seed in (1, 1, 2))
    assert [entry.dumps() for entry in once] == [entry.dumps() for entry in again]
    assert [entry.key for entry in once] == [entry.key for entry in other] == [key(n) for n in range(5)]
    assert [entry.seconds for entry in once] != [entry.seconds for entry in other]


def test_an_entry_is_an_answer_that_costs_something() -> None:
    """It holds a chat completion, may be used now, and longer answers of one model cost more."""
    (entry,) = entries([7], Lengths([(100, 50)]))
    assert len(orjson.loads(entry.answer.plain())["choices"][0]["message"]["content"]) == 200
    assert entry.usable(NOW)
    assert entry.tokens == 50
    (longer,) = entries([7], Lengths([(100, 500)]))
    assert longer.seconds > entry.seconds > 0


def test_lengths_come_from_a_trace_if_there_is_one(tmp_path: Path) -> None:
    """The published trace is found below the folder; without it, or with other columns, there is an error."""
    with pytest.raises(FileNotFoundError, match=TRACE):
        Lengths.read(tmp_path)
    (tmp_path / "azure").mkdir()
    (tmp_path / "azure" / TRACE).write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023,374,44\n")
    assert Lengths.read(tmp_path).seen == [(374, 44)]
    (tmp_path / "azure" / TRACE).write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="ContextTokens"):
        Lengths.read(tmp_path)
