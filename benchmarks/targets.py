"""The gateways that are compared: how each is found, installed, and started in front of one upstream.

Each runs as its makers advise for one core, with its metrics on, quiet logs, round robin over one worker and no retries
(a retried error would be counted as a slow success). Ours and LiteLLM check a key on every call; the routers and nginx
have no keys to check and are spared that work.

Ours answers equal calls from its exact cache unless a rule says otherwise: `sluice` runs so, and `sluice (cache off)`
only passes calls on. LiteLLM's in-memory cache is off by default: `litellm` runs so, and `litellm (cache on)` has it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

OURS = "sluice"
UNCACHED = "sluice (cache off)"
LITELLM_CACHED = "litellm (cache on)"
DIRECT = "direct"

# Which calls a target is measured with: such as no cache has seen, such as its cache knows, or both.
Part = Literal["misses", "hits", "both"]


@dataclass(frozen=True, slots=True)
class Site:
    """Where a gateway stands: its upstream, its own ports, a folder for its files, and the key that calls carry.

    Before a `faulty` upstream, one that fails on purpose, circuit breakers are off: open, they would hide all else.
    """

    upstream_port: int
    port: int
    side_port: int
    folder: Path
    key: str
    faulty: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """A command line, and what it needs in the environment."""

    argv: list[str]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that can be measured here if `program` is there; `install` says how to get it."""

    name: str
    program: Path | None
    version: str
    install: str
    launch: Callable[[Path, Site], Launch]
    part: Part = "misses"

    @property
    def family(self) -> str:
        """The gateway's name without the variant: what `--peers` names."""
        return self.name.partition(" (")[0]


def gateways(peer_dir: Path) -> list[Gateway]:
    """List ourselves and all peers, each looked for in its own environment under `peer_dir`, then on the path."""
    ours = _python_gateway(OURS, "sluice-gateway", Path(sys.prefix), "pip install sluice-gateway", _sluice)
    litellm = _peer("litellm", "litellm[proxy]", peer_dir, _litellm)
    return [
        replace(ours, part="both"),
        replace(ours, name=UNCACHED, launch=partial(_sluice, cache=False)),
        _peer("sglang-router", "sglang-router", peer_dir, _sglang),
        _peer("vllm-router", "vllm-router", peer_dir, _vllm),
        litellm,
        replace(litellm, name=LITELLM_CACHED, launch=partial(_litellm, cache=True), part="hits"),
        _nginx_gateway(),
    ]


def _peer(name: str, package: str, peer_dir: Path, launch: Callable[[Path, Site], Launch]) -> Gateway:
    home = peer_dir / name
    install = f"python -m venv {home} && {home}/bin/pip install '{package}'"
    return _python_gateway(name, name, home, install, launch)


def _python_gateway(
    name: str, distribution: str, home: Path, install: str, launch: Callable[[Path, Site], Launch]
) -> Gateway:
    inside = home / "bin" / name
    found = str(inside) if inside.exists() else shutil.which(name)
    program = Path(found).absolute() if found else None
    return Gateway(name, program, _installed_version(program, distribution), install, launch)


def _installed_version(program: Path | None, distribution: str) -> str:
    """Read a distribution's version from the folder names beside its program, without running it."""
    if program is None:
        return ""
    stem = distribution.replace("-", "_")
    for info in program.parent.parent.glob(f"lib/python*/site-packages/{stem}-*.dist-info"):
        return info.name.removeprefix(f"{stem}-").removesuffix(".dist-info")
    return "unknown"


def _nginx_gateway() -> Gateway:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        return Gateway("nginx", None, "", "install nginx from the operating system", _nginx)
    said = subprocess.run([found, "-v"], capture_output=True, text=True, check=False).stderr
    version = re.search(r"nginx/(\S+)", said)
    return Gateway("nginx", Path(found), version[1] if version else "unknown", "", _nginx)


def _sluice(program: Path, site: Site, *, cache: bool = True) -> Launch:
    policy = site.folder / "policy.yaml"
    breaker = ", breaker: {failures: 1.0}" if site.faulty else ""
    policy.write_text(
        f"upstreams:\n  static: {{url: 'http://127.0.0.1:{site.upstream_port}/v1'{breaker}}}\n"
        "models:\n  static: {targets: [{upstream: static}]}\n"
        "keys:\n  - {name: bench, key: '${BENCH_KEY}', tenant: bench}\n"
        # Small stores: filling them up to their bounds is no leak, and must be over when a soak begins to measure.
        + ("cache: {memory: 4MB, disk: 8MB}\n" if site.faulty else "")
        + ("" if cache else "rules:\n  - {name: plain, cache: {exact: false, coalesce: false}}\n")
    )
    argv = [str(program), "serve", "--policy", str(policy), "--host", "127.0.0.1", "--port", str(site.port)]
    argv += ["--admin-port", str(site.side_port), "--state", str(site.folder / "state")]
    return Launch(argv, {"BENCH_KEY": site.key})


def _sglang(program: Path, site: Site) -> Launch:
    return Launch([str(program), "launch", *_router_options(site), "--log-level", "warn"])


def _vllm(program: Path, site: Site) -> Launch:
    return Launch([str(program), *_router_options(site), "--log-level", "warning"])


def _router_options(site: Site) -> list[str]:
    options = ["--worker-urls", f"http://127.0.0.1:{site.upstream_port}", "--policy", "round_robin"]
    options += ["--host", "127.0.0.1", "--port", str(site.port), "--disable-retries"]
    options += ["--disable-circuit-breaker"] if site.faulty else []
    return [*options, "--prometheus-host", "127.0.0.1", "--prometheus-port", str(site.side_port)]


def _litellm(program: Path, site: Site, *, cache: bool = False) -> Launch:
    config = site.folder / "litellm.yaml"
    settings = "num_retries: 0, telemetry: false, set_verbose: false"
    settings += ", cache: true, cache_params: {type: local}" if cache else ""
    config.write_text(
        "model_list:\n  - model_name: static\n    litellm_params:\n      model: openai/static\n"
        f"      api_base: http://127.0.0.1:{site.upstream_port}/v1\n      api_key: none\n"
        f"litellm_settings: {{{settings}}}\n"
        "router_settings: {num_retries: 0}\n"
    )
    argv = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(site.port)]
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": site.key}
    return Launch([*argv, "--num_workers", "1", "--telemetry", "False"], quiet)


def _nginx(program: Path, site: Site) -> Launch:
    config = site.folder / "nginx.conf"
    folders = "".join(
        f"  {name}_temp_path {site.folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config.write_text(
        "worker_processes 1;\ndaemon off;\nevents { worker_connections 8192; }\n"
        f"pid {site.folder}/nginx.pid;\nerror_log stderr warn;\n"
        f"http {{\n{folders}  access_log off;\n  client_max_body_size 4m;\n  client_body_buffer_size 256k;\n"
        f"  upstream static {{\n    server 127.0.0.1:{site.upstream_port};\n"
        "    keepalive 1024;\n    keepalive_requests 1000000000;\n  }\n"
        f"  server {{\n    listen 127.0.0.1:{site.port} backlog=4096;\n    keepalive_requests 1000000000;\n"
        "    location / {\n      proxy_pass http://static;\n      proxy_http_version 1.1;\n"
        '      proxy_set_header Connection "";\n      proxy_buffering off;\n    }\n  }\n}\n'
    )
    return Launch([str(program), "-p", str(site.folder), "-c", str(config)])
