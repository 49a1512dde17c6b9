"""Tests of gateway.admin.dashboard.pages.calls: the list of calls."""

from __future__ import annotations

from gateway.admin.dashboard.address import view
from gateway.admin.dashboard.pages.calls import calls, filters, said
from tests.gateway.admin.dashboard.made_up import NOW, record
from tests.gateway.admin.dashboard.reading import links, parts, text


def test_how_often_an_upstream_was_asked() -> None:
    """It stands in each row, and stands out where one failed."""
    found = calls(view("/requests", "", NOW), [record(1, attempts=3), record(2)])
    assert "Asked" in text(found)
    badges = [one.children for one in parts(found) if getattr(one, "className", "") == "badge warn"]
    assert badges == ["3"]


def test_the_dearest_go_on() -> None:
    """Of every order the next page is one link away, and that unknown prices are not ranked is told."""
    found = [record(seq) for seq in range(60, 0, -1)]
    at = view("/requests", "?order=dearest", NOW)
    shown = links(calls(at, found))
    assert shown["More calls"] == "/requests?order=dearest&before=11"
    assert shown["show those"] == "/requests?unknown=1"
    assert shown["CSV of the 500 dearest"] == "/export/requests.csv?order=dearest"
    assert "unknown price are not among them" in said(at, found)


def test_what_a_word_is_looked_for_in() -> None:
    """The field says so."""
    form = filters(view("/requests", "", NOW), [])
    assert "Id, model or outcome" in [getattr(one, "label", None) for one in parts(form)]
