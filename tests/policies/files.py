"""Policy texts, and a short way to load one and to see what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from policies.loader import LoadedPolicy, PolicyError, load
from policies.model import Part

ROOT = Path(__file__).parents[2]
ENV = {
    "OPENAI_API_KEY": "sk-openai-not-real",
    "ANTHROPIC_API_KEY": "sk-anthropic-not-real",
    "APP_KEY": "sluice-app-key-not-real",
    "TOKEN": "token-not-real-at-all",
    "VLLM_URL": "http://10.0.0.5:8000/v1",
    "VLLM_KEY": "vllm-key-not-real",
    "SEARCH_TEAM_KEY": "search-team-key-not-real",
    "SUPPORT_TEAM_KEY": "support-team-key-not-real",
    "TEAM_TOKEN": "team-token-not-real",
    "SHOP_KEY": "shop-key-is-not-real",
    "NIGHTLY_KEY": "nightly-key-is-not-real",
}
SMALL = """\
upstreams:
  local: {url: "http://127.0.0.1:8000/v1"}
models:
  small: {targets: [{upstream: local}]}
"""


def parts(above: type[Part] = Part) -> list[type[Part]]:
    """Every part of the language; some are made of others, as a Step is of Lines."""
    return [found for part in above.__subclasses__() for found in (part, *parts(part))]


def written(folder: Path, text: str | bytes) -> Path:
    """A policy file with this text."""
    path = folder / "policy.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def everything(module: str) -> bool:
    """Every library is installed."""
    return True


def loaded(folder: Path, text: str | bytes, env: Mapping[str, str] = ENV) -> LoadedPolicy:
    """The policy of this text, where every library is installed."""
    return load(written(folder, text), env, is_installed=everything)


def problems(folder: Path, text: str | bytes, env: Mapping[str, str] = ENV) -> list[str]:
    """What is wrong with this text, each as "LINE: message"; empty for a good policy."""
    try:
        loaded(folder, text, env)
    except PolicyError as error:
        return [f"{problem.line}: {problem.message}" for problem in error.problems]
    return []


def yaml_blocks(markdown: Path) -> Iterator[str]:
    """The YAML examples of a page."""
    for block in markdown.read_text().split("```yaml\n")[1:]:
        yield block.split("```")[0]
