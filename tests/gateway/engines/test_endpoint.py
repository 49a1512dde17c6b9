"""The endpoint file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.engines.endpoint import Endpoint, load_endpoint, read_endpoint, write_endpoint
from gateway.engines.files import EngineFiles
from gateway.engines.spec import EngineSpec

SPEC = EngineSpec("chat", Path("/models/chat.gguf"))
ENDPOINT = Endpoint(port=4000, pid=42, api_key="a-secret-key", model="chat")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """The gateway finds the port, the key and the name that answers bear."""
    write_endpoint(EngineFiles(tmp_path, SPEC.key).endpoint, ENDPOINT)
    assert read_endpoint(tmp_path, SPEC) == ENDPOINT
    assert ENDPOINT.url == "http://127.0.0.1:4000"


def test_an_engine_that_is_not_ready_has_no_endpoint(tmp_path: Path) -> None:
    """There is no file until it answers."""
    assert read_endpoint(tmp_path, SPEC) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"port": "x"}', b"\xff"])
def test_a_broken_endpoint_file_is_none(tmp_path: Path, content: bytes) -> None:
    """A damaged file means not ready, not a crash of the worker."""
    (tmp_path / "file").write_bytes(content)
    assert load_endpoint(tmp_path / "file") is None


def test_the_key_is_not_shown(tmp_path: Path) -> None:
    """An endpoint that ends up in a log or an error does not give its key away."""
    assert "a-secret-key" not in repr(ENDPOINT)
