#!/usr/bin/env bash
# Installs the system packages that some tests drive, where they are missing and where that is allowed.
# Without them those tests are skipped and say so; nothing that `make serve` needs is here.
set -u
missing=()
command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1 || missing+=(docker-compose)
# Where services run, Debian starts one on loopback with this package. No test uses it: they start their own.
command -v redis-server >/dev/null && command -v redis-cli >/dev/null || missing+=(redis-server)
command -v chromium >/dev/null || missing+=(chromium)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "not installed, so their tests are skipped: ${missing[*]}"
  exit 0
fi
echo "installing ${missing[*]} ..."
export DEBIAN_FRONTEND=noninteractive
(apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}") >/dev/null 2>&1 || echo "could not install ${missing[*]}; their tests are skipped"
