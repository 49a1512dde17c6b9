"""Tests of gateway.ledger.export: every call that is meant, once, in a form that harms nobody who opens it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import orjson
import pytest

from gateway.ledger.export import PAGE
from gateway.ledger.filters import Filters
from gateway.ledger.reader import LedgerReader, LedgerUnavailable
from gateway.ledger.rows import row
from gateway.ledger.store import Store
from gateway.trace import Bill, Trace
from tests.gateway.ledger.traces import answered, refused


def ledger(folder: Path, *traces: Trace) -> LedgerReader:
    """A reader of a ledger that holds these calls."""
    assert Store(folder / "ledger.sqlite").write(
        [row(trace) for trace in traces], [(b"secret", b"secret")] * len(traces)
    )
    return LedgerReader(folder / "ledger.sqlite")


def cells(reader: LedgerReader, asked: Filters | None = None) -> list[dict[str, str]]:
    """The CSV, parsed."""
    return list(csv.DictReader(io.StringIO(b"".join(reader.export("csv", asked)).decode())))


def test_pages_leave_nothing_out(tmp_path: Path) -> None:
    """However many calls there are, each is told once, in order, a page of them at a time."""
    reader = ledger(tmp_path, *(answered(f"req_{i}") for i in range(2 * PAGE + 1)))
    pieces = list(reader.export("csv"))
    assert len(pieces) == 4
    assert [line["id"] for line in cells(reader)] == [f"req_{i}" for i in range(2 * PAGE + 1)]
    assert len(b"".join(reader.export("jsonl")).splitlines()) == 2 * PAGE + 1


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(tmp_path: Path, start: str) -> None:
    """What a client named so that a spreadsheet would calculate it is text; numbers stay numbers."""
    name = f'{start}HYPERLINK("http://evil")'
    (line,) = cells(ledger(tmp_path, refused(model=name)))
    assert line["model"] == f"'{name}"
    (line,) = cells(ledger(tmp_path / "b", answered(bill=Bill(1.0, 0.5, 0.0, -0.5, "measured"))))
    assert line["saved_usd"] == "-0.5"


def test_unknown_is_empty_and_null(tmp_path: Path) -> None:
    """A cost that is not known is an empty cell, and null in JSON: never 0."""
    reader = ledger(tmp_path, answered())
    assert cells(reader)[0]["cost_usd"] == ""
    assert orjson.loads(next(reader.export("jsonl")))["cost_usd"] is None


def test_stories_only_where_asked_for_and_contents_never(tmp_path: Path) -> None:
    """JSON lines may have each call's story; what was asked and answered is in none."""
    reader = ledger(tmp_path, answered())
    assert "story" not in orjson.loads(next(reader.export("jsonl")))
    told = orjson.loads(next(reader.export("jsonl", with_story=True)))
    assert told["story"]["notes"] == [["failover", "local answered"]]
    assert "story" not in cells(reader)[0]
    assert b"secret" not in b"".join([*reader.export("jsonl", with_story=True), *reader.export("csv")])


def test_filters_hold(tmp_path: Path) -> None:
    """Only calls that fit are told; of none only the head of the table."""
    reader = ledger(tmp_path, answered("a", at=1000.0), answered("b"))
    assert [line["id"] for line in cells(reader, Filters(since=2000.0))] == ["b"]
    assert list(reader.export("jsonl", Filters(tenant="nobody"))) == []
    assert len(list(reader.export("csv", Filters(until=1.0)))) == 1


def test_a_missing_ledger_is_told_before_the_first_piece(tmp_path: Path) -> None:
    """Nobody gets half a file with a good status."""
    with pytest.raises(LedgerUnavailable):
        next(LedgerReader(tmp_path / "ledger.sqlite").export("csv"))
