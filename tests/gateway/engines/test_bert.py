"""The conversion to GGUF, held against the model's definition computed in float32 with numpy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer

from gateway.engines.bert import read_safetensors, word_start
from gateway.engines.minilm import package_folder
from tests.gateway.engines.running import Running
from tests.gateway.engines.test_minilm import vectors

Array = npt.NDArray[Any]
HEADS = 12
TEXTS = [
    "How do I reset my password?",
    "Paris is the capital of France, isn't it?",
    "Die Übung macht den Meister: naïve cafés, 12,345.67 €!",
    "unbelievably antidisestablishmentarian\n\tpunctuation...   and    spaces",
    "東京 is Tokyo; السلام عليكم",
]


def erf(x: Array) -> Array:
    """The error function to 1.5e-7 (Abramowitz and Stegun 7.1.26)."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.asarray(np.sign(x) * (1 - series * np.exp(-x * x)))


@dataclass(frozen=True)
class Reference:
    """MiniLM in float32: embeddings, six layers of attention and feed-forward, and the mean over the tokens."""

    weights: dict[str, Array]
    tokenizer: Tokenizer

    def embed(self, text: str) -> Array:
        """The unit vector of a text."""
        ids = self.tokenizer.encode(text).ids
        x = (
            self._look_up("word", ids)
            + self._look_up("position", list(range(len(ids))))
            + self._look_up("token_type", [0])
        )
        x = self._norm("embeddings", x)
        for layer in range(6):
            x = self._layer(f"encoder.layer.{layer}", x)
        mean = x.mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean))

    def _layer(self, name: str, x: Array) -> Array:
        x = self._norm(f"{name}.attention.output", x + self._attention(f"{name}.attention", x))
        inner = self._linear(f"{name}.intermediate.dense", x)
        inner = inner * (1 + erf(inner / 2**0.5)) / 2
        return self._norm(f"{name}.output", x + self._linear(f"{name}.output.dense", inner))

    def _attention(self, name: str, x: Array) -> Array:
        length, width = x.shape
        q, k, v = (
            self._linear(f"{name}.self.{part}", x).reshape(length, HEADS, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1) / (width // HEADS) ** 0.5
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (scores / scores.sum(axis=-1, keepdims=True)) @ v
        return self._linear(f"{name}.output.dense", mixed.transpose(1, 0, 2).reshape(length, width))

    def _linear(self, name: str, x: Array) -> Array:
        return np.asarray(x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"])

    def _norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-12)
        return np.asarray(scaled * self.weights[f"{name}.LayerNorm.weight"] + self.weights[f"{name}.LayerNorm.bias"])

    def _look_up(self, table: str, ids: list[int]) -> Array:
        return np.asarray(self.weights[f"embeddings.{table}_embeddings.weight"][ids])


@pytest.fixture(scope="module")
def reference() -> Reference:
    """The float32 model with its own tokenizer."""
    folder = package_folder()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return Reference(dict(read_safetensors(folder / "model.safetensors")), tokenizer)


def test_the_engine_agrees_with_the_definition(minilm_engine: Running, reference: Reference) -> None:
    """Eight-bit weights turn a vector by less than two degrees, whatever script the text is in."""
    expected = np.array([reference.embed(text) for text in TEXTS])
    cosines = (vectors(minilm_engine, TEXTS) * expected).sum(axis=1)
    assert cosines.min() > 0.9994, cosines


def test_the_engine_cuts_texts_into_the_same_tokens(minilm_engine: Running, reference: Reference) -> None:
    """The vocabulary was carried over word for word."""
    for text in TEXTS:
        got = minilm_engine.client.post("/tokenize", json={"content": text, "add_special": True}).json()["tokens"]
        assert got == reference.tokenizer.encode(text).ids


def test_continued_words_lose_their_mark() -> None:
    """BERT marks a word's continuation with ##, llama.cpp its beginning."""
    assert [word_start(piece) for piece in ("pass", "##word")] == ["\u2581pass", "word"]


def test_other_types_than_float32_are_left_out(tmp_path: Path) -> None:
    """Position ids are stored as integers; llama.cpp counts for itself."""
    header = (
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}}'
    )
    body = np.array([1.5, 2.5], np.float32).tobytes() + bytes(8)
    (tmp_path / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + body)
    assert {name: tensor.tolist() for name, tensor in read_safetensors(tmp_path / "m.safetensors")} == {"a": [1.5, 2.5]}
