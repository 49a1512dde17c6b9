"""Tests of gateway.ledger.story: what is written in few bytes is read back whole."""

from __future__ import annotations

from typing import Any

from gateway.ledger.rows import COLUMNS, row
from gateway.ledger.story import OWN, lines_read, lines_written, read
from gateway.trace import Attempt, Bill, Extra, Trace, Usage
from tests.gateway.ledger.traces import answered, hit


def told(trace: Trace) -> Any:
    """The story of this call's record."""
    record = dict(zip(COLUMNS, row(trace), strict=True))
    return read(str(record["story"]), record)


def test_each_attempt_is_told_whole() -> None:
    """Names, status, fault and times in ms; of two attempts each with its own usage, and a machine's seconds."""
    used = Usage(7, 3, 2, 1, extra=Extra(cache_write=5, tier="flex"))
    failed = Attempt("far", "m", 50.0, ended=50.2, status=500, fault="http_500", usage=used, seconds=0.125)
    first, second = told(answered(attempts=[failed, *answered().attempts]))["attempts"]
    assert (first["upstream"], first["status"], first["fault"], first["ended_ms"]) == ("far", 500, "http_500", 200.0)
    assert first["first_byte_ms"] is None
    assert (first["usage"]["prompt"], first["usage"]["cache_write"], first["usage"]["tier"]) == (7, 5, "flex")
    assert first["seconds"] == 0.125
    assert "seconds" not in second
    assert second["usage"] is not None


def test_the_answers_usage_comes_from_the_columns() -> None:
    """It is written once, and told as before."""
    trace = answered()
    trace.usage = trace.attempts[0].usage
    usage = told(trace)["attempts"][0]["usage"]
    assert usage == {"prompt": 100, "completion": 20, "cached": 64, "reasoning": 5, "estimated": False}


def test_a_hits_source_is_named() -> None:
    """Who made the answer, and no attempts."""
    assert told(hit())["source"] == {"model": "small-q8", "upstream": "local"}
    assert told(hit())["attempts"] == []


def test_the_bill_is_told_line_by_line() -> None:
    """What it cost, would have cost and saved, and each technique's part; a call without a bill has none."""
    lines = (("exact", 0.5, "measured"), ("overhead", -0.1, "estimated"))
    bill = told(answered(bill=Bill(0.25, 0.75, 0.1, 0.4, "measured", lines)))["bill"]
    assert bill == {
        "cost": 0.25, "baseline": 0.75, "own": 0.1, "saved": 0.4, "basis": "measured",
        "lines": [["exact", 0.5, "measured"], ["overhead", -0.1, "estimated"]],
    }  # fmt: skip
    assert "bill" not in told(answered())


def test_a_bill_of_overhead_alone_is_a_word() -> None:
    """Nearly every call has only this line: it is written as a word and read as the line it was."""
    bill = Bill(1.0, 1.0, 0.1, -0.1, "measured", (("overhead", -0.1, "estimated"),))
    assert lines_written(bill) == OWN
    assert lines_read(OWN, 0.1) == [["overhead", -0.1, "estimated"]]
    assert lines_written(Bill(1.0, 1.0, 0.1, -0.1, "measured", (("overhead", -0.1, "measured"),))) != OWN
    assert lines_read("", 0.1) == []
