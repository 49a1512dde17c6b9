"""Where a running engine is reached: the small file it writes when it is ready, and how the gateway reads it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gateway.engines.files import EngineFiles, write_private
from gateway.engines.spec import EngineSpec


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A port on 127.0.0.1 and the key that opens it. `model` is the name the engine's answers bear."""

    port: int
    pid: int
    api_key: str = field(repr=False)
    model: str

    @property
    def url(self) -> str:
        """The base URL, without a path."""
        return f"http://127.0.0.1:{self.port}"


def read_endpoint(state: Path, spec: EngineSpec) -> Endpoint | None:
    """The endpoint of this engine now, or None while it is not ready.

    The port and the key change with every restart: read it when a connection is made, and again after one failed.
    """
    return load_endpoint(EngineFiles(state, spec.key).endpoint)


def load_endpoint(path: Path) -> Endpoint | None:
    """The endpoint in this file, or None if there is none or it cannot be understood."""
    try:
        values = json.loads(path.read_bytes())
        return Endpoint(int(values["port"]), int(values["pid"]), str(values["api_key"]), str(values["model"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_endpoint(path: Path, endpoint: Endpoint) -> None:
    """Publish an endpoint: readers see the old file or the new one, never half of it."""
    write_private(path, json.dumps(asdict(endpoint)).encode())
