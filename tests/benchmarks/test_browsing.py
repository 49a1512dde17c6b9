"""Tests of what the readers of the dashboard ask for."""

from __future__ import annotations

from benchmarks.browsing import READERS


def test_readers_ask_for_all_sorts() -> None:
    """There are sums of every range, searches in every order, profiles, and exports of both kinds."""
    asked = " ".join(path for paths in READERS.values() for path in paths)
    for part in ("1h", "24h", "7d", "30d", "dearest", "slowest", "nowhere", "profile", "/export/", "/api/export"):
        assert part in asked
