"""What one engine is to serve: a GGUF and how, as the policy asks for it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the engine process reads this module too and must not pay for pydantic
    from policies.model import Policy, Upstream

BUNDLED = "bundled:"
MINILM = "all-minilm-l6-v2"
TRAINED_CONTEXT = {MINILM: 512, "sluice-tiny": 4096, "sluice-small": 4096}  # tokens; more would be memory for nothing


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One model to serve. `context` is in tokens per slot; `slots` calls run at once; `name` is what answers bear."""

    name: str
    gguf: Path
    embeddings: bool = False
    context: int = 8192
    slots: int = 4

    @property
    def key(self) -> str:
        """A digest of all that matters, fit for file names: engines with the same key are the same engine."""
        return hashlib.blake2b(self.dumps(), digest_size=8).hexdigest()

    def dumps(self) -> bytes:
        """The spec as JSON, the same bytes for equal specs."""
        return json.dumps(asdict(self) | {"gguf": str(self.gguf)}, sort_keys=True).encode()


def loads(data: bytes) -> EngineSpec:
    """Read a spec back from its JSON. Raises ValueError, KeyError or TypeError if it is none."""
    values = json.loads(data)
    return EngineSpec(**values | {"gguf": Path(values["gguf"])})


def specs(policy: Policy, policy_dir: Path, weights: Path, state: Path) -> dict[str, EngineSpec]:
    """The engines a policy asks for, by upstream name.

    Bundled chat models lie in `weights`; the embedding model is converted into `state` (see `minilm`).
    A relative path is meant from `policy_dir`, where the policy file lies.
    """
    return {
        name: _spec(upstream, upstream.gguf, policy_dir, weights, state)
        for name, upstream in policy.upstreams.items()
        if upstream.engine == "llama.cpp" and upstream.gguf
    }


def minilm_path(state: Path) -> Path:
    """Where the converted embedding model lies."""
    return state / f"{MINILM}.gguf"


def _spec(upstream: Upstream, gguf: str, policy_dir: Path, weights: Path, state: Path) -> EngineSpec:
    if not gguf.startswith(BUNDLED):
        path = (policy_dir / Path(gguf).expanduser()).resolve()
        return EngineSpec(path.stem, path, upstream.embeddings, upstream.context, upstream.slots)
    name = gguf.removeprefix(BUNDLED)
    path = minilm_path(state) if name == MINILM else weights / f"{name}.gguf"
    context = min(upstream.context, TRAINED_CONTEXT.get(name, upstream.context))
    return EngineSpec(name, path, upstream.embeddings or name == MINILM, context, upstream.slots)
