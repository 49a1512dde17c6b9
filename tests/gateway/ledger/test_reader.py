"""Tests of gateway.ledger.reader: what an operator can ask, and what is said when the file cannot be read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.ledger.filters import Filters
from gateway.ledger.reader import TOP, LedgerReader, LedgerUnavailable
from gateway.ledger.rows import row
from gateway.ledger.store import Store
from gateway.trace import Trace, Usage
from tests.gateway.ledger.traces import answered, hit, refused


def ledger(folder: Path, *traces: Trace) -> LedgerReader:
    """A reader of a ledger that holds these calls, with the writer still at it: the WAL is not yet in the file."""
    store = Store(folder / "ledger.sqlite")
    assert store.write([row(trace) for trace in traces])
    return LedgerReader(folder / "ledger.sqlite")


def test_pages_follow_each_other(tmp_path: Path) -> None:
    """The newest come first; the last `seq` seen asks for the next page, also while calls are added."""
    reader = ledger(tmp_path, *(answered(f"req_{i}") for i in range(5)))
    first = reader.recent(limit=2)
    ledger(tmp_path, answered("later"))
    second = reader.recent(limit=2, before=first[-1]["seq"])
    assert [r["id"] for r in (*first, *second)] == ["req_4", "req_3", "req_2", "req_1"]
    assert "story" not in first[0]
    assert first[0]["streamed"] is False


def test_filters_all_hold(tmp_path: Path) -> None:
    """A call is shown when it equals every value given."""
    reader = ledger(tmp_path, answered("a"), answered("b", tenant="other"), refused("c"))
    assert [r["id"] for r in reader.recent(filters=Filters(tenant="acme"))] == ["c", "a"]
    assert [r["id"] for r in reader.recent(filters=Filters(tenant="acme", upstream="local"))] == ["a"]
    assert [r["id"] for r in reader.recent(filters=Filters(model="small", outcome="ok"))] == ["b", "a"]
    assert reader.recent(filters=Filters(tenant="' OR 1=1 --")) == []


def test_one_call_with_its_story(tmp_path: Path) -> None:
    """The story comes parsed, its times in whole microseconds; an id that is not there gives None."""
    reader = ledger(tmp_path, answered("a"))
    found = reader.one("a")
    assert found is not None
    assert found["story"]["attempts"][0]["ended_ms"] == 290.0
    assert found["total_ms"] == 300.0
    assert reader.one("b") is None


def test_stats_count_and_sum(tmp_path: Path) -> None:
    """Counts by outcome, model, upstream and tenant, and the tokens, over the calls since then."""
    reader = ledger(tmp_path, answered("old", at=5.0), answered("a"), answered("b"), refused("c"))
    found = reader.stats(since=10.0)
    assert found["calls"] == 3
    assert found["prompt_tokens"] == 200
    assert found["by"]["outcome"] == {"ok": 2, "model_not_found": 1}
    assert found["by"]["upstream"] == {"local": 2, "": 1}
    assert found["by"]["tenant"] == {"acme": 3}


def test_stats_tell_what_the_caches_saved(tmp_path: Path) -> None:
    """Calls and tokens saved by kind of hit, and the tokens of all kinds together; the same without the rest."""
    reader = ledger(tmp_path, hit("old", at=5.0), hit("a"), hit("b"), hit("c", cache="stale"), answered(cache="miss"))
    found = reader.stats(since=10.0)
    assert found["saved_tokens"] == 360
    assert found["by"]["cache"] == {
        "exact": {"calls": 2, "saved_tokens": 240},
        "stale": {"calls": 1, "saved_tokens": 120},
        "miss": {"calls": 1, "saved_tokens": 0},
    }
    assert reader.caches(since=10.0) == found["by"]["cache"]


def test_calls_by_what_the_cache_had_to_do(tmp_path: Path) -> None:
    """The filter leaves one kind, with the age of each answer and what it saved."""
    reader = ledger(tmp_path, hit("a"), answered("b", cache="miss"))
    (found,) = reader.recent(filters=Filters(cache="exact"))
    assert (found["id"], found["age_s"], found["saved_tokens"]) == ("a", 30, 120)


def test_absurd_token_counts_do_not_overflow(tmp_path: Path) -> None:
    """An upstream that claims more tokens than 64 bits hold, over and over, does not cost the operator the sums."""
    used = Usage(prompt=2**90, completion=1)
    found = ledger(tmp_path, *(answered(str(i), usage=used) for i in range(3))).stats(0)
    assert found["prompt_tokens"] > 2**63
    assert found["completion_tokens"] == 3


def test_percentiles_are_by_nearest_rank(tmp_path: Path) -> None:
    """Of calls that took 1 to 100 ms, the 95th took 95."""
    reader = ledger(tmp_path, *(answered(str(i), ended=50.0 + i / 1000) for i in range(1, 101)))
    latency = reader.stats(0)["latency_ms"]
    assert latency["total"] == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert latency["overhead"]["p50"] == 15.0
    assert latency["sampled"] == 100


def test_percentiles_of_many_calls_come_from_a_fair_sample(tmp_path: Path) -> None:
    """With more calls than the sample holds, every second one slow, the sample is not all fast nor all slow."""
    calls = [answered(str(i), ended=50.01 if i % 2 else 50.9) for i in range(2000)]
    reader = LedgerReader(ledger(tmp_path, *calls).path, sample=200)
    latency = reader.stats(0)["latency_ms"]
    assert 150 < latency["sampled"] < 250
    assert latency["total"]["p95"] == 900.0
    fast = [c for c in calls if c.ended == 50.01]
    assert LedgerReader(ledger(tmp_path, *fast).path, sample=200).stats(0)["latency_ms"]["total"]["p50"] == 10.0


def test_invented_names_are_summed(tmp_path: Path) -> None:
    """A client that invents models makes the answer no longer than the bound; the sum stays right."""
    models = ledger(tmp_path, *(refused(str(i), f"m{i}") for i in range(TOP + 50))).stats(0)["by"]["model"]
    assert len(models) == TOP + 1
    assert models["other"] == 50


def test_no_calls_at_all(tmp_path: Path) -> None:
    """An empty ledger has sums of zero and no percentiles."""
    found = ledger(tmp_path).stats(0)
    assert (found["calls"], found["prompt_tokens"], found["latency_ms"]["total"]) == (0, 0, None)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """Before the first call there is no ledger; reading does not create one."""
    with pytest.raises(LedgerUnavailable, match="no worker has written"):
        LedgerReader(tmp_path / "ledger.sqlite").recent()
    assert list(tmp_path.iterdir()) == []


def test_a_corrupt_file_is_told(tmp_path: Path) -> None:
    """Garbage is called corrupt and nothing of it is shown."""
    (tmp_path / "ledger.sqlite").write_bytes(b"secret garbage" * 900)
    with pytest.raises(LedgerUnavailable, match="corrupt") as told:
        LedgerReader(tmp_path / "ledger.sqlite").stats(0)
    assert "secret" not in told.value.message


def test_a_locked_file_is_told(tmp_path: Path) -> None:
    """Another program that keeps the whole file to itself costs a plain message."""
    reader = ledger(tmp_path, answered())
    with closing(sqlite3.connect(tmp_path / "elsewhere.sqlite", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("CREATE TABLE calls (x)")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerUnavailable, match="cannot be read now"):
            LedgerReader(tmp_path / "elsewhere.sqlite").recent()
    assert len(reader.recent()) == 1


def test_a_question_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """A reader has a deadline; here it has passed before the first step of any length."""
    reader = ledger(tmp_path, *(answered(str(i)) for i in range(5000)))
    with pytest.raises(LedgerUnavailable, match="too long"):
        LedgerReader(reader.path, seconds=0).stats(0)


def test_reading_cannot_write(tmp_path: Path) -> None:
    """The reader's connection is read-only to the last."""
    reader = ledger(tmp_path, answered())
    with pytest.raises(LedgerUnavailable), reader.connection() as db:
        db.execute("DELETE FROM calls")
    assert len(reader.recent()) == 1
