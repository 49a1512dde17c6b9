"""Settings: what a process is started with. The only file that reads the environment.

Settings need a restart; what changes without one is policy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

PACKAGE = Path(__file__).parent
WEIGHTS = PACKAGE / "weights"
SHIPPED_POLICY = PACKAGE.parent / "policies" / "default.yaml"
WORKER_ENV = "SLUICE_WORKER"  # serve hands a worker its settings in this variable


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything `sluice serve` can be told. Times are in seconds."""

    host: str = "127.0.0.1"
    port: int = 8080
    admin_host: str = "127.0.0.1"
    admin_port: int = 8081
    policy: Path = SHIPPED_POLICY
    state: Path = Path(".sluice")
    workers: int = 1
    redis_url: str = ""
    gguf: tuple[Path, ...] = ()
    drain: float = 30.0
    log_format: str = "text"
    log_calls: bool = False

    def dumps(self) -> str:
        """The settings as JSON, for a child process."""
        return json.dumps(asdict(self), default=str)


def loads(text: str) -> Settings:
    """Settings from their JSON."""
    values = json.loads(text)
    paths = {name: Path(values[name]) for name in ("policy", "state")}
    return Settings(**{**values, **paths, "gguf": tuple(Path(path) for path in values["gguf"])})


def worker_settings(environ: Mapping[str, str]) -> tuple[Settings, int, int]:
    """What serve told this worker: its settings, its number, and the socket to listen on."""
    told = json.loads(environ[WORKER_ENV])
    return loads(told["settings"]), int(told["number"]), int(told["socket"])


def worker_environ(settings: Settings, number: int, socket: int, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker process."""
    told = json.dumps({"settings": settings.dumps(), "number": number, "socket": socket})
    return {**environ, WORKER_ENV: told}
