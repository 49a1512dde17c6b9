"""Tests of gateway.admin.page: a page that says what is where."""

from __future__ import annotations

from gateway.admin.page import PLACES, page


def test_every_place_is_named() -> None:
    """Each place is on the page; those that a browser can open as they are, are links."""
    html = page()
    for path, what, _ in PLACES:
        assert path in html
        assert what in html
        assert (f'href="{path}"' in html) == (path.startswith("/") and "{" not in path)
