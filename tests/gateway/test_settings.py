"""Settings: what processes are started with."""

from __future__ import annotations

from pathlib import Path

from gateway.settings import SHIPPED_POLICY, WEIGHTS, Settings, loads, worker_environ, worker_settings


def test_round_trip() -> None:
    """A worker gets exactly the settings that serve was given, and its number and socket."""
    settings = Settings(port=1, policy=Path("a/ü.yaml"), gguf=(Path("x.gguf"),), drain=2.5, redis_url="redis://h")
    assert loads(settings.dumps()) == settings
    environ = worker_environ(settings, 3, 7, {"A": "1"})
    assert environ["A"] == "1"
    assert worker_settings(environ) == (settings, 3, 7)


def test_what_is_shipped_is_there() -> None:
    """The policy and the folder of weights that come with the package exist."""
    assert SHIPPED_POLICY.is_file()
    assert WEIGHTS.is_dir()
