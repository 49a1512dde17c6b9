"""Invented cache entries, alike in every run: answers as long, and as dear to make anew, as those of real traffic.

Lengths in tokens are drawn from two log-normal laws fitted to Azure's published trace of conversations of 2023 (19,366
calls; half have more than 1,020 prompt tokens and 129 of answer), or from that trace itself.
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import orjson

from caching.entry import Entry
from caching.forms import Answer

NOW = 1_000_000_000.0  # when all entries were made, and the clock of all that keep them
LIFE_S = 86_400.0
TRACE = "AzureLLMInferenceTrace_conv.csv"

_PROMPT = (math.log(1_020), 0.99)
_ANSWER = (math.log(129), 0.86)
_LONGEST = 4_000
# A small, a middling and a large model: seconds of an upstream for a token of the prompt and one of the answer.
_MODELS = ((0.000_05, 0.003), (0.000_2, 0.012), (0.000_8, 0.05))
_TEXT = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz ", k=5 * _LONGEST))


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of prompt and answer of calls that were really made; without any, the laws fitted to them."""

    seen: Sequence[tuple[int, int]] = ()

    @classmethod
    def read(cls, folder: Path) -> Lengths:
        """Read Azure's trace of conversations, in this folder or one below. Raises FileNotFoundError and ValueError."""
        path = next(iter(sorted(folder.rglob(TRACE))), None)
        if path is None:
            raise FileNotFoundError(f"no {TRACE} in {folder}")
        with path.open(newline="") as file:
            rows = csv.DictReader(file)
            try:
                return cls([(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in rows])
            except KeyError as error:
                raise ValueError(f"{path} has no column {error}") from error

    def draw(self, rng: random.Random) -> tuple[int, int]:
        """Draw the lengths of one call."""
        if self.seen:
            return rng.choice(self.seen)
        prompt, answer = (min(_LONGEST, 1 + int(rng.lognormvariate(*law))) for law in (_PROMPT, _ANSWER))
        return prompt, answer


def key(number: int) -> bytes:
    """Give the key of entry `number`; like real ones it looks like noise."""
    return blake2b(number.to_bytes(8, "little"), digest_size=32).digest()


def entries(numbers: Sequence[int], lengths: Lengths, seed: int = 0) -> Iterator[Entry]:
    """Invent entries; equal numbers in equal order and equal seeds give equal entries."""
    rng = random.Random(seed)
    for number in numbers:
        prompt, answer = lengths.draw(rng)
        a_prompt, an_answer = rng.choice(_MODELS)
        yield _entry(number, min(answer, _LONGEST), a_prompt * prompt + an_answer * answer)


def _entry(number: int, tokens: int, seconds: float) -> Entry:
    start = number % 7 * tokens % 1_000
    message = {"role": "assistant", "content": _TEXT[start : start + 4 * tokens]}
    document = {
        "id": f"chatcmpl-{number:012d}",
        "object": "chat.completion",
        "created": int(NOW),
        "model": "static",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1},
    }
    name = key(number)
    return Entry(
        key=name,
        check=name[:16],
        tenant="bench",
        namespace="",
        tags=(),
        model="static",
        upstream="static",
        created=NOW,
        expires=NOW + LIFE_S,
        dies=NOW + LIFE_S,
        seconds=seconds,
        tokens=tokens,
        parts=(),
        # Copied, because orjson's own bytes hold some eight times their length, and those of a network do not.
        answer=Answer.of_plain(bytes(bytearray(orjson.dumps(document)))),
    )
