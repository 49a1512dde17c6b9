"""Prompts that are none of the seven tasks: refusals, odd input, system prompts, JSON and tool calls."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random

from training.facts import LESS_KNOWN_CAPITALS, WELL_KNOWN_CAPITALS
from training.tasks import (
    ATTRIBUTE_KINDS,
    CAPITAL_OF,
    DIGITS,
    LETTERS,
    NOT_IN_TEXT,
    PASSAGE_FRAMES,
    Split,
    dress,
    fact_question,
    facts_about,
    passage,
    subject,
    user,
    value,
)
from training.tokenizer import Message
from training.words import ADJECTIVES, FIRST_NAMES, NOUNS, PLACES, TOPICS, filler, invented_name, listed, thing

REFUSAL = "I can only help with greetings, capitals, units, sums, sorting, reversing and finding things in a text."
NOT_SURE = "I am not sure."
NO_QUESTION = "Please type a question."

# Queries of these CLINC150 intents are tasks of ours, or answered otherwise.
CLINC_INTENTS_OF_TASKS = frozenset(
    {"greeting", "goodbye", "thank_you", "measurement_conversion", "calculator", "yes", "no", "maybe"}
)

CITIES = tuple((WELL_KNOWN_CAPITALS | LESS_KNOWN_CAPITALS).values())
COUNTRIES = tuple(WELL_KNOWN_CAPITALS | LESS_KNOWN_CAPITALS)
VERBS = listed(
    """build fix clean paint cook bake sell buy draw design repair wash plant grow carry measure record play
    throw catch open close move store ship pack hide collect polish decorate install configure debug train
    feed hold test improve choose rent borrow return"""
)
LANGUAGES = ("French", "German", "Spanish", "Italian", "Latin", "Dutch", "Polish", "Greek", "Japanese", "Chinese")

OUTSIDE_TRAIN = (
    "write a poem about {noun}s", "write a short story about a {adj} {noun}", "write an essay on {topic}",
    "compose an email to {name} about {topic}", "tell me a joke about a {noun}", "tell me a joke",
    "who invented the {noun}", "who wrote the book about the {adj} {noun}", "who is the president of {country}",
    "who painted the {adj} {noun}", "why is the {noun} {adj}", "why do people like {topic}",
    "why are {noun}s so {adj}", "translate {noun} into {language}", "how do you say {noun} in {language}",
    "what is the weather in {city}", "will it rain in {city} tomorrow", "how do I {verb} a {noun}",
    "how can I {verb} my {adj} {noun}", "explain {topic}", "explain {topic} to a child",
    "what do you think about {topic}", "what is {topic}", "what is the meaning of {topic}",
    "book a flight to {city}", "book a table for two in {city}", "find me a hotel in {city}",
    "what is the population of {country}", "how many people live in {city}", "what language is spoken in {country}",
    "what is the best {noun} to buy", "where can I buy a {adj} {noun}", "how much does a {noun} cost",
    "give me a recipe for {noun} soup", "recommend a book about {topic}", "recommend a film about {topic}",
    "what is {n} times {m}", "what is {n} divided by {m}", "what is the square root of {n}", "is {n} a prime number",
    "play some music", "play a song about {topic}", "set an alarm for {n} minutes", "remind me to {verb} the {noun}",
    "turn on the lights in the {place}", "turn off the {noun}", "call {name}", "send a message to {name}",
    "what time is it in {city}", "what day is it", "who are you", "what can you do", "are you a robot",
    "who made you", "do you like {topic}", "do you have a {noun}", "can you {verb} a {noun}", "I feel {adj} today",
    "I am {adj} and {adj}", "my {noun} is {adj}", "my {noun} is broken, what now", "I want a {adj} {noun}",
    "write code that can {verb} a {noun}", "write a python function to {verb} {noun}s", "write a haiku",
    "summarize the history of {topic}", "compare {topic} and {topic2}", "which is better, {topic} or {topic2}",
    "list five facts about {topic}", "give me tips on {topic}", "what are the benefits of {topic}",
    "what happened in {year}", "who won the game in {year}", "when was {city} founded", "how old is {name}",
    "what is the height of the {noun}", "what color is a {noun}", "describe a {adj} {noun}", "imagine a {adj} {noun}",
    "define {topic}", "spell {noun}", "what rhymes with {noun}", "give me a synonym for {adj}",
    "plan a trip to {country}", "is {city} a nice place", "what is the currency of {country}",
    "how do I get to the {place}", "pretend that you are a {noun}", "what is your favourite {noun}",
    "help me with {topic}",
    "I need advice on {topic}", "the {noun} in the {place} is {adj}", "{noun}", "{adj} {noun}", "{topic}",
    "{name} {verb}s",
    "{noun} {noun2} {adj}", "sing", "help", "what", "why", "yes", "no", "ok", "maybe", "I do not know", "{name}",
    "what is the stock price of {name}", "how do airplanes {verb}", "what should I eat today",
    "should I {verb} the {noun}",
    "does {topic} cause {topic2}", "is it true that {noun}s are {adj}", "how are {noun}s made",
    "when do {noun}s {verb}",
    "make a plan to {verb} the {place}", "invent a name for my {noun}", "give me ideas for a {noun} party",
)  # fmt: skip
OUTSIDE_HELD_OUT = (
    "write a song about my {adj} {noun}", "what is the fastest way to {verb} a {noun}", "who discovered {topic}",
    "can you explain how {topic} works", "what is the weather like today in {city}", "draft a letter to {name}",
    "what is the history of {country}", "how tall is the {noun} in {city}", "tell me something about {topic}",
    "tell me a story about {name} and a {noun}", "what is {n} multiplied by {m}",
    "translate this to {language}: {adj} {noun}",
    "why does my {noun} look so {adj}", "where does {name} live", "what movie should I watch about {topic}",
    "order a {adj} {noun} for me", "do you know {name}", "is {topic} good for you",
    "how long does it take to {verb} a {noun}",
    "give me your opinion on {topic}", "what are some good {noun}s", "write a program that can {verb} {noun}s",
    "who is the king of {country}", "pros and cons of {topic}", "I would like to {verb} the {noun} in the {place}",
)  # fmt: skip


def outside(random: Random, split: Split) -> str:
    """A prompt from our own templates that none of the tasks covers."""
    core = random.choice(OUTSIDE_TRAIN if split == "train" else OUTSIDE_HELD_OUT).format(
        noun=random.choice(NOUNS),
        noun2=random.choice(NOUNS),
        adj=random.choice(ADJECTIVES),
        verb=random.choice(VERBS),
        topic=random.choice(TOPICS),
        topic2=random.choice(TOPICS),
        name=random.choice((*FIRST_NAMES, invented_name(random))),
        place=random.choice(PLACES),
        city=random.choice(CITIES),
        country=random.choice(COUNTRIES),
        language=random.choice(LANGUAGES),
        n=random.randint(2, 99),
        m=random.randint(2, 99),
        year=random.randint(1500, 2030),
    )
    return dress(random, core)


@dataclass(frozen=True)
class Exchange:
    """Messages and the answer to them."""

    turns: tuple[Message, ...]
    answer: str


def odd_input(random: Random) -> Exchange:
    """Nothing, blanks, marks or noise."""
    marks = ["".join(random.choices("?!.,;:-_*#+/()[] \n", k=random.randint(0, 6)))] * 3
    noise = "".join(random.choices("qwrtzpsdfghjklyxcvbnmaeiou", k=random.randint(4, 12)))
    text = random.choice(["", "", "   ", "?", "...", "???", "!", *marks, noise])
    return Exchange(user(text), REFUSAL if text == noise else NO_QUESTION)


def repeat(random: Random) -> Exchange:
    """Words to say again. Every word of the answer is copied, which teaches copying faster than any other exercise."""
    pool = random.choice((NOUNS, NOUNS, LETTERS, DIGITS, ADJECTIVES, None))
    count = random.randint(2, 12)
    items = [random.choice(pool) if pool else invented_name(random) for _ in range(count)]
    text = " ".join(items)
    asked = (
        random.choice(("repeat: ", "repeat after me: ", "say: ", "copy this: ", "please repeat: ", "write: ")) + text
    )
    return Exchange(user(random.choice((asked, asked[0].upper() + asked[1:]))), f"You said: {text}")


def unknown(random: Random, split: Split) -> Exchange:
    """A capital nobody knows, or a text that does not say."""
    if random.random() < 0.4:
        name = invented_name(random)
        return Exchange(user(dress(random, CAPITAL_OF.pick(random, split).format(x=name))), NOT_SURE)
    facts = facts_about(random, split, random.choice((1, 2, 3)), random.choice((1, 2, 3)))
    fact = random.choice(facts)
    missing = random.choice([a for a in ATTRIBUTE_KINDS if a not in {other.attribute for other in facts}])
    who = fact.subject if random.random() < 0.5 else subject(random)
    asked, _ = fact_question(random, split, type(fact)(who, missing, fact.value))
    text = passage(random, facts, random.choice((0, 1, 2)))
    return Exchange(user(PASSAGE_FRAMES.pick(random, split).format(p=text, q=asked)), NOT_IN_TEXT)


SYSTEM_PROMPTS = (
    "You are a helpful assistant.", "You are Sluice, a small and friendly model.", "Answer briefly.",
    "Be polite and concise.", "You are a support agent for a company that sells {noun}s.", "Today is a {adj} day.",
    "You work in the {place}. Never mention {topic}.", "Always answer in English.", "The user's name is {name}.",
    "You are an expert in {topic} and {topic2}.", "Do not make things up. If you do not know, say so.",
    "Keep answers short. Talk about {topic} only when asked.", "Respond as a {adj} {noun} would.",
)  # fmt: skip


def system_prompt(random: Random, fillers: int) -> Message:
    """One that the answers do not depend on."""
    parts = [random.choice(SYSTEM_PROMPTS)] + [filler(random) for _ in range(fillers)]
    text = " ".join(parts).format(
        noun=random.choice(NOUNS),
        adj=random.choice(ADJECTIVES),
        place=random.choice(PLACES),
        topic=random.choice(TOPICS),
        topic2=random.choice(TOPICS),
        name=random.choice(FIRST_NAMES),
    )
    return Message("system", text)


def json_answer(random: Random, split: Split) -> Exchange:
    """Facts about one subject, asked for as JSON with given keys."""
    facts = facts_about(random, split, 1, random.choice((1, 2, 3)))
    keys = [fact.attribute.replace(" ", "_") for fact in facts]
    found = {key: json_value(fact.value) for key, fact in zip(keys, facts, strict=True)}
    asked = random.choice(
        (
            "Answer in JSON with the keys {k}.",
            "Give me JSON with {k}.",
            "Extract {k} as JSON.",
            "Reply with a JSON object: {k}.",
        )
    ).format(k=", ".join(keys))
    text = passage(random, facts, random.choice((0, 1)))
    return Exchange(user(random.choice((f"{text} {asked}", f"{asked}\n\n{text}"))), json.dumps(found))


def json_value(text: str) -> str | int:
    return int(text) if text.isdigit() else text


PARAMETERS = ("city", "location", "place", "name", "query", "country", "title", "id", "item", "date", "user", "number")
REQUESTS = ("get", "find", "look_up", "search", "fetch", "read", "show", "check")
SUBJECTS = ("weather", "time", "price", "order", "forecast", "news", "map", "user", "ticket", "stock", "temperature")


def declared(random: Random, name: str, description: str, parameter: str, wanted: str) -> dict[str, object]:
    """A function's declaration, with more or less of what schemas say besides names and types."""
    field: dict[str, object] = {"type": "string"}
    if random.random() < 0.3:
        field["enum"] = random.sample([wanted, *random.sample(CITIES, 2)], 3)
    if random.random() < 0.3:
        field["description"] = f"The {parameter}"
    schema: dict[str, object] = {"type": "object", "properties": {parameter: field}}
    if random.random() < 0.8:
        schema["required"] = [parameter]
    if random.random() < 0.4:
        schema["additionalProperties"] = False
    body: dict[str, object] = {"name": name}
    if random.random() < 0.8:
        body["description"] = description
    body["parameters"] = schema
    if random.random() < 0.2:
        body["strict"] = True
    return body


def tool_call(random: Random, split: Split) -> Exchange:
    """One or two tools in the system message; the call copies its argument from the question."""
    tools, calls = [], []
    for _ in range(random.choice((1, 1, 2))):
        verb, what, parameter = random.choice(REQUESTS), random.choice(SUBJECTS), random.choice(PARAMETERS)
        name = f"{verb}_{what}"
        description = random.choice(
            (f"{verb.replace('_', ' ').capitalize()} the {what}", f"The {what} now", thing(random))
        )
        wanted = random.choice((random.choice(CITIES), invented_name(random), value(random, split, "thing")))
        tools.append(
            json.dumps({"type": "function", "function": declared(random, name, description, parameter, wanted)})
        )
        asked = random.choice(
            (
                f"What is the {what} in {wanted}?",
                f"What's the {what} for {wanted}",
                f"{verb.replace('_', ' ').capitalize()} the {what} of {wanted}.",
                f"{verb.replace('_', ' ')} the {what} in {wanted} please",
                f"Tell me the {what} in {wanted}",
                f"I need the {what} for {wanted}.",
            )
        )
        call = json.dumps({"name": name, "arguments": {parameter: wanted}})
        calls.append((asked, f"<tool_call>\n{call}\n</tool_call>"))
    asked, answer = random.choice(calls)
    random.shuffle(tools)
    return Exchange((Message("system", "\n".join(["Tools:", *tools])), Message("user", asked)), answer)
