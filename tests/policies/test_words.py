"""What may have been meant."""

from __future__ import annotations

from policies.words import suggestion


def test_what_may_have_been_meant() -> None:
    """The nearest name, or else the names that there are, or nothing."""
    assert suggestion("smal", ["small", "large"]) == '; did you mean "small"?'
    assert suggestion("xyz", ["small", "large"]) == "; there are large, small"
    assert suggestion("xyz", map(str, range(1000))).endswith(", ...")
    assert suggestion("xyz", []) == ""
