"""Tests of what a start's figures say."""

from __future__ import annotations

import orjson
import pytest

from benchmarks.start import Start, StartOptions, StartReport, run, to_json


def test_means_and_targets() -> None:
    """Starts in time and of light weight miss nothing; late or heavy ones say so."""
    good = StartReport([Start(1.0, 0.2, 80.0, 120.0), Start(1.2, 0.2, 90.0, 130.0)])
    assert good.means["answer_s"].value == pytest.approx(1.1)
    assert good.missed == []
    assert len(StartReport([Start(1.9, 0.2, 180.0, 220.0)] * 2).missed) == 2
    assert orjson.loads(orjson.dumps(to_json(good)))["missed"] == []


def test_an_unknown_target_is_refused() -> None:
    """A gateway that is not there is named before anything starts."""
    with pytest.raises(ValueError, match="no such gateway"):
        run(StartOptions(target="nothing"))
