"""What the policy asks of engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.engines.spec import EngineSpec, loads, minilm_path, specs
from policies.model import Policy

POLICY = Policy.model_validate(
    {
        "upstreams": {
            "small": {"engine": "llama.cpp", "gguf": "bundled:sluice-small"},
            "embedder": {"engine": "llama.cpp", "gguf": "bundled:all-minilm-l6-v2"},
            "mine": {"engine": "llama.cpp", "gguf": "models/mine.Q4.gguf", "context": 4096, "slots": 2},
            "far": {"url": "https://api.example.com/v1"},
        },
        "models": {"sluice-small": {"targets": [{"upstream": "small"}]}},
    }
)


def engines() -> dict[str, EngineSpec]:
    """The engines of the policy above."""
    return specs(POLICY, Path("/etc/sluice"), Path("/weights"), Path("/state"))


def test_only_engines_become_specs() -> None:
    """A server by URL needs no process of ours."""
    assert set(engines()) == {"small", "embedder", "mine"}


def test_a_bundled_model_lies_among_the_weights() -> None:
    """Its answers bear the model's name, not the upstream's, and it gets no more context than it was trained on."""
    assert engines()["small"] == EngineSpec("sluice-small", Path("/weights/sluice-small.gguf"), context=4096)


def test_a_relative_path_is_meant_from_the_policy_file() -> None:
    """The same policy means the same model wherever the gateway was started."""
    assert engines()["mine"] == EngineSpec("mine.Q4", Path("/etc/sluice/models/mine.Q4.gguf"), False, 4096, 2)


def test_the_bundled_embedder_embeds_within_its_512_positions() -> None:
    """Nobody has to know that it is an embedding model or how long its texts may be."""
    embedder = engines()["embedder"]
    assert (embedder.gguf, embedder.embeddings, embedder.context) == (minilm_path(Path("/state")), True, 512)


def test_a_spec_survives_its_file() -> None:
    """The engine process serves just what the supervisor wrote down."""
    for spec in engines().values():
        assert loads(spec.dumps()) == spec


def test_equal_specs_have_the_same_key() -> None:
    """Two processes of the gateway find the same files."""
    assert engines()["mine"].key == engines()["mine"].key


@pytest.mark.parametrize(
    "other",
    [
        EngineSpec("b", Path("/a.gguf")),
        EngineSpec("a", Path("/b.gguf")),
        EngineSpec("a", Path("/a.gguf"), embeddings=True),
        EngineSpec("a", Path("/a.gguf"), context=4096),
        EngineSpec("a", Path("/a.gguf"), slots=1),
    ],
)
def test_every_field_changes_the_key(other: EngineSpec) -> None:
    """A changed engine is another engine: an edit of the policy takes effect."""
    assert other.key != EngineSpec("a", Path("/a.gguf")).key
