"""The index's lines come back as they were written, and only what may go goes."""

from __future__ import annotations

from policies.versions import MOST_KEPT, Event, bounded, names, read_events, times

DIGEST = "0" * 64


def test_lines_come_back() -> None:
    """A line is read as what it was written from; a name of odd letters stays in one line."""
    events = [Event("a1", 12.5, DIGEST, 7), Event("a1", name="caf\u00e9 \u2028"), Event("a1", name="")]
    data = b"".join(event.line() for event in events)
    assert data.count(b"\n") == 3
    assert read_events(data) == events


def test_names_need_a_version() -> None:
    """A name of a version that is not kept is no name."""
    assert names([Event("gone", name="x"), Event("a", 1.0, DIGEST, 1), Event("a", name="y")]) == {"a": "y"}


def test_what_is_kept() -> None:
    """Of a named version that is old the last time stays; what is new stays once, in order."""
    old = [Event("named", 1.0, DIGEST, 1), Event("named", 2.0, DIGEST, 1), Event("other", 3.0, DIGEST, 1)]
    new = [Event(f"v{i}", float(i), DIGEST, 1) for i in range(MOST_KEPT)]
    kept = bounded([*old, Event("named", name="n"), *new])
    assert times(kept) == [old[1], *new]
    assert names(kept) == {"named": "n"}
    assert bounded(kept) == kept
