"""The tasks keep training and evaluation apart, and judge answers by content."""

from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest

from training.tasks import (
    GENERATORS,
    Half,
    Question,
    Split,
    add_in_columns,
    is_held_out,
    subtract_in_columns,
)

KINDS = list(GENERATORS)


def questions(kind: tuple[str, Half], split: Split, count: int = 300) -> Iterator[Question]:
    random = Random(f"{kind} {split}")
    return (GENERATORS[kind](random, split) for _ in range(count))


@pytest.mark.parametrize("kind", KINDS)
def test_phrasings_of_the_two_splits_do_not_meet(kind: tuple[str, Half]) -> None:
    """No held-out phrasing is ever trained on."""
    trained = {question.phrasing for question in questions(kind, "train", 2000)}
    assert not trained & {question.phrasing for question in questions(kind, "held_out")}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[0] not in ("capitals", "units")])
def test_operands_lie_on_their_own_side_of_the_split(kind: tuple[str, Half]) -> None:
    """Operands that can be computed on are either trained on or held out, never both."""
    if kind == ("greetings", "easy"):
        pytest.skip("an easy greeting has no operands")
    assert not any(is_held_out(question.operands) for question in questions(kind, "train"))
    assert all(is_held_out(question.operands) for question in questions(kind, "held_out"))


def test_a_held_out_conversion_is_never_trained_on() -> None:
    """No pair of unit and number is on both sides."""
    trained = {question.operands for question in questions(("units", "hard"), "train", 4000)}
    assert not trained & {question.operands for question in questions(("units", "hard"), "held_out", 1000)}


@pytest.mark.parametrize("kind", KINDS)
def test_reference_answers_are_right(kind: tuple[str, Half]) -> None:
    """The check accepts the answer that the model learns."""
    assert all(question.right(question.answer) for question in questions(kind, "held_out"))


@pytest.mark.parametrize("kind", KINDS)
def test_anothers_answer_is_wrong(kind: tuple[str, Half]) -> None:
    """The check refuses the answer to a question with another key."""
    found = list(questions(kind, "held_out"))
    pairs = [(one, other) for one, other in pairwise(found) if one.key != other.key]
    assert pairs
    assert not any(one.right(other.answer) for one, other in pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_answer_is_wrong(kind: tuple[str, Half]) -> None:
    """Saying nothing never counts."""
    assert not any(question.right("") for question in questions(kind, "held_out", 20))


def test_listing_every_value_of_a_text_is_wrong() -> None:
    """An answer that also names a distractor does not count."""
    question = next(questions(("copying", "hard"), "held_out"))
    assert not question.right(" ".join((question.answer, *question.decoys)))


def test_the_halves_differ_in_size() -> None:
    """A hard list or text is longer than any easy one."""
    for task in ("sorting", "reversal"):
        longest = max(len(question.key) for question in questions((task, "easy"), "held_out"))
        assert longest < min(len(question.key) for question in questions((task, "hard"), "held_out"))
    assert all(not question.decoys for question in questions(("copying", "easy"), "held_out"))
    assert all(len(question.decoys) >= 5 for question in questions(("copying", "hard"), "held_out"))


def test_sums_are_worked_in_columns() -> None:
    """The steps carry and borrow as on paper."""
    assert add_in_columns(247, 85) == (["7+5=12", "4+8+1=13", "2+0+1=3"], 332)
    assert subtract_in_columns(412, 85) == (["12-5=7", "11-8-1=2", "4-0-1=3"], 327)
