"""Selections and the cutoffs that purges leave behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching.stores import Cutoffs, Selection
from tests.fakes.stores import START, entry

SOME = st.sampled_from(["acme", "umbrella", None])
SELECTIONS = st.builds(Selection, tenant=SOME, namespace=SOME, tag=SOME, older_than=st.sampled_from([None, 0.0, 30.0]))


@given(st.lists(SELECTIONS, max_size=5), st.sampled_from(["acme", "umbrella"]), st.sampled_from(["acme", "b"]), SOME)
def test_cutoffs_agree_with_selections(
    selections: list[Selection], tenant: str, namespace: str, tag: str | None
) -> None:
    """An entry is refused exactly if one of the purges would have removed it, had it been there."""
    cutoffs = Cutoffs()
    for age, selection in enumerate(selections):
        cutoffs.add(selection, START + age)
    for created in (START - 40, START - 28, START, START + 2, START + 10):
        made = entry(tenant=tenant, namespace=namespace, tags=(tag,) if tag else (), created=created)
        expected = any(
            selection.fits(made, START + age) and created <= START + age for age, selection in enumerate(selections)
        )
        assert cutoffs.refuse(made) == expected


def test_forgets() -> None:
    """Cutoffs that nothing alive can be older than are dropped."""
    cutoffs = Cutoffs()
    cutoffs.add(Selection(tenant="acme"), START)
    cutoffs.add(Selection(tag="x"), START + 100)
    cutoffs.forget(START + 50)
    assert len(cutoffs) == 1
    assert not cutoffs.refuse(entry())
    assert cutoffs.refuse(entry(tags=("x",)))
    cutoffs.forget(START + 500)
    assert cutoffs.latest < 0


def test_forgets_half() -> None:
    """Of too many cutoffs the later half stays."""
    cutoffs = Cutoffs()
    for number in range(10):
        cutoffs.add(Selection(tenant=str(number)), START + number)
    cutoffs.forget_half()
    assert len(cutoffs) == 5
    assert cutoffs.refuse(entry(tenant="9"))
    assert not cutoffs.refuse(entry(tenant="4"))


@given(SELECTIONS)
def test_selection_as_json(selection: Selection) -> None:
    """A selection comes back from what JSON can hold of it."""
    assert Selection.of(selection.as_dict()) == selection


@pytest.mark.parametrize("data", [None, [], {"tenant": 1}, {"older_than": "x"}, {"color": "red"}, {"older_than": -1}])
def test_no_selection(data: object) -> None:
    """What is no selection is refused, not taken for everything."""
    with pytest.raises((TypeError, ValueError)):
        Selection.of(data)


@pytest.mark.parametrize("age", [float("nan"), float("inf"), -1.0])
def test_no_age(age: float) -> None:
    """An age that compares with nothing is refused: it would select all or nothing by accident."""
    with pytest.raises(ValueError, match="seconds"):
        Selection(older_than=age)
