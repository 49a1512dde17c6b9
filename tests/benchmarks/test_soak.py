"""Tests of what the soak calls flat."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import orjson
import pytest

from benchmarks.mix import Score
from benchmarks.soak import Rest, Sample, SoakOptions, SoakReport, run, to_json
from benchmarks.statistics import Estimate

_REST = Rest(100.0, 30, 0, 8, 0)
_FLAT = SoakReport(
    SoakOptions(), 60.0, Score(200_000), [Sample(1000, 100.0, 60, 40)], Estimate(0.1, -0.2, 0.4, 150), _REST, _REST
)


def test_a_flat_run_has_no_fault() -> None:
    """Equal before and after, and a slope that may be zero: flat."""
    assert _FLAT.faults == []


def test_a_rise_beyond_doubt_is_a_fault() -> None:
    """Memory that certainly rises, and by much, is told with its rate."""
    assert replace(_FLAT, rise=Estimate(9.0, 8.0, 10.0, 150)).faults == ["memory rises by 9.0 MB per 100,000 calls"]
    assert replace(_FLAT, rise=Estimate(9.0, -1.0, 19.0, 150)).faults == []


def test_everything_left_behind_is_a_fault() -> None:
    """Clients' connections, calls at the upstream, descriptors and too many idle connections are each named."""
    after = Rest(100.0, 32, 1, 99, 3)
    assert len(replace(_FLAT, after=after).faults) == 4


def test_a_wrong_answer_is_a_fault() -> None:
    """A call that should have been answered and was not is no success of a flat memory."""
    score = Score(10, Counter(plain=10), Counter({"plain: status 502": 2}))
    assert replace(_FLAT, score=score).faults == ["2 x plain: status 502"]


def test_json_is_plain() -> None:
    """The report can be written as JSON and names its faults."""
    assert orjson.loads(orjson.dumps(to_json(_FLAT)))["faults"] == []


def test_an_unknown_target_is_refused() -> None:
    """A gateway that is not there is named before anything starts."""
    with pytest.raises(ValueError, match="no such gateway"):
        run(SoakOptions(target="nothing"))
