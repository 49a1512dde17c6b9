"""The shipped models meet their targets on a short run through the real engine."""

import subprocess
import sys
from pathlib import Path

import pytest

from training.evaluate import wilson

ROOT = Path(__file__).resolve().parents[2]


def test_wilson_interval() -> None:
    """The interval of 90 of 100 is the published one."""
    assert wilson(90, 100) == pytest.approx((0.826, 0.945), abs=0.001)


def test_the_shipped_models_meet_their_targets() -> None:
    """`evaluate --quick` ends with 0 in less than a minute."""
    done = subprocess.run(
        [sys.executable, "-m", "training.evaluate", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
