"""How workers tell each other what is under way."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.loads import Loads
from gateway.money.machine import Meter
from gateway.state import State


def test_workers_hear_each_other(tmp_path: Path) -> None:
    """A call is charged half a second of each second in which another worker's call shares the machine."""
    one, two = Meter(0.0), Meter(0.0)
    first, second = (Loads(State(tmp_path), number, lambda: 1000.0) for number in (0, 1))
    begun, other = one.begin(0.0), two.begin(0.0)
    for loads, meter in ((first, one), (second, two), (first, one)):
        loads.exchange({"gpu": meter}, 0.0)
    assert one.end(begun, 4.0) == pytest.approx(2.0)
    assert two.end(other, 4.0) == pytest.approx(2.0)


@pytest.mark.parametrize(
    "left", [b'{"at": 990, "calls": {"gpu": 9}}', b"not JSON", b'{"at": 1000, "calls": {"gpu": []}}']
)
def test_what_is_not_heard(left: bytes, tmp_path: Path) -> None:
    """A worker that is gone, and a file that is none of ours, count for nothing."""
    (tmp_path / "load-7.json").write_bytes(left)
    meter = Meter(0.0)
    meter.begin(0.0)
    Loads(State(tmp_path), 0, lambda: 1000.0).exchange({"gpu": meter}, 0.0)
    assert meter.under_way == 1
