"""The seven tasks, each with an easy and a hard half: questions, reference answers and the check of an answer.

Laws of this module:

* A question of the `held_out` split shares no phrasing with one of the `train` split, and no operands either:
  operands go to one side by a hash. Facts (capitals, how many minutes an hour has) are the exception, since they
  can only be known by heart; there the phrasing alone is new.
* `Question.right` reads only the answer's content: the expected words in order, or the last number.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from training.facts import LESS_KNOWN_CAPITALS, UNITS, WELL_KNOWN_CAPITALS, Unit
from training.tokenizer import Message
from training.words import FIRST_NAMES, NOUNS, PLACES, filler, invented_name, thing

Split = Literal["train", "held_out"]
Half = Literal["easy", "hard"]
Check = Literal["words", "list", "number"]


@dataclass(frozen=True)
class Question:
    """One question with its reference answer.

    `key` is what an answer must say; `decoys` is what it must not; `operands` is what was split by hash;
    `turns` are the messages, the last one from the user.
    """

    task: str
    half: Half
    turns: tuple[Message, ...]
    answer: str
    check: Check
    key: tuple[str, ...]
    operands: str = ""
    phrasing: str = ""
    decoys: tuple[str, ...] = ()

    def right(self, answer: str) -> bool:
        """Whether an answer says what it must."""
        if self.check == "number":
            return re.findall(r"\d+", answer)[-1:] == list(self.key)
        if self.check == "list":
            return tuple(re.findall(r"\w+", answer.rpartition(":")[2])) == self.key
        if any(said(decoy, answer) for decoy in self.decoys):
            return False
        spots = [answer.lower().find(word.lower()) for word in self.key]
        return -1 not in spots and spots == sorted(spots) and all(said(word, answer) for word in self.key)


def said(words: str, answer: str) -> bool:
    """Whether the answer holds these words as whole words."""
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", answer, re.IGNORECASE) is not None


def is_held_out(operands: str) -> bool:
    """A fifth of all operands is never trained on."""
    return zlib.crc32(operands.encode()) % 5 == 0


def draw(split: Split, make: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """Operands of one side of the split."""
    while True:
        operands = make()
        if is_held_out(" ".join(operands)) == (split == "held_out"):
            return operands


@dataclass(frozen=True)
class Phrasings:
    """Ways to ask the same thing; the held-out ones are never trained on."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]

    def pick(self, random: Random, split: Split) -> str:
        return random.choice(self.train if split == "train" else self.held_out)


OPENINGS = ("", "", "", "", "please ", "hey, ", "hello, ", "quick question: ", "tell me, ", "now ", "ok, ", "so ")
ENDINGS = ("?", "?", "", "", ".", " please", ", please", " thanks", "!")


def dress(random: Random, core: str) -> str:
    """The question as someone might type it: with or without courtesies, capitals and a question mark."""
    text = random.choice(OPENINGS) + core + random.choice(ENDINGS)
    roll = random.random()
    if roll < 0.5:
        return text[0].upper() + text[1:]
    return text


def user(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


# Greetings: easy, answer in kind; hard, greet several people by name.

GREETING_ANSWERS = {
    "hello": ("Hello! How can I help?", "Hello"),
    "good morning": ("Good morning! How can I help?", "Good morning"),
    "good evening": ("Good evening! How can I help?", "Good evening"),
    "good afternoon": ("Good afternoon! How can I help?", "Good afternoon"),
    "goodbye": ("Goodbye!", "Goodbye"),
    "thank you": ("You are welcome!", "You are welcome"),
}
GREETING_WORDS = {
    "hello": ("hi", "hello", "hey", "hello hello", "hi hi", "greetings", "hiya", "howdy"),
    "good morning": ("good morning", "morning"),
    "good evening": ("good evening", "evening"),
    "good afternoon": ("good afternoon", "afternoon"),
    "goodbye": ("bye", "goodbye", "bye bye", "see you"),
    "thank you": ("thanks", "thank you", "many thanks", "thank you so much"),
}
GREETING_TAILS = Phrasings(
    ("", " there", " bot", " friend", " my friend", " again", " sluice", " to you", " everyone", " all", " dear",
     ", assistant", " model", " computer", " machine", " from me", " from all of us", " pal", " buddy"),
    (" dear friend", " there friend", ", my dear bot", " there, assistant", " again my friend", " to you all"),
)  # fmt: skip
INTRODUCTIONS = Phrasings(
    (
        "{greeting}, I am {a} and this is {b}",
        "{greeting}, my name is {a} and here is {b}",
        "{greeting}! we are {a} and {b}",
        "{greeting}, this is {a} with {b}",
        "{greeting} from {a} and {b}",
        "{greeting}, {a} here, and {b} is with me",
        "please greet {a} and {b}, {greeting}",
        "{greeting}, please say hello to {a} and {b}",
    ),
    (
        "{greeting}, I am {a} and here with me is {b}",
        "{greeting}! my name is {a} and this is {b}",
        "{greeting}, we are {a} and {b}, say hello",
    ),
)


def easy_greeting(random: Random, split: Split) -> Question:
    kind = random.choice(tuple(GREETING_WORDS))
    phrasing = random.choice(GREETING_WORDS[kind]) + GREETING_TAILS.pick(random, split)
    text = random.choice((phrasing, phrasing.capitalize())) + random.choice(("", "", "!", "."))
    answer, key = GREETING_ANSWERS[kind]
    return Question("greetings", "easy", user(text), answer, "words", (key,), phrasing=phrasing)


def hard_greeting(random: Random, split: Split) -> Question:
    names = draw(split, lambda: tuple(invented_name(random) for _ in range(random.choice((2, 3)))))
    greeting = random.choice(("hello", "good morning", "good evening", "good afternoon"))
    phrasing = INTRODUCTIONS.pick(random, split)
    others = " and ".join(names[1:])
    text = phrasing.format(greeting=greeting, a=names[0], b=others) + random.choice(("", ".", "!"))
    text = random.choice((text, text[0].upper() + text[1:]))
    joined = f"{', '.join(names[:-1])} and {names[-1]}"
    answer = f"{greeting.capitalize()}, {joined}!"
    operands = " ".join(names)
    return Question("greetings", "hard", user(text), answer, "words", (greeting, *names), operands, phrasing)


# Capitals: easy, of a well-known country; hard, of a less known one, or the country of a capital.

CAPITAL_OF = Phrasings(
    (
        "what is the capital of {x}",
        "what's the capital of {x}",
        "the capital of {x}",
        "capital of {x}",
        "name the capital of {x}",
        "which city is the capital of {x}",
        "tell me the capital of {x}",
        "do you know the capital of {x}",
        "what is the capital city of {x}",
        "what is {x}'s capital",
        "give me the name of the capital of {x}",
        "I would like to know the capital of {x}",
        "{x} has which capital",
        "what city is the capital of {x}",
    ),
    (
        "can you name the capital city of {x}",
        "which city is the capital city of {x}",
        "tell me {x}'s capital",
        "what would be the capital of {x}",
        "I want to know what the capital of {x} is",
    ),
)
COUNTRY_OF = Phrasings(
    (
        "{x} is the capital of which country",
        "which country has the capital {x}",
        "what country has {x} as its capital",
        "name the country whose capital is {x}",
        "of which country is {x} the capital",
        "{x} is the capital of what country",
        "tell me which country {x} is the capital of",
    ),
    (
        "which country has {x} as its capital",
        "tell me the country whose capital is {x}",
        "what country is {x} the capital of",
    ),
)


def capital_question(random: Random, split: Split, half: Half, country: str, capital: str) -> Question:
    phrasing = CAPITAL_OF.pick(random, split)
    text = dress(random, phrasing.format(x=country))
    answer = f"The capital of {country} is {capital}."
    return Question("capitals", half, user(text), answer, "words", (capital,), phrasing=phrasing)


def easy_capital(random: Random, split: Split) -> Question:
    return capital_question(random, split, "easy", *random.choice(tuple(WELL_KNOWN_CAPITALS.items())))


def hard_capital(random: Random, split: Split) -> Question:
    country, capital = random.choice(tuple((WELL_KNOWN_CAPITALS | LESS_KNOWN_CAPITALS).items()))
    if country in LESS_KNOWN_CAPITALS and random.random() < 0.5:
        return capital_question(random, split, "hard", country, capital)
    phrasing = COUNTRY_OF.pick(random, split)
    text = dress(random, phrasing.format(x=capital))
    answer = f"{capital} is the capital of {country}."
    return Question("capitals", "hard", user(text), answer, "words", (country.removeprefix("the "),), phrasing=phrasing)


# Units: easy, how many of one make another; hard, how many make several.

HOW_MANY_IN_ONE = Phrasings(
    (
        "how many {small} are in {one}",
        "how many {small} are there in {one}",
        "how many {small} make {one}",
        "how many {small} does {one} have",
        "{one} has how many {small}",
        "the number of {small} in {one}",
        "tell me how many {small} are in {one}",
        "what is the number of {small} in {one}",
        "how many {small} in {one}",
        "do you know how many {small} make {one}",
    ),
    (
        "can you tell me how many {small} there are in {one}",
        "how many {small} go into {one}",
        "tell me the number of {small} in {one}",
        "{one} is how many {small}",
    ),
)
HOW_MANY_IN_SEVERAL = Phrasings(
    (
        "how many {small} are in {n} {large}",
        "how many {small} are there in {n} {large}",
        "convert {n} {large} to {small}",
        "how many {small} make {n} {large}",
        "{n} {large} in {small}",
        "what is {n} {large} in {small}",
        "how many {small} do {n} {large} have",
        "tell me how many {small} are in {n} {large}",
        "{n} {large} is how many {small}",
    ),
    (
        "change {n} {large} to {small}",
        "how many {small} in {n} {large}",
        "{n} {large} make how many {small}",
        "tell me what {n} {large} is in {small}",
    ),
)
MOST_LARGE_UNITS = 20


def easy_unit(random: Random, split: Split) -> Question:
    unit = random.choice(UNITS)
    phrasing = HOW_MANY_IN_ONE.pick(random, split)
    text = dress(random, phrasing.format(small=unit.small, one=unit.one))
    answer = f"There are {unit.count} {unit.small} in {unit.one}."
    return Question("units", "easy", user(text), answer, "number", (str(unit.count),), phrasing=phrasing)


def hard_unit(random: Random, split: Split) -> Question:
    """The product is always trained on with another unit of the same count; the pair of unit and number is not."""
    while True:
        unit, number = random.choice(UNITS), random.randint(2, MOST_LARGE_UNITS)
        if unit_is_held_out(unit, number) == (split == "held_out"):
            break
    phrasing = HOW_MANY_IN_SEVERAL.pick(random, split)
    text = dress(random, phrasing.format(small=unit.small, large=unit.large, n=number))
    total = unit.count * number
    answer = f"{unit.count} {unit.small} in {unit.one}, so {number} x {unit.count} = {total}."
    operands = f"{number} {unit.large} {unit.small}"
    return Question("units", "hard", user(text), answer, "number", (str(total),), operands, phrasing)


def unit_is_held_out(unit: Unit, number: int) -> bool:
    """For each number, one of the units that share a count; none where no other unit has that count."""
    same = [other for other in UNITS if other.count == unit.count]
    return len(same) > 1 and same[zlib.crc32(f"{number} {unit.count}".encode()) % len(same)] is unit


# Arithmetic: easy, a one-digit number added or taken without a carry; hard, two and three digits in columns.

PLUS = Phrasings(
    (
        "what is {a} + {b}",
        "{a} + {b}",
        "{a}+{b}",
        "{a} + {b} =",
        "what is {a} plus {b}",
        "{a} plus {b}",
        "add {a} and {b}",
        "what is the sum of {a} and {b}",
        "calculate {a} + {b}",
        "how much is {a} + {b}",
        "add {b} to {a}",
        "what do you get if you add {a} and {b}",
    ),
    (
        "how much is {a} plus {b}",
        "please calculate {a} plus {b}",
        "give me the sum of {a} and {b}",
        "what is {a}+{b}",
        "tell me what {a} + {b} is",
    ),
)
MINUS = Phrasings(
    (
        "what is {a} - {b}",
        "{a} - {b}",
        "{a}-{b}",
        "{a} - {b} =",
        "what is {a} minus {b}",
        "{a} minus {b}",
        "subtract {b} from {a}",
        "what is the difference between {a} and {b}",
        "calculate {a} - {b}",
        "how much is {a} - {b}",
        "take {b} from {a}",
        "what do you get if you take {b} from {a}",
    ),
    (
        "how much is {a} minus {b}",
        "please calculate {a} minus {b}",
        "give me the difference between {a} and {b}",
        "what is {a}-{b}",
        "tell me what {a} - {b} is",
    ),
)


def easy_arithmetic(random: Random, split: Split) -> Question:
    def make() -> tuple[str, ...]:
        a, b = random.choice((random.randint(0, 9), random.randint(10, 99))), random.randint(0, 9)
        if random.random() < 0.5:
            return (str(a), "+", str(b if a < 10 else random.randint(0, 9 - a % 10)))
        return (str(a), "-", str(random.randint(0, a % 10)))

    a, sign, b = draw(split, make)
    result = str(int(a) + int(b) if sign == "+" else int(a) - int(b))
    return sum_question(random, split, "easy", (a, sign, b), f"{a} {sign} {b} = {result}.", result)


def hard_arithmetic(random: Random, split: Split) -> Question:
    def make() -> tuple[str, ...]:
        low, high = random.choice(((10, 99), (100, 999)))
        a, b = random.randint(low, high), random.randint(10, high)
        return (str(a), "+", str(b)) if random.random() < 0.5 else (str(max(a, b)), "-", str(min(a, b)))

    a, sign, b = draw(split, make)
    steps, result = (add_in_columns if sign == "+" else subtract_in_columns)(int(a), int(b))
    answer = f"{a} {sign} {b}: {', '.join(steps)}, so {result}."
    return sum_question(random, split, "hard", (a, sign, b), answer, str(result))


def sum_question(
    random: Random, split: Split, half: Half, operands: tuple[str, ...], answer: str, result: str
) -> Question:
    a, sign, b = operands
    phrasing = (PLUS if sign == "+" else MINUS).pick(random, split)
    text = dress(random, phrasing.format(a=a, b=b))
    return Question("arithmetic", half, user(text), answer, "number", (result,), " ".join(operands), phrasing)


def columns(a: int, b: int) -> list[tuple[int, int]]:
    """Digit pairs from the last column to the first; a missing digit is 0."""
    width = max(len(str(a)), len(str(b)))
    return list(zip(map(int, f"{a:0{width}}"[::-1]), map(int, f"{b:0{width}}"[::-1]), strict=True))


def add_in_columns(a: int, b: int) -> tuple[list[str], int]:
    """Steps such as `7+5=12` and, with the carry, `4+8+1=13`; and the sum."""
    steps, carry = [], 0
    for x, y in columns(a, b):
        total = x + y + carry
        steps.append(f"{x}+{y}{'+1' if carry else ''}={total}")
        carry = total // 10
    return steps, a + b


def subtract_in_columns(a: int, b: int) -> tuple[list[str], int]:
    """Steps such as `12-5=7` (ten borrowed) and, one lent, `4-3-1=0`; and the difference."""
    steps, lent = [], 0
    for x, y in columns(a, b):
        borrowed = x - y - lent < 0
        upper = x + 10 * borrowed
        steps.append(f"{upper}-{y}{'-1' if lent else ''}={upper - y - lent}")
        lent = int(borrowed)
    return steps, a - b


# Sorting and reversal: easy, three (or four) different items; hard, six to ten.

SORT = Phrasings(
    (
        "sort {x}",
        "sort: {x}",
        "sort these: {x}",
        "sort the list {x}",
        "put these in order: {x}",
        "put {x} in order",
        "arrange in order: {x}",
        "order these items: {x}",
        "sort in ascending order: {x}",
        "can you sort {x}",
        "give me these in order: {x}",
        "sort from small to large: {x}",
    ),
    (
        "sort these items: {x}",
        "can you sort this list: {x}",
        "put these items in order: {x}",
        "arrange these in ascending order: {x}",
        "order this list: {x}",
    ),
)
REVERSE = Phrasings(
    (
        "reverse {x}",
        "reverse: {x}",
        "reverse these: {x}",
        "reverse the list {x}",
        "write these backwards: {x}",
        "write {x} backwards",
        "say this backwards: {x}",
        "give me the reverse of {x}",
        "turn this list around: {x}",
        "can you reverse {x}",
        "list these in reverse order: {x}",
        "what is the reverse of {x}",
    ),
    (
        "reverse this list: {x}",
        "can you write these backwards: {x}",
        "put this list in reverse order: {x}",
        "turn these around: {x}",
        "give me these backwards: {x}",
    ),
)
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
DIGITS = tuple("0123456789")


def easy_sorting(random: Random, split: Split) -> Question:
    return sorting(random, split, "easy", (3,))


def hard_sorting(random: Random, split: Split) -> Question:
    return sorting(random, split, "hard", (6, 7, 8))


def sorting(random: Random, split: Split, half: Half, sizes: Sequence[int]) -> Question:
    pool = random.choice((LETTERS, DIGITS))
    items = draw(split, lambda: tuple(random.sample(pool, random.choice(sizes))))
    return list_question(random, split, ("sorting", half), items, ("Sorted", tuple(sorted(items))), SORT)


def easy_reversal(random: Random, split: Split) -> Question:
    return reversal(random, split, "easy", (3, 4))


def hard_reversal(random: Random, split: Split) -> Question:
    return reversal(random, split, "hard", (7, 8, 9, 10))


def reversal(random: Random, split: Split, half: Half, sizes: Sequence[int]) -> Question:
    pool = random.choice((LETTERS, DIGITS, NOUNS))
    items = draw(split, lambda: tuple(random.sample(pool, random.choice(sizes))))
    return list_question(random, split, ("reversal", half), items, ("Reversed", items[::-1]), REVERSE)


def list_question(
    random: Random,
    split: Split,
    kind: tuple[str, Half],
    items: tuple[str, ...],
    wanted: tuple[str, tuple[str, ...]],
    phrasings: Phrasings,
) -> Question:
    phrasing = phrasings.pick(random, split)
    text = phrasing.format(x=random.choice((" ", " ", ", ")).join(items))
    text = random.choice(("", "", "please ")) + text
    text = random.choice((text, text[0].upper() + text[1:]))
    label, key = wanted
    answer = f"{label}: {' '.join(key)}"
    return Question(*kind, user(text), answer, "list", key, " ".join(items), phrasing)


# Copying: easy, one fact in a short text; hard, six to nine facts, of which others share the subject or the attribute.

ATTRIBUTES = """door code|number locker code|number badge number|number phone number|number room number|number
    ticket number|number order number|number desk number|number age|number score|number weight|number
    cat|name dog|name teacher|name doctor|name boss|name neighbour|name home town|thing team|thing school|name
    street|name project|name brand|thing favourite word|thing present|thing toy|thing prize|thing logo|thing
    symbol|thing lunch|thing costume|thing poster|thing password|thing"""
ATTRIBUTE_KINDS = dict(re.findall(r"([a-z][a-z ]*)\|(\w+)", ATTRIBUTES))
STATEMENTS = (
    "{s}'s {a} is {v}.",
    "{s}'s {a} is {v}.",
    "The {a} of {s} is {v}.",
    "For {s}, the {a} is {v}.",
    "The {a} that belongs to {s} is {v}.",
)
FACT_QUESTIONS = Phrasings(
    (
        "what is {s}'s {a}",
        "what is the {a} of {s}",
        "tell me {s}'s {a}",
        "what's {s}'s {a}",
        "{s}'s {a}",
        "the {a} of {s}",
        "find the {a} of {s}",
        "which {a} belongs to {s}",
        "give me the {a} of {s}",
    ),
    (
        "tell me the {a} of {s}",
        "give me {s}'s {a}",
        "what's the {a} of {s}",
        "find {s}'s {a}",
    ),
)
PASSAGE_FRAMES = Phrasings(
    (
        "{p}\n\n{q}",
        "{p} {q}",
        "Text: {p}\nQuestion: {q}",
        "Read this text: {p}\n{q}",
        "{q}\n\n{p}",
        "Here is a text. {p} Now answer: {q}",
        "Context: {p}\n\n{q}",
        "Answer from the text.\n{p}\nQuestion: {q}",
    ),
    (
        "Read this: {p}\n\nQuestion: {q}",
        "Text: {p}\n\n{q}",
        "Here is the context: {p}\nNow answer: {q}",
    ),
)
HARD_TEXTS = ((2, 3), (3, 2), (3, 3), (2, 4), (4, 2))
"""How many subjects a hard text is about, and how many facts it tells about each."""
NOT_IN_TEXT = "The text does not say."


@dataclass(frozen=True)
class Fact:
    """`subject`'s `attribute` is `value`."""

    subject: str
    attribute: str
    value: str


def subject(random: Random) -> str:
    roll = random.random()
    if roll < 0.4:
        return random.choice(FIRST_NAMES)
    if roll < 0.8:
        return invented_name(random)
    return f"the {thing(random)}" if roll < 0.9 else f"the {random.choice(PLACES)}"


def value(random: Random, split: Split, kind: str) -> str:
    """A number, name or thing from one side of the split."""
    make = {
        "number": lambda: (str(random.randint(10, random.choice((99, 999, 9999, 99999)))),),
        "name": lambda: (invented_name(random),),
        "thing": lambda: (thing(random),),
    }[kind]
    return draw(split, make)[0]


def state(random: Random, fact: Fact) -> str:
    sentence = random.choice(STATEMENTS).format(s=fact.subject, a=fact.attribute, v=fact.value)
    return sentence[0].upper() + sentence[1:]


def passage(random: Random, facts: Sequence[Fact], fillers: int) -> str:
    """The facts in random order, with sentences between them that answer nothing."""
    sentences = [state(random, fact) for fact in facts] + [filler(random) for _ in range(fillers)]
    random.shuffle(sentences)
    return " ".join(sentences)


def facts_about(random: Random, split: Split, subjects: int, attributes: int) -> list[Fact]:
    """Every chosen attribute of every chosen subject; all values differ."""
    people: dict[str, None] = {}
    while len(people) < subjects:
        people[subject(random)] = None
    traits = random.sample(tuple(ATTRIBUTE_KINDS), attributes)
    found: dict[str, Fact] = {}
    for person in people:
        for trait in traits:
            chosen = value(random, split, ATTRIBUTE_KINDS[trait])
            while chosen in found:
                chosen = value(random, split, ATTRIBUTE_KINDS[trait])
            found[chosen] = Fact(person, trait, chosen)
    return list(found.values())


def fact_question(random: Random, split: Split, fact: Fact) -> tuple[str, str]:
    """A question that the fact answers, and its phrasing."""
    phrasing = FACT_QUESTIONS.pick(random, split)
    return dress(random, phrasing.format(s=fact.subject, a=fact.attribute)), phrasing


def copying(random: Random, split: Split, half: Half, facts: list[Fact], fillers: int) -> Question:
    """A question about one of the facts; the text stands in the question or, at times, in the system prompt."""
    fact = random.choice(facts)
    asked, phrasing = fact_question(random, split, fact)
    text = passage(random, facts, fillers)
    if random.random() < 0.15:
        turns: tuple[Message, ...] = (Message("system", text), Message("user", asked))
        frame = "system"
    else:
        frame = PASSAGE_FRAMES.pick(random, split)
        turns = user(frame.format(p=text, q=asked))
    decoys = tuple(other.value for other in facts if other is not fact)
    return Question(
        "copying", half, turns, f"{fact.value}.", "words", (fact.value,), fact.value, f"{frame}|{phrasing}", decoys
    )


def easy_copying(random: Random, split: Split) -> Question:
    return copying(random, split, "easy", facts_about(random, split, 1, 1), random.choice((0, 1, 2)))


def hard_copying(random: Random, split: Split) -> Question:
    subjects, attributes = random.choice(HARD_TEXTS)
    return copying(random, split, "hard", facts_about(random, split, subjects, attributes), random.choice((0, 1, 2, 3)))


Generator = Callable[[Random, Split], Question]

GENERATORS: Mapping[tuple[str, Half], Generator] = {
    ("greetings", "easy"): easy_greeting,
    ("greetings", "hard"): hard_greeting,
    ("capitals", "easy"): easy_capital,
    ("capitals", "hard"): hard_capital,
    ("units", "easy"): easy_unit,
    ("units", "hard"): hard_unit,
    ("arithmetic", "easy"): easy_arithmetic,
    ("arithmetic", "hard"): hard_arithmetic,
    ("sorting", "easy"): easy_sorting,
    ("sorting", "hard"): hard_sorting,
    ("reversal", "easy"): easy_reversal,
    ("reversal", "hard"): hard_reversal,
    ("copying", "easy"): easy_copying,
    ("copying", "hard"): hard_copying,
}
