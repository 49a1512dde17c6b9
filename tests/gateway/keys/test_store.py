"""The contract of all places, over the fake that other tests rely on."""

from __future__ import annotations

import pytest

from tests.gateway.keys.contract import *  # noqa: F403  # its tests run here with the store below
from tests.gateway.keys.contract import Opening
from tests.gateway.keys.fakes import FakeKeys, Shelf


@pytest.fixture
def opening() -> Opening:
    """One place in memory."""
    shelf = Shelf()
    return lambda: FakeKeys(shelf=shelf)
