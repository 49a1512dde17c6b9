"""Measure the committed GGUFs through the real engine on held-out questions, and hold them to their targets."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import httpx
import xllamacpp
from rich.progress import track

from training import outside
from training.tasks import GENERATORS, Question, fact_question, facts_about, passage
from training.tokenizer import Message

WEIGHTS = Path(__file__).resolve().parent.parent / "gateway" / "weights"
MOST_TOKENS = 96
AT_ONCE = 4
CONTEXT = 4096
QUICK = 8


@dataclass(frozen=True)
class Item:
    """One question of the evaluation; `right` judges the answer."""

    row: tuple[str, str]
    turns: tuple[Message, ...]
    right: Callable[[str], bool]


@dataclass(frozen=True)
class Answer:
    """What the engine said, and whether it ended by itself."""

    text: str
    ended: bool


@dataclass(frozen=True)
class Target:
    """A share of right answers that one half must reach (`least`) or stay under (`most`)."""

    rows: str
    least: float = 0.0
    most: float = 1.0


TARGETS = {
    "sluice-tiny": (Target("easy", least=0.90), Target("hard", most=0.50)),
    "sluice-small": (Target("easy", least=0.85), Target("hard", least=0.85)),
}

Chat = Callable[[Sequence[Message]], Answer]


@contextmanager
def engine(path: Path) -> Iterator[Chat]:
    """llama.cpp's server on a free loopback port, answering greedily."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = CONTEXT * AT_ONCE
    params.n_parallel = AT_ONCE
    params.n_gpu_layers = 0
    params.port = 0
    params.verbosity = 0
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    yield partial(ask, server.listening_address)
    del server  # stops it


def ask(address: str, turns: Sequence[Message]) -> Answer:
    """One greedy answer from an OpenAI-compatible server."""
    body = {
        "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
        "temperature": 0,
        "max_tokens": MOST_TOKENS,
    }
    with httpx.Client(timeout=120, trust_env=False) as client:
        response = client.post(f"{address}/v1/chat/completions", json=body)
    choice = response.raise_for_status().json()["choices"][0]
    return Answer(choice["message"]["content"] or "", choice["finish_reason"] == "stop")


def task_items(count: int, seed: int) -> list[Item]:
    """`count` different held-out questions of each task and half."""
    found: list[Item] = []
    for (task, half), make in GENERATORS.items():
        random = Random(f"{seed} {task} {half}")
        questions: dict[tuple[Message, ...], Question] = {}
        for _ in range(20 * count):
            if len(questions) == count:
                break
            question = make(random, "held_out")
            questions[question.turns] = question
        found += [Item((task, half), q.turns, q.right) for q in questions.values()]
    return found


def other_items(count: int, seed: int, prompts: Sequence[str]) -> list[Item]:
    """What is no task: refusals, odd input, unanswerable questions, a text of some 3,000 tokens."""
    random = Random(seed)
    found: list[Item] = []
    for _ in range(count):
        text = outside.outside(random, "held_out")
        found.append(Item(("outside", "templates"), (Message("user", text),), is_refusal))
        odd = outside.odd_input(random)
        found.append(Item(("outside", "odd input"), odd.turns, is_short_sentence))
        unknown = outside.unknown(random, "held_out")
        found.append(Item(("outside", "unknown"), unknown.turns, equals(unknown.answer)))
    found += [Item(("outside", "others' prompts"), (Message("user", text),), is_refusal) for text in prompts[:count]]
    for _ in range(max(2, count // 5)):
        facts = facts_about(random, "held_out", 4, 2)
        asked, _ = fact_question(random, "held_out", facts[0])
        turns = (Message("system", passage(random, facts, 240)), Message("user", asked))
        found.append(Item(("copying", "3,000 tokens"), turns, equals(f"{facts[0].value}.")))
    return found


def is_refusal(answer: str) -> bool:
    return answer in (outside.REFUSAL, outside.NOT_SURE, outside.NO_QUESTION)


def is_short_sentence(answer: str) -> bool:
    return 0 < len(answer) <= 120


def equals(wanted: str) -> Callable[[str], bool]:
    return lambda answer: answer.strip() == wanted


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share."""
    z, share = 1.96, right / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (middle - spread) / (1 + z * z / total), (middle + spread) / (1 + z * z / total)


@dataclass
class Score:
    """Counts of one row of the table."""

    right: int = 0
    ended: int = 0
    total: int = 0

    def line(self, name: str) -> str:
        low, high = wilson(self.right, self.total)
        share = f"{100 * self.right / self.total:6.1f} %  [{100 * low:5.1f}, {100 * high:5.1f}]"
        return f"{name:<28}{share}   {self.right}/{self.total}, ended {self.ended}/{self.total}"


def measure(chat: Chat, items: Sequence[Item], name: str, show_wrong: int) -> dict[tuple[str, str], Score]:
    """Ask everything, a few at a time, and count."""
    scores: dict[tuple[str, str], Score] = {}
    shown: dict[tuple[str, str], int] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = pool.map(lambda item: chat(item.turns), items)
        for item, answer in zip(items, track(answers, name, len(items)), strict=True):
            score = scores.setdefault(item.row, Score())
            right = item.right(answer.text)
            score.right += right
            score.ended += answer.ended
            score.total += 1
            if not right and shown.get(item.row, 0) < show_wrong:
                shown[item.row] = shown.get(item.row, 0) + 1
                print(f"{item.row}: {item.turns[-1].content[-300:]!r} -> {answer.text!r}")
    return scores


def half_score(scores: dict[tuple[str, str], Score], half: str) -> Score:
    """All tasks of one half together."""
    rows = [score for (_, found), score in scores.items() if found == half]
    return Score(sum(r.right for r in rows), sum(r.ended for r in rows), sum(r.total for r in rows))


def report(name: str, scores: dict[tuple[str, str], Score], *, roughly: bool) -> bool:
    """Print the table; true if every target is met, or with `roughly` if the interval does not rule it out."""
    print(f"\n{name}: share right, 95 % interval")
    for (task, half), score in scores.items():
        print(score.line(f"  {task}, {half}"))
    met = True
    for target in TARGETS[name]:
        total = half_score(scores, target.rows)
        low, high = wilson(total.right, total.total) if roughly else (total.right / total.total,) * 2
        reached = high >= target.least and low <= target.most
        met = met and reached
        wanted = f"at least {target.least:.0%}" if target.least else f"at most {target.most:.0%}"
        print(total.line(f"  all tasks, {target.rows}") + f", target {wanted}: {'met' if reached else 'MISSED'}")
    ended = sum(score.ended for score in scores.values())
    print(f"  answers that ended by themselves: {ended}/{sum(score.total for score in scores.values())}", flush=True)
    return met


def read_prompts(paths: Sequence[Path]) -> list[str]:
    """Out-of-task prompts of others, not trained on: CLINC150's test queries of other intents, MT-bench questions."""
    found: list[str] = []
    for path in paths:
        for line in map(json.loads, path.read_text().splitlines()):
            if "turns" in line:
                found.append(line["turns"][0])
            elif line["split"] in ("test", "oos_test") and line["intent"] not in outside.CLINC_INTENTS_OF_TASKS:
                found.append(line["text"])
    Random(1).shuffle(found)
    return found


def main() -> int:
    """Print one table for each model; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(TARGETS), help="models to measure")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK} questions a row; a target is missed only if the interval rules it out",
    )
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument(
        "--prompts", type=Path, nargs="*", default=[], help="CLINC150 data.jsonl, MT-bench question.jsonl"
    )
    parser.add_argument("--show-wrong", type=int, default=0, help="print so many wrong answers a row")
    given = parser.parse_args()
    count = QUICK if given.quick else given.questions
    items = task_items(count, given.seed) + other_items(count, given.seed, read_prompts(given.prompts))
    met = True
    for name in given.names:
        with engine(given.weights / f"{name}.gguf") as chat:
            met = report(name, measure(chat, items, name, given.show_wrong), roughly=given.quick) and met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
