"""Tests of gateway.ledger.rows: a trace as a row."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.ledger.rows import COLUMNS, cleaned, row
from gateway.ledger.story import read
from gateway.trace import COALESCED, MISS, STALE, Attempt, Trace
from tests.gateway.ledger.traces import answered, hit, refused


def record(trace: Trace) -> dict[str, Any]:
    """The row by column."""
    return dict(zip(COLUMNS, row(trace), strict=True))


def test_an_answered_call_is_told_by_part() -> None:
    """Total, first byte, upstream and overhead are milliseconds; the overhead is first byte less upstream."""
    found = record(answered())
    assert found["total_ms"] == pytest.approx(300)
    assert found["first_byte_ms"] == pytest.approx(105)
    assert found["upstream_ms"] == pytest.approx(90)
    assert found["overhead_ms"] == pytest.approx(15)
    assert (found["model"], found["answered_model"], found["upstream"]) == ("small", "small-q8", "local")
    assert (found["prompt_tokens"], found["cached_tokens"], found["estimated"]) == (100, 64, False)


def test_unknown_is_not_zero() -> None:
    """Where nobody counted tokens, or no byte went out, the column is NULL."""
    found = record(answered(usage=None, first_byte=None))
    assert found["prompt_tokens"] is found["first_byte_ms"] is found["overhead_ms"] is None


def test_a_call_that_no_upstream_saw_names_none() -> None:
    """A refused call has no upstream, no answered model and waited for nobody."""
    found = record(refused())
    assert (found["upstream"], found["answered_model"], found["attempts"]) == ("", "", 0)
    assert found["upstream_ms"] == 0


def test_the_last_upstream_asked_is_named_even_if_it_failed() -> None:
    """An operator who asks for an upstream's calls sees those it failed; no model answered them."""
    found = record(answered(attempts=[Attempt("far", "m", 50.0, ended=50.2, fault="timeout")]))
    assert (found["upstream"], found["answered_model"]) == ("far", "")


def test_the_story_tells_each_attempt() -> None:
    """Attempts are told in ms since the call began, with usage; notes as written."""
    found = record(answered())
    story = read(found["story"], found)
    attempt = story["attempts"][0]
    assert attempt["started_ms"] == pytest.approx(10)
    assert attempt["first_byte_ms"] == pytest.approx(100)
    assert attempt["usage"]["cached"] == 64
    assert story["notes"] == [["failover", "local answered"]]


def test_what_a_client_invents_is_cut() -> None:
    """A model name of a megabyte takes 200 characters of the ledger."""
    assert len(record(refused(model="x" * 1_000_000))["model"]) == 200


def test_cleaned_holds_what_sqlite_can() -> None:
    """Lone surrogates and numbers over 64 bits are replaced; the rest stays as it is."""
    assert cleaned(("a\ud800", 2**70, -(2**70), 1.5, None, "ä")) == ("a?", 2**63 - 1, 1 - 2**63, 1.5, None, "ä")


def test_a_hit_names_who_made_its_answer() -> None:
    """No upstream was asked, so none is named; the story tells who made the answer, and the row what that saved."""
    found = record(hit())
    assert (found["cache"], found["age_s"], found["saved_tokens"]) == ("exact", 30, 120)
    assert (found["answered_model"], found["upstream"], found["attempts"]) == ("small-q8", "", 0)
    assert read(found["story"], found)["source"] == {"model": "small-q8", "upstream": "local"}


def test_a_call_without_a_cache_saves_nothing() -> None:
    """A miss, and a call that no cache was asked for, have no age, no savings and no source."""
    for trace, kind in ((answered(cache=MISS), "miss"), (refused(), "bypass")):
        found = record(trace)
        assert (found["cache"], found["age_s"], found["saved_tokens"]) == (kind, None, 0)
        assert "source" not in read(found["story"], found)


def test_kept_parts_of_an_answer_are_counted() -> None:
    """A miss that was partly kept saved the tokens of that part; a coalesced one those of what it shared as well."""
    assert record(answered(cache=MISS, saved=7))["saved_tokens"] == 7
    assert record(hit(cache=COALESCED, saved=7))["saved_tokens"] == 127


def test_a_stale_answer_behind_a_failure_names_both() -> None:
    """The upstream that failed stays named, as for any call; the model is that of the answer the client got."""
    failed = [Attempt("far", "m", 50.0, ended=50.2, fault="timeout")]
    found = record(hit(cache=STALE, attempts=failed))
    assert (found["cache"], found["upstream"], found["answered_model"]) == ("stale", "far", "small-q8")


def test_waiting_for_anothers_flight_is_no_overhead() -> None:
    """A call that waited 90 ms for another's upstream spent 15 of 105 ms with us."""
    found = record(hit(cache=COALESCED, first_byte=50.105, waited=0.090))
    assert found["upstream_ms"] == pytest.approx(90)
    assert found["overhead_ms"] == pytest.approx(15)
