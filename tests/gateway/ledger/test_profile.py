"""Tests of gateway.ledger.profile: speed, tail, price, contexts and calls at once, by flow."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.ledger.profile import profile
from gateway.ledger.reader import LedgerReader
from gateway.ledger.rows import row
from gateway.ledger.store import Store
from gateway.trace import Bill, Trace, Usage
from tests.gateway.ledger.traces import answered, refused

SINCE, UNTIL = 1_799_999_000.0, 1_800_009_000.0


def ledger(folder: Path, *traces: Trace) -> LedgerReader:
    """A reader of a ledger that holds these calls."""
    assert Store(folder / "ledger.sqlite").write([row(trace) for trace in traces])
    return LedgerReader(folder / "ledger.sqlite")


def test_a_flow_is_told_whole(tmp_path: Path) -> None:
    """Two calls of 300 ms with 20 tokens each, one streamed, one of unknown price."""
    (found,) = ledger(
        tmp_path,
        answered("a", streamed=True, bill=Bill(0.0012, None, 0.0, None, "measured")),
        answered("b", bill=Bill(None, None, 0.0, None, "unknown")),
    ).profile(SINCE, UNTIL)
    assert (found["flow"], found["calls"], found["unknown"], found["sampled"]) == ("small", 2, 1, 1.0)
    assert found["output_tokens_per_s"] == pytest.approx(40 / 0.6, rel=0.01)
    assert found["ttft_ms"]["p50"] == pytest.approx(105)
    assert found["usd_per_million_tokens"] == pytest.approx(10.0)
    assert found["context_tokens"] == {"p50": 100, "p95": 100, "max": 100}


def test_calls_at_once_are_swept(tmp_path: Path) -> None:
    """Three calls of 300 ms that begin 100 ms apart are three at once; those that follow each other are one."""
    at_once = [answered(f"a{i}", at=SINCE + 10 + i / 10, tenant="busy") for i in range(3)]
    in_turn = [answered(f"b{i}", at=SINCE + 10 + i, tenant="calm") for i in range(3)]
    found = {
        told["flow"]: told["concurrency"]
        for told in ledger(tmp_path, *at_once, *in_turn).profile(SINCE, UNTIL, "tenant")
    }
    assert found["busy"] == {"mean": pytest.approx(0.9 / 0.5, abs=1e-3), "peak": 3}
    assert found["calm"]["peak"] == 1


def test_a_call_counts_for_each_of_its_tags(tmp_path: Path) -> None:
    """By tag the calls of two tags are in both flows, those of none in one without a name."""
    found = ledger(tmp_path, answered("a", tags=("x", "y")), answered("b")).profile(SINCE, UNTIL, "tag")
    assert {told["flow"]: told["calls"] for told in found} == {"x": 1, "y": 1, "": 1}


def test_calls_that_went_wrong_have_no_speed(tmp_path: Path) -> None:
    """Refused calls have times, and nothing that no upstream gave."""
    (found,) = ledger(tmp_path, refused()).profile(SINCE, UNTIL)
    assert (found["flow"], found["output_tokens_per_s"], found["ttft_ms"], found["context_tokens"]) == (
        "",
        None,
        None,
        None,
    )


def test_answers_without_tokens_have_no_speed(tmp_path: Path) -> None:
    """Embeddings write nothing: that is no speed of 0."""
    call = answered("a")
    assert call.attempts[-1].usage is not None
    call.usage = call.attempts[-1].usage = Usage(100, 0)
    (found,) = ledger(tmp_path, call).profile(SINCE, UNTIL)
    assert found["output_tokens_per_s"] is None


def test_many_calls_are_sampled_and_it_says_so(tmp_path: Path) -> None:
    """Of five thousand calls a thousand are read, and the share is told."""
    reader = ledger(tmp_path, *(answered(str(i), at=SINCE + i) for i in range(5000)))
    with reader.connection() as db:
        (found,) = profile(db, SINCE, UNTIL, "model", sample=1000)
    assert (found["calls"], found["sampled"]) == (1000, 0.2)
