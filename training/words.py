"""The words that passages, names and out-of-task prompts are built from."""

from __future__ import annotations

from random import Random


def listed(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


NOUNS = listed(
    """apple arrow bag ball band bank basket beach bear bed bell bench bike bird blanket boat bone book boot
    bottle bowl box bread brick bridge brush bucket bus button cabin cake camel camera candle card carpet
    carrot castle cat chain chair cheese chest circle clock cloud coat coin comb cookie cork cow crane crown
    cup curtain desk dish dog doll door dragon dress drum duck eagle egg engine envelope fan feather fence
    field fish flag flower flute fork fox frame frog garden gate ghost gift glass glove goat gold grape guitar
    hammer harp hat hawk hill honey horn horse house iron island jacket jar jewel kettle key kite knife ladder
    lake lamp leaf lemon letter lion lock magnet map marble mask medal melon milk mirror moon mouse mug nail
    needle nest net nut oak ocean onion orange oven owl paint pan paper parrot pear pen pencil piano picture
    pillow pipe plane plant plate plum pocket potato prize puzzle rabbit radio rain ribbon ring river robot
    rocket roof rope rose ruler sail salt sand scarf ship shirt shoe shovel silver snake soap sock soup spade
    spider spoon star stone stool storm stove sugar suit sun sword table tail tent tiger toast tower toy train
    tree truck trumpet tulip turtle umbrella vase violin wagon wall watch whale wheel whistle window wolf wood
    yarn zebra"""
)

ADJECTIVES = listed(
    """red blue green yellow black white brown pink purple grey small big tall short long old new young heavy
    light dark bright soft hard warm cold wet dry clean dirty quiet loud fast slow round flat deep thin thick
    sharp smooth rough plain fancy cheap rare broken empty full hidden wooden golden silent gentle brave happy
    lucky proud lazy"""
)

PLACES = listed(
    """kitchen garage attic cellar office library garden school market station harbour museum theatre hotel
    bakery farm village forest valley airport hospital castle park barn workshop studio stable church bank
    cinema"""
)

FIRST_NAMES = listed(
    """Anna Tom Maria Peter Lucy David Emma John Sara Paul Nina Mark Julia Sam Clara Leo Alice Ben Rosa Max Eva
    Oscar Ida Hugo Vera Felix Nora Adam Lena Ivan Ruth Carl Mia Noah Zoe Omar Lily Jack Ella Amir"""
)

TOPICS = listed(
    """music history football philosophy chemistry physics politics religion economics cooking gardening
    photography fashion biology astronomy literature poetry painting travel medicine psychology geology law
    marketing programming machine-learning chess swimming yoga dancing fishing jazz opera cinema theatre climate
    energy democracy love friendship happiness success money work sleep dreams health sports tennis basketball
    evolution gravity electricity magnetism robots space dinosaurs volcanoes oceans weather taxes insurance
    investing mortgages politics diets vitamins coffee wine tea chocolate pizza pasta sushi"""
)

FILLERS = (
    "It was a quiet day.",
    "Nobody was in a hurry.",
    "The weather was mild.",
    "All of this was written down.",
    "The meeting went well.",
    "There was not much else to do.",
    "Some people had tea.",
    "The train was late again.",
    "Everyone agreed with the plan.",
    "The lights were still on.",
)


ONSETS = listed("b d f g k l m n p r s t v z j h sh ch br tr")


def invented_name(random: Random) -> str:
    """A pronounceable name of two or three syllables, such as `Mirano`; about 200,000 exist."""
    syllables = [random.choice(ONSETS) + random.choice("aeiou") for _ in range(random.choice((2, 2, 3)))]
    return "".join(syllables).capitalize() + random.choice(("", "", "n", "r", "s", "l"))


def thing(random: Random) -> str:
    """An adjective and a noun, such as `red kite`."""
    return f"{random.choice(ADJECTIVES)} {random.choice(NOUNS)}"


def filler(random: Random) -> str:
    """A sentence that answers no question."""
    if random.random() < 0.4:
        return random.choice(FILLERS)
    return random.choice(
        (
            f"There was a {thing(random)} near the {random.choice(PLACES)}.",
            f"Somebody talked about {random.choice(TOPICS)} and {random.choice(TOPICS)}.",
            f"The {random.choice(PLACES)} looked {random.choice(ADJECTIVES)} and {random.choice(ADJECTIVES)}.",
            f"A {thing(random)} is not a {thing(random)}.",
            f"People in the {random.choice(PLACES)} like {random.choice(TOPICS)}.",
            f"We saw a {random.choice(NOUNS)}, a {random.choice(NOUNS)} and a {random.choice(NOUNS)}.",
        )
    )
