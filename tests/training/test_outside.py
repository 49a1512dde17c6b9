"""Prompts outside the tasks, and the JSON that the models learn to copy into."""

import json
from random import Random

from training.outside import OUTSIDE_HELD_OUT, OUTSIDE_TRAIN, json_answer, odd_input, outside, tool_call


def test_held_out_prompts_are_not_trained_on() -> None:
    """The two lists of out-of-task templates have nothing in common."""
    assert not set(OUTSIDE_TRAIN) & set(OUTSIDE_HELD_OUT)


def test_prompts_have_no_gaps() -> None:
    """Every template is filled completely."""
    random = Random(1)
    assert not any("{" in outside(random, "train") + outside(random, "held_out") for _ in range(2000))


def test_odd_input_gets_a_sentence() -> None:
    """Even an empty message is answered."""
    random = Random(1)
    assert all(odd_input(random).answer.endswith(".") for _ in range(200))


def test_json_answers_parse() -> None:
    """What is learned as JSON is JSON, and its values stand in the text."""
    random = Random(1)
    for _ in range(200):
        found = json_answer(random, "train")
        assert all(str(value) in found.turns[0].content for value in json.loads(found.answer).values())


def test_tool_calls_name_a_listed_tool() -> None:
    """A learned call uses a tool of the system message and an argument of the question."""
    random = Random(1)
    for _ in range(200):
        found = tool_call(random, "train")
        call = json.loads(found.answer.removeprefix("<tool_call>").removesuffix("</tool_call>"))
        assert f'"name": "{call["name"]}"' in found.turns[0].content
        assert all(value in found.turns[1].content for value in call["arguments"].values())
