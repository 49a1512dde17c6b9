"""Train one of the models: `python -m training.train sluice-tiny`. Stops and resumes at any time."""

from __future__ import annotations

import argparse
import math
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm  # type: ignore[import-untyped]

from training.grow import grow
from training.lessons import Lessons, long_conversation, read_queries, rows, tokenizer_texts
from training.model import Llama, Shape, parameter_count
from training.muon import Muon
from training.tokenizer import train_tokenizer

VOCABULARY = 4096
SECONDS_BETWEEN_SAVES = 120


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a model comes out.

    `hard` is the share of hard questions among the tasks' questions, at the start and from a third on;
    `task_weights` repeats tasks that need more examples; `grown_from` names a trained model to start from (with 0
    steps the grown model is kept as it is).
    """

    shape: Shape
    steps: int
    hard: tuple[float, float]
    task_weights: dict[str, float]
    grown_from: str = ""
    rows: int = 8
    row_length: int = 256
    long_share: float = 0.03
    matrix_rate: float = 0.007
    embedding_rate: float = 0.002
    seed: int = 7


WEIGHTS = {
    "greetings": 1.2,
    "capitals": 1.0,
    "units": 1.0,
    "arithmetic": 2.2,
    "sorting": 0.9,
    "reversal": 0.9,
    "copying": 2.2,
}
TINY_WEIGHTS = {**WEIGHTS, "greetings": 0.5, "capitals": 0.8, "units": 0.6, "arithmetic": 2.5, "copying": 1.8}
RECIPES = {
    "sluice-tiny": Recipe(
        Shape("sluice-tiny", VOCABULARY, 128, 4, 2, 2, 320), 2300, (0.05, 0.08), TINY_WEIGHTS, matrix_rate=0.01
    ),
    "sluice-seed": Recipe(Shape("sluice-seed", VOCABULARY, 128, 4, 2, 2, 320), 4200, (0.4, 0.7), WEIGHTS),
    "sluice-small": Recipe(
        Shape("sluice-small", VOCABULARY, 256, 6, 4, 4, 640), 0, (0.7, 0.7), WEIGHTS, grown_from="sluice-seed"
    ),
}


def batches(
    recipe: Recipe, tokenizer: Tokenizer, queries: Sequence[str], first: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """(ids, wanted) for each step from `first` on, each (rows, row length + 1); the same for the same seed."""
    for step in range(first, recipe.steps):
        random = Random(recipe.seed * 1_000_003 + step)
        progress = min(1.0, 3 * step / recipe.steps)
        hard = recipe.hard[0] + progress * (recipe.hard[1] - recipe.hard[0])
        if random.random() < recipe.long_share and step > recipe.steps // 5:
            count, length = random.choice(((4, 1024), (2, 2048), (1, 4096)))
            aimed = random.randint(length // 2, length - 200)
            source = rows(random, tokenizer, length + 1, partial(long_conversation, length=aimed))
        else:
            count = recipe.rows
            lessons = Lessons(hard, recipe.task_weights, queries)
            source = rows(random, tokenizer, recipe.row_length + 1, lessons.short)
        found = [next(source) for _ in range(count)]
        yield torch.tensor([ids for ids, _ in found]), torch.tensor([wanted for _, wanted in found])


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
    optimizers: tuple[Muon, torch.optim.AdamW]
    step: int = 0

    def save(self, path: Path) -> None:
        """Write the state whole or not at all."""
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
        """Go on where `save` left off."""
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
    return Progress(model, (Muon(matrices, recipe.matrix_rate), adam))


def train(recipe: Recipe, progress: Progress, tokenizer: Tokenizer, queries: Sequence[str], path: Path) -> None:
    """Run the remaining steps; save every two minutes, at the end, and when asked to stop (SIGTERM)."""
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stops.append(number))
    saved, smooth = time.monotonic(), math.nan
    bar = tqdm(total=recipe.steps, initial=progress.step, desc=recipe.shape.name, mininterval=5)
    for ids, wanted in batches(recipe, tokenizer, queries, progress.step):
        for optimizer, rate in zip(progress.optimizers, (recipe.matrix_rate, recipe.embedding_rate), strict=True):
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
        if stops or time.monotonic() - saved > SECONDS_BETWEEN_SAVES or progress.step == recipe.steps:
            progress.save(path)
            saved = time.monotonic()
        if stops:
            return


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
    if given.steps is not None:
        recipe = replace(recipe, steps=given.steps)
    given.out.mkdir(parents=True, exist_ok=True)
    queries = read_queries(given.clinc)
    vocabulary, state = given.out / "tokenizer.json", given.out / f"{given.name}.pt"
    if not vocabulary.exists():
        texts = tokenizer_texts(Random(recipe.seed), Lessons(0.4, WEIGHTS, queries))
        train_tokenizer(texts, VOCABULARY).save(str(vocabulary))
    progress = begin(recipe, given.out)
    if state.exists():
        progress.load(state)
    else:
        progress.save(state)
    print(f"{given.name}: {parameter_count(progress.model):,} parameters, step {progress.step} of {recipe.steps}")
    train(recipe, progress, Tokenizer.from_file(str(vocabulary)), queries, state)


if __name__ == "__main__":
    main()
