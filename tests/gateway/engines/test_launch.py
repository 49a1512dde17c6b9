"""How an engine process is started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway.engines.files import EngineFiles
from gateway.engines.launch import ProcessLaunch, engine_environment
from gateway.engines.spec import EngineSpec

SPEC = EngineSpec("chat", Path("/models/chat.gguf"))
ECHO = (sys.executable, "-c", "import os, sys; print(sys.argv[1:], os.getppid(), os.getsid(0) == os.getpid())")


def test_an_engine_gets_none_of_the_gateway_s_secrets() -> None:
    """A provider's key is of no use to an engine, and so not in its memory."""
    environment = {"PATH": "/bin", "HOME": "/root", "CUDA_VISIBLE_DEVICES": "0", "OPENAI_API_KEY": "secret-value"}
    assert engine_environment(environment) == {"PATH": "/bin", "HOME": "/root", "CUDA_VISIBLE_DEVICES": "0"}


def test_it_is_told_where_its_spec_lies_and_who_its_parent_is(tmp_path: Path) -> None:
    """It runs in a session of its own: Ctrl-C in the terminal is for the gateway alone."""
    child = ProcessLaunch(tmp_path, ECHO)(SPEC)
    assert child.wait(timeout=30) == 0
    said = EngineFiles(tmp_path, SPEC.key).log.read_text()
    assert said.startswith(str([str(tmp_path), SPEC.key]).rstrip("]"))
    assert said.endswith("True\n")
    assert EngineFiles(tmp_path, SPEC.key).spec.read_bytes() == SPEC.dumps()


def test_a_program_that_does_not_exist_is_an_os_error(tmp_path: Path) -> None:
    """The supervisor tries it again later."""
    with pytest.raises(FileNotFoundError):
        ProcessLaunch(tmp_path, ("/no/such/program",))(SPEC)
