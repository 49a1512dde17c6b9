"""What an import says: each thing once, in one line, and in no end of lines."""

from __future__ import annotations

import pytest

from policies.importers.report import MOST_NOTES, Names, Report, literal, number, references


def test_notes_have_a_bound() -> None:
    """The same is noted once, and of too many the rest is not told."""
    report = Report(Names(set()))
    for i in range(2 * MOST_NOTES):
        report.add("a", "b")
        report.add(f"a{i}", "b")
    assert len(report.notes) == MOST_NOTES + 1
    assert str(report.notes[-1]) == "...: and more"


def test_references() -> None:
    """LiteLLM reads a variable only where it is the whole value; so does the import."""
    report = Report(Names(set()))
    assert report.text("os.environ/A_1") == "${A_1}"
    assert report.text("x os.environ/A") == "x os.environ/A"
    assert report.text("os.environ/1A") == "os.environ/1A"
    assert literal("${A}") == "$${A}"
    assert references("a: os.environ/A\nb: [os.environ/B_2]") == {"A", "B_2"}


def test_names_of_ones_own() -> None:
    """A name that is taken gets the first number that is free."""
    names = Names({"a", "a-2"})
    assert [names.unique(stem, "-") for stem in ("a", "a", "b", "b")] == ["a-3", "a-4", "b", "b-2"]


@pytest.mark.parametrize("text", ["", "nan", "inf", "-1", "1e999", "x", "9" * 41, None, [], {}])
def test_numbers_that_are_none(text: str | None) -> None:
    """What is no finite number from 0 on is none."""
    assert number(text) is None
