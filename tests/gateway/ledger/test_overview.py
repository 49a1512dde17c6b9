"""Tests of gateway.ledger.overview: what the first page shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.ledger.overview import LEAST, TOP
from gateway.ledger.reader import LedgerReader
from gateway.ledger.rows import row
from gateway.ledger.store import Store
from gateway.trace import HELD_OUT, REFRESH, STALE, TREATED, Bill, Trace
from tests.gateway.ledger.traces import answered, hit, refused

SINCE, UNTIL = 1_799_999_400, 1_800_003_000


def ledger(folder: Path, *traces: Trace) -> LedgerReader:
    """A reader of a ledger that holds these calls."""
    assert Store(folder / "ledger.sqlite").write([row(trace) for trace in traces])
    return LedgerReader(folder / "ledger.sqlite")


def billed(cost: float, *lines: tuple[str, float, str]) -> Bill:
    """What one call cost, and what each technique saved."""
    saved = sum(usd for _, usd, _ in lines)
    return Bill(cost, cost + saved, 0.0, saved, "measured", lines)


def test_totals_names_and_routes(tmp_path: Path) -> None:
    """Money, tokens, hits and errors in all and by name; who answered which model; what became of calls."""
    found = ledger(
        tmp_path,
        answered("a", bill=billed(2.0)),
        hit("b", bill=billed(0.0, ("exact", 2.0, "measured")), team="red"),
        refused("c"),
    ).overview(SINCE, UNTIL)
    totals = found["totals"]
    assert (totals["calls"], totals["errors"], totals["hits"], totals["cost_usd"], totals["saved_usd"]) == (
        3,
        1,
        1,
        2,
        2,
    )
    assert found["techniques"] == {"exact": {"usd": 2.0, "measured": 2.0, "estimated": 0.0}}
    assert found["by"]["model"][0]["name"] == "small"
    assert {told["name"]: told["calls"] for told in found["by"]["team"]} == {"": 2, "red": 1}
    assert found["routes"][0] == {"model": "", "upstream": "", "answered_model": "", "calls": 1}
    assert found["outcomes"] == {"ok": 2, "model_not_found": 1}
    assert found["kinds"]["exact"] == {"calls": 1, "saved_tokens": 120}
    assert found["latency_ms"]["total"]["p99"] == pytest.approx(300, rel=0.07)


def test_the_series_has_no_holes(tmp_path: Path) -> None:
    """Every bucket is told, at most 200, those without calls as zeros; they sum to the totals."""
    found = ledger(tmp_path, answered("a"), answered("b", at=1_800_001_000.0)).overview(SINCE, UNTIL)
    times = [point["at"] for point in found["series"]]
    assert times == list(range(SINCE, UNTIL, found["bucket_s"]))
    assert sum(point["calls"] for point in found["series"]) == 2
    for days in (1, 7, 45, 400, 40_000):
        assert len(ledger(tmp_path).overview(UNTIL - 86_400 * days if days < 20_000 else 0, UNTIL)["series"]) <= 200


def test_nothing_at_all(tmp_path: Path) -> None:
    """An empty ledger has zeros, no latencies and no estimate."""
    found = ledger(tmp_path).overview(SINCE, UNTIL)
    assert (found["totals"]["calls"], found["latency_ms"]["total"], found["holdout"]) == (0, None, None)
    assert found["by"]["model"] == []


def test_the_holdout_tells_what_is_saved(tmp_path: Path) -> None:
    """Held-out calls cost 3 and the others 1 on average: 2 are saved a call, within an interval around that."""
    held = [answered(f"h{i}", holdout=HELD_OUT, bill=billed(2.0 + i % 2 * 2)) for i in range(100)]
    treated = [answered(f"t{i}", holdout=TREATED, bill=billed(0.5 + i % 2)) for i in range(400)]
    unknown = [answered(f"u{i}", holdout=TREATED, bill=Bill(None, None, 0.0, None, "unknown")) for i in range(9)]
    found = ledger(tmp_path, *held, *treated, *unknown).overview(SINCE, UNTIL)["holdout"]
    assert found["held_out"] == {"calls": 100, "mean_usd": pytest.approx(3)}
    assert found["treated"] == {"calls": 400, "mean_usd": pytest.approx(1)}
    reach = 1.96 * (100 / 99 / 100 + 0.25 * 400 / 399 / 400) ** 0.5
    assert found["low"] == pytest.approx(2 - reach, abs=1e-4)
    assert found["high"] == pytest.approx(2 + reach, abs=1e-4)
    assert found["saved_usd"] == pytest.approx(800)


def test_only_like_is_compared_with_like(tmp_path: Path) -> None:
    """Calls of rules without a holdout, and a model that is held out more often, do not look like savings."""
    dear = [
        answered(f"d{i}", model="dear", holdout=HELD_OUT if i % 2 else TREATED, bill=billed(9.0)) for i in range(80)
    ]
    cheap = [
        answered(f"c{i}", model="m", holdout=TREATED if i % 10 else HELD_OUT, bill=billed(1.0)) for i in range(400)
    ]
    others = [answered(f"o{i}", model="m", bill=billed(0.01)) for i in range(500)]
    found = ledger(tmp_path, *dear, *cheap, *others).overview(SINCE, UNTIL)["holdout"]
    assert found["saved_per_call_usd"] == pytest.approx(0)
    assert (found["held_out"]["calls"], found["treated"]["calls"]) == (80, 400)


def test_refreshes_cost_and_are_no_calls(tmp_path: Path) -> None:
    """What was fetched behind callers' backs is a cost of the treated calls, and counts for none."""
    held = [answered(f"h{i}", holdout=HELD_OUT, bill=billed(1.0)) for i in range(50)]
    treated = [answered(f"t{i}", holdout=TREATED, cache=STALE, bill=billed(0.0)) for i in range(50)]
    behind = [
        answered(f"r{i}", holdout=TREATED, cache=REFRESH, outcome="refreshed", bill=billed(1.0)) for i in range(50)
    ]
    found = ledger(tmp_path, *held, *treated, *behind).overview(SINCE, UNTIL)
    assert found["totals"]["calls"] == 100
    assert (found["totals"]["cost_usd"], set(found["outcomes"])) == (100.0, {"ok"})
    assert found["holdout"]["saved_per_call_usd"] == pytest.approx(0)


def test_streams_that_broke_are_errors(tmp_path: Path) -> None:
    """A stream that began with 200 and broke off is an error; one that its client left is none."""
    traces = [answered("a", outcome="upstream_cut"), answered("b", status=499, outcome="client_left"), answered("c")]
    assert ledger(tmp_path, *traces).overview(SINCE, UNTIL)["totals"]["errors"] == 1


def test_too_few_held_out_tell_nothing(tmp_path: Path) -> None:
    """Below thirty calls there is no estimate, however clear it looks."""
    held = [answered(f"h{i}", holdout=HELD_OUT, bill=billed(3.0)) for i in range(LEAST - 1)]
    treated = [answered(f"t{i}", holdout=TREATED, bill=billed(1.0)) for i in range(100)]
    assert ledger(tmp_path, *held, *treated).overview(SINCE, UNTIL)["holdout"] is None


def test_many_names_are_summed(tmp_path: Path) -> None:
    """A hundred names at most, the dearest first, the last for all the rest; none is lost."""
    calls = [answered(str(i), key=f"k{i}", bill=billed(float(i))) for i in range(TOP + 50)]
    found = ledger(tmp_path, *calls).overview(SINCE, UNTIL)["by"]["key"]
    assert len(found) == TOP
    assert found[0]["name"] == f"k{TOP + 49}"
    assert sum(told["calls"] for told in found) == TOP + 50
