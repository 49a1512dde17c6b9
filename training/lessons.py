"""What a model reads while it learns: questions and answers, strung into conversations, packed into rows of ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tokenizers import Tokenizer

from training import outside
from training.outside import REFUSAL, Exchange
from training.tasks import GENERATORS, HARD_TEXTS, Half, fact_question, facts_about, passage, user
from training.tokenizer import Message, frame
from training.words import ADJECTIVES, FIRST_NAMES, NOUNS, filler

CONVERSATIONS_TO_CHOOSE_FROM = 12
QUESTIONS_ABOUT_ONE_TEXT = 5

Row = tuple[list[int], list[bool]]
"""Token ids, and which of them the model must produce."""


@dataclass(frozen=True)
class Lessons:
    """The mix: how many hard questions, how often each task, and prompts of others that are no task of ours."""

    hard: float
    task_weights: Mapping[str, float]
    queries: Sequence[str] = ()

    def exchange(self, random: Random) -> Exchange:
        """Seven times in ten a question of the tasks, else something to say again, to refuse or to put in JSON."""
        kinds = (self.question, repeat, self.refused, odd_input, unknown, json_answer, tool_call)
        kind = random.choices(kinds, (69, 12, 9, 1.5, 2.5, 2.5, 3.5))[0]
        return kind(random)

    def question(self, random: Random) -> Exchange:
        half: Half = "hard" if random.random() < self.hard else "easy"
        task = random.choices(tuple(self.task_weights), tuple(self.task_weights.values()))[0]
        found = GENERATORS[task, half](random, "train")
        return Exchange(found.turns, found.answer)

    def refused(self, random: Random) -> Exchange:
        """One prompt that is no task, or several run together with other sentences: long prompts are refused too."""
        parts = [self.foreign(random)]
        if random.random() < 0.3:
            parts += [random.choice((self.foreign, filler))(random) for _ in range(random.randint(1, 6))]
        return Exchange(user(random.choice((" ", ". ", "\n")).join(parts)), REFUSAL)

    def foreign(self, random: Random) -> str:
        known = self.queries and random.random() < 0.5
        return random.choice(self.queries) if known else outside.outside(random, "train")

    def conversation(self, random: Random) -> list[Message]:
        """One to four exchanges; one that brings its own system prompt stands at the start or not at all."""
        messages: list[Message] = []
        for _ in range(random.choice((1, 1, 2, 3, 4))):
            found = self.exchange(random)
            own_system = found.turns[0].role == "system"
            if own_system and messages:
                continue
            if not messages and not own_system and random.random() < 0.25:
                messages.append(outside.system_prompt(random, random.choice((0, 0, 1, 2))))
            messages += [*found.turns, Message("assistant", found.answer)]
        return messages

    def several_questions(self, random: Random) -> list[Message]:
        """A text, then some questions about it: many answers for one reading."""
        sizes = random.choice(HARD_TEXTS) if random.random() < self.hard else (2, 1)
        return about_a_text(random, sizes, random.choice((0, 1, 2, 3)), as_system=random.random() < 0.5)

    def short(self, random: Random) -> list[Message]:
        """A conversation that fits a row."""
        return self.several_questions(random) if random.random() < self.hard / 3 else self.conversation(random)


def repeat(random: Random) -> Exchange:
    return outside.repeat(random)


def odd_input(random: Random) -> Exchange:
    return outside.odd_input(random)


def unknown(random: Random) -> Exchange:
    return outside.unknown(random, "train")


def json_answer(random: Random) -> Exchange:
    return outside.json_answer(random, "train")


def tool_call(random: Random) -> Exchange:
    return outside.tool_call(random, "train")


def about_a_text(random: Random, sizes: tuple[int, int], fillers: int, *, as_system: bool) -> list[Message]:
    """A text of (subjects, facts of each) as a system prompt or a first message, and questions about it."""
    facts = facts_about(random, "train", *sizes)
    text = passage(random, facts, fillers)
    messages = [Message("system", text)]
    if not as_system:
        messages = [Message("user", random.choice((text, f"Read this text: {text}"))), Message("assistant", "Go on.")]
    for fact in random.sample(facts, min(len(facts), QUESTIONS_ABOUT_ONE_TEXT)):
        messages += [Message("user", fact_question(random, "train", fact)[0]), Message("assistant", f"{fact.value}.")]
    return messages


def long_conversation(random: Random, length: int) -> list[Message]:
    """A system prompt of about `length` tokens, and questions about it; a sentence takes about thirteen tokens."""
    return about_a_text(random, (4, 2), length // 13, as_system=True)


def rows(random: Random, tokenizer: Tokenizer, length: int, make: Callable[[Random], list[Message]]) -> Iterator[Row]:
    """Endless rows of `length` ids: whole conversations one after another, at the end the longest that fits."""
    waiting: list[Row] = []
    while True:
        ids: list[int] = []
        wanted: list[bool] = []
        while True:
            while len(waiting) < CONVERSATIONS_TO_CHOOSE_FROM:
                found = frame(tokenizer, make(random))
                if len(found[0]) <= length:
                    waiting.append(found)
            room = length - len(ids)
            fitting = [found for found in waiting if len(found[0]) <= room]
            if not fitting:
                break
            chosen = random.choice(fitting) if room > length // 2 else max(fitting, key=lambda found: len(found[0]))
            waiting.remove(chosen)
            ids += chosen[0]
            wanted += chosen[1]
        yield ids + [0] * room, wanted + [False] * room


def tokenizer_texts(random: Random, lessons: Lessons, count: int = 30_000) -> Iterator[str]:
    """What merges are learned from: conversations, and the words of lists so that each is one token."""
    yield from lessons.queries
    for word in (*NOUNS, *ADJECTIVES, *FIRST_NAMES):
        yield f" {word}, {word}" * 40
    for _ in range(count):
        for message in lessons.conversation(random):
            yield message.content


def read_queries(path: Path | None) -> list[str]:
    """CLINC150's training queries of intents that are none of our tasks; none without the file."""
    if path is None:
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        line["text"]
        for line in lines
        if "train" in line["split"] and line["intent"] not in outside.CLINC_INTENTS_OF_TASKS
    ]
