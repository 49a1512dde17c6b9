"""What several test folders share: one real gateway with its real engines for all tests that only call it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import REPOSITORY, Gateway, gateway


@pytest.fixture(scope="module", autouse=True)
def calm_collector() -> None:
    """Keep the collector off what earlier tests left: looking at all of it takes longer than some deadlines."""
    gc.freeze()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that serves the tour: the bundled models on the embedded engine, and more under other names."""
    folder: Path = tmp_path_factory.mktemp("served")
    with gateway(folder, REPOSITORY / "policies" / "examples" / "tour.yaml") as running:
        yield running
