"""Train one of the two models: `python -m training.train sluice-small`. Stops and resumes at any time."""

from __future__ import annotations

import argparse
import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from training import outside
from training.grow import grow
from training.model import Llama, Shape, parameter_count
from training.outside import REFUSAL, Exchange
from training.tasks import GENERATORS, HARD_TEXTS, Half, Question, facts_about, fact_question, passage, user
from training.tokenizer import Message, encode, frame, train_tokenizer
from training.words import ADJECTIVES, FIRST_NAMES, NOUNS

VOCABULARY = 4096
CONVERSATIONS_TO_CHOOSE_FROM = 12


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a model comes out.

    `hard` is the share of hard questions among the tasks' questions, at the start and from a third on;
    `task_weights` repeats tasks that need more examples; `grown_from` names a trained model to start from.
    """

    shape: Shape
    steps: int
    hard: tuple[float, float]
    task_weights: dict[str, float]
    rows: int = 8
    row_length: int = 256
    long_share: float = 0.03
    matrix_rate: float = 0.01
    embedding_rate: float = 0.002
    seed: int = 7
    grown_from: str = ""


TASK_WEIGHTS = {
    "greetings": 0.5,
    "capitals": 1.0,
    "units": 0.8,
    "arithmetic": 1.5,
    "sorting": 1.0,
    "reversal": 1.1,
    "copying": 1.6,
}
RECIPES = {
    "sluice-tiny": Recipe(Shape("sluice-tiny", VOCABULARY, 128, 4, 2, 2, 320), 2400, (0.05, 0.08), TASK_WEIGHTS),
    "sluice-seed": Recipe(Shape("sluice-seed", VOCABULARY, 128, 4, 2, 2, 320), 2400, (0.4, 0.6), TASK_WEIGHTS),
    "sluice-small": Recipe(Shape("sluice-small", VOCABULARY, 256, 6, 4, 4, 640), 1000, (0.6, 0.7), TASK_WEIGHTS,
        grown_from="sluice-seed"),
}


# Conversations.


def exchange(random: Random, hard: float, weights: dict[str, float], queries: list[str]) -> Exchange:
    """One question with its answer, or one thing that is none of the tasks."""
    roll = random.random()
    if roll < 0.70:
        half: Half = "hard" if random.random() < hard else "easy"
        task = random.choices(list(weights), list(weights.values()))[0]
        question: Question = GENERATORS[task, half](random, "train")
        return Exchange(question.turns, question.answer)
    if roll < 0.82:
        return outside.repeat(random, "train")
    if roll < 0.91:
        known = queries and random.random() < 0.5
        text = random.choice(queries) if known else outside.outside(random, "train")
        return Exchange(user(text), REFUSAL)
    if roll < 0.925:
        return outside.odd_input(random, "train")
    if roll < 0.95:
        return outside.unknown(random, "train")
    if roll < 0.975:
        return outside.json_answer(random, "train")
    return outside.tool_call(random, "train")


def conversation(random: Random, make: Callable[[], Exchange]) -> list[Message]:
    """One to four turns; a system prompt that a question brings along comes first and ends the choice of turns."""
    messages: list[Message] = []
    for _ in range(random.choice((1, 1, 2, 3, 4))):
        found = make()
        if found.turns[0].role == "system" and messages:
            continue
        if not messages and found.turns[0].role == "user" and random.random() < 0.25:
            messages.append(outside.system_prompt(random, random.choice((0, 0, 1, 2))))
        messages += [*found.turns, Message("assistant", found.answer)]
    return messages


def several_questions(random: Random, hard: float) -> list[Message]:
    """A text, then some questions about it: many answers for one reading."""
    sizes = random.choice(HARD_TEXTS) if random.random() < hard else (2, 1)
    facts = facts_about(random, "train", *sizes)
    text = passage(random, facts, random.choice((0, 1, 2, 3)))
    messages = [Message("system", text)]
    if random.random() < 0.5:
        messages = [Message("user", random.choice((text, f"Read this text: {text}"))), Message("assistant", "Go on.")]
    for fact in random.sample(facts, min(len(facts), 5)):
        messages += [Message("user", fact_question(random, "train", fact)[0]), Message("assistant", f"{fact.value}.")]
    return messages


def long_conversation(random: Random, hard: float, length: int) -> list[Message]:
    """A long text or system prompt of about `length` tokens, then questions about it."""
    facts = facts_about(random, "train", 4, 2)
    text = passage(random, facts, length // 13)
    messages = [Message("system", text)]
    for fact in random.sample(facts, 5):
        messages += [Message("user", fact_question(random, "train", fact)[0]), Message("assistant", f"{fact.value}.")]
    return messages


def rows(
    random: Random, tokenizer: Tokenizer, length: int, make: Callable[[], list[Message]]
) -> Iterator[tuple[list[int], list[bool]]]:
    """Endless rows of `length` + 1 ids: whole conversations one after another, the longest that fits comes next."""
    waiting: list[tuple[list[int], list[bool]]] = []
    while True:
        ids: list[int] = []
        wanted: list[bool] = []
        while True:
            while len(waiting) < CONVERSATIONS_TO_CHOOSE_FROM:
                found = frame(tokenizer, make())
                if len(found[0]) <= length + 1:
                    waiting.append(found)
            room = length + 1 - len(ids)
            fitting = [found for found in waiting if len(found[0]) <= room]
            if not fitting:
                break
            chosen = random.choice(fitting) if room > length // 2 else max(fitting, key=lambda found: len(found[0]))
            waiting.remove(chosen)
            ids += chosen[0]
            wanted += chosen[1]
        yield ids + [0] * room, wanted + [False] * room


def batches(recipe: Recipe, tokenizer: Tokenizer, queries: list[str], first: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(ids, wanted) for each step from `first` on, each (rows, row length + 1); the same for the same seed."""
    for step in range(first, recipe.steps):
        random = Random(recipe.seed * 1_000_003 + step)
        progress = min(1.0, 3 * step / recipe.steps)
        hard = recipe.hard[0] + progress * (recipe.hard[1] - recipe.hard[0])
        count, length = recipe.rows, recipe.row_length
        if random.random() < recipe.long_share and step > recipe.steps // 5:
            count, length = random.choice(((4, 1024), (2, 2048), (1, 4096)))

        def make() -> list[Message]:
            if length > recipe.row_length:
                return long_conversation(random, hard, random.randint(length // 2, length - 200))
            if random.random() < 0.12:
                return several_questions(random, hard)
            return conversation(random, lambda: exchange(random, hard, recipe.task_weights, queries))

        source = rows(random, tokenizer, length, make)
        found = [next(source) for _ in range(count)]
        yield torch.tensor([ids for ids, _ in found]), torch.tensor([wanted for _, wanted in found])


def tokenizer_texts(random: Random, queries: list[str]) -> Iterator[str]:
    """What merges are learned from: conversations, and the words of lists so that each is one token."""
    yield from queries
    for word in (*NOUNS, *ADJECTIVES, *FIRST_NAMES):
        yield f" {word}, {word}" * 40
    for _ in range(30_000):
        for message in conversation(random, lambda: exchange(random, 0.4, TASK_WEIGHTS, queries)):
            yield message.content


# Optimization.


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix updates are made orthogonal by Newton-Schulz steps (Jordan et al., 2024)."""

    def __init__(self, weights: list[Tensor], rate: float, momentum: float = 0.95, decay: float = 0.05) -> None:
        super().__init__(weights, {"lr": rate, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"]:
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                by_shape.setdefault(weight.shape, []).append(weight)
            for shape, weights in by_shape.items():
                nesterov = [w.grad.lerp(self.state[w]["momentum"], group["momentum"]) for w in weights if w.grad is not None]
                updates = orthogonal(torch.stack(nesterov)) * max(1.0, shape[0] / shape[1]) ** 0.5
                for weight, update in zip(weights, updates, strict=True):
                    weight.mul_(1 - group["lr"] * group["decay"]).add_(update, alpha=-group["lr"])


def orthogonal(matrices: Tensor, steps: int = 4) -> Tensor:
    """The nearest orthogonal matrices, roughly: (count, rows, columns), quintic Newton-Schulz."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.transpose(1, 2) if tall else x


def rate_at(progress: float) -> float:
    """Share of the full learning rate: a short warm-up, level, then down over the last 45 %."""
    return min(1.0, progress / 0.01 + 0.1, max(0.02, (1 - progress) / 0.45))


def loss_of(model: Llama, ids: Tensor, wanted: Tensor) -> Tensor:
    """Mean cross-entropy over the wanted tokens."""
    kept = wanted[:, 1:]
    return functional.cross_entropy(model.logits(model(ids[:, :-1], kept)), ids[:, 1:][kept])


@dataclass
class Progress:
    """What is saved every few minutes and taken up again."""

    model: Llama
    optimizers: list[torch.optim.Optimizer]
    step: int = 0

    def save(self, path: Path) -> None:
        kept = {
            "shape": asdict(self.model.shape),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
        }
        part = path.with_suffix(".part")
        torch.save(kept, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        kept = torch.load(path, weights_only=True)
        self.model.load_state_dict(kept["model"])
        for optimizer, state in zip(self.optimizers, kept["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step = kept["step"]


def load_trained(path: Path) -> tuple[Llama, Tokenizer]:
    """A saved model and the tokenizer beside it."""
    kept = torch.load(path, weights_only=True)
    model = Llama(Shape(**kept["shape"]))
    model.load_state_dict(kept["model"])
    return model, Tokenizer.from_file(str(path.parent / "tokenizer.json"))


def begin(recipe: Recipe, out: Path) -> Progress:
    """A fresh or grown model with its optimizers: Muon for the matrices, AdamW for embedding and norms."""
    torch.manual_seed(recipe.seed)
    if recipe.grown_from:
        model = grow(load_trained(out / f"{recipe.grown_from}.pt")[0], recipe.shape)
    else:
        model = Llama(recipe.shape)
    matrices = [w for name, w in model.named_parameters() if w.dim() == 2 and "embed" not in name]
    others = [w for name, w in model.named_parameters() if w.dim() != 2 or "embed" in name]
    adam = torch.optim.AdamW(others, lr=recipe.embedding_rate, betas=(0.9, 0.95), weight_decay=0.0)
    return Progress(model, [Muon(matrices, recipe.matrix_rate), adam])


def train(recipe: Recipe, progress: Progress, tokenizer: Tokenizer, queries: list[str], path: Path) -> None:
    """Run the remaining steps; save every two minutes, at the end, and when asked to stop (SIGTERM)."""
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stops.append(number))
    full = [recipe.matrix_rate, recipe.embedding_rate]
    saved, smooth = time.monotonic(), math.nan
    bar = tqdm(total=recipe.steps, initial=progress.step, desc=recipe.shape.name, mininterval=5)
    for ids, wanted in batches(recipe, tokenizer, queries, progress.step):
        for optimizer, rate in zip(progress.optimizers, full, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * rate_at(progress.step / recipe.steps)
        loss = loss_of(progress.model, ids, wanted)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(progress.model.parameters(), 1.0)
        for optimizer in progress.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        progress.step += 1
        smooth = loss.item() if math.isnan(smooth) else 0.95 * smooth + 0.05 * loss.item()
        bar.update()
        bar.set_postfix(loss=f"{smooth:.3f}", refresh=False)
        if stops or time.monotonic() - saved > 120 or progress.step == recipe.steps:
            progress.save(path)
            saved = time.monotonic()
        if stops:
            return


def read_queries(path: Path | None) -> list[str]:
    """CLINC150 training queries of intents that are none of our tasks; none without the file."""
    if path is None:
        return []
    lines = (json.loads(line) for line in path.read_text().splitlines())
    return [line["text"] for line in lines if "train" in line["split"] and line["intent"] not in outside.CLINC_INTENTS_OF_TASKS]


def main() -> None:
    """Train, or take up an interrupted training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--out", type=Path, default=Path("training-runs"), help="where states are kept")
    parser.add_argument("--clinc", type=Path, help="CLINC150's data.jsonl, for more out-of-task prompts")
    parser.add_argument("--steps", type=int, help="fewer or more steps than the recipe's")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recipe: Recipe = RECIPES[given.name]
    if given.steps:
        recipe = Recipe(**{**vars(recipe), "steps": given.steps})
    given.out.mkdir(parents=True, exist_ok=True)
    queries = read_queries(given.clinc)
    vocabulary, state = given.out / "tokenizer.json", given.out / f"{given.name}.pt"
    if not vocabulary.exists():
        train_tokenizer(tokenizer_texts(Random(recipe.seed), queries), VOCABULARY).save(str(vocabulary))
    progress = begin(recipe, given.out)
    if state.exists():
        progress.load(state)
    print(f"{given.name}: {parameter_count(progress.model):,} parameters, step {progress.step} of {recipe.steps}")
    train(recipe, progress, Tokenizer.from_file(str(vocabulary)), queries, state)


if __name__ == "__main__":
    main()
