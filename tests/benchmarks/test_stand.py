"""Tests of what stands while a benchmark runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import processes
from benchmarks.bodies import completion
from benchmarks.stand import DidNotStart, Running, Stand, WrongAnswer, usual_cores
from benchmarks.targets import Gateway, Launch, Site


def test_the_upstream_answers_rightly_and_ends_with_the_stand() -> None:
    """Inside `with` plain and streamed calls are checked whole; after it the process is gone."""
    with Stand(usual_cores()) as stand:
        direct = stand.direct()
        assert stand.ask(direct, "plain", "1.7k") == len(completion())
        assert stand.ask(direct, "burst", "100k") == 67
        with pytest.raises(WrongAnswer, match="status 500"):
            stand.ask(direct, "error", "1.7k")
        with pytest.raises(WrongAnswer, match="no JSON"):
            stand.ask(direct, "garbage", "1.7k")
        pid, folder = stand.upstream.pid, stand.folder
    assert processes.command(pid) == ""
    assert not folder.exists()


def test_a_gateway_that_ends_at_once_says_why() -> None:
    """What it printed is in the error, and the stand still closes."""

    def broken(_program: Path, _site: Site) -> Launch:
        return Launch([sys.executable, "-c", "raise SystemExit('no such option')"])

    gateway = Gateway("broken", Path(sys.executable), "1", "", broken)
    with Stand(usual_cores()) as stand, pytest.raises(DidNotStart, match="no such option"):
        stand.start(gateway)


def test_the_direct_call_has_no_processes() -> None:
    """There is nothing to weigh but the upstream, which is not the target."""
    assert Running("direct", 1, None).pids() == []
