"""Models and engines that several tests share, since starting them takes a moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.engines.minilm import ensure
from gateway.engines.spec import EngineSpec, minilm_path
from tests.gateway.engines.running import Running, running
from tests.gateway.engines.tiny import write_tiny


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama of random weights."""
    return write_tiny(tmp_path_factory.mktemp("weights") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny_engine(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An engine that serves it."""
    with running(tmp_path_factory.mktemp("state"), EngineSpec("tiny", tiny_gguf, slots=2)) as engine:
        yield engine


@pytest.fixture(scope="session")
def minilm_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled embedding model, converted."""
    path = minilm_path(tmp_path_factory.mktemp("weights"))
    ensure(path)
    return path


@pytest.fixture(scope="session")
def minilm_engine(minilm_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An engine that embeds with it."""
    spec = EngineSpec("all-minilm-l6-v2", minilm_gguf, embeddings=True, context=512, slots=2)
    with running(tmp_path_factory.mktemp("state"), spec) as engine:
        yield engine
