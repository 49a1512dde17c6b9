"""The program of one engine process: llama.cpp's own HTTP server for one GGUF, on a private port.

    python -m gateway.engines.process STATE KEY PARENT

It serves what `STATE/engine-KEY.spec.json` says and ends when the process PARENT does. Laws of this program:

* No prompt and no answer reaches its log. llama.cpp prints parts of a request in warnings, in errors, and for a bad
  grammar straight to stderr at any verbosity; so both outputs are shut before anyone can know the key to ask.
* It never outlives its parent: the kernel kills it then, and where the kernel cannot, it looks itself.
* SIGTERM keeps its default action, which ends it at once; it holds nothing that needs saving.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import socket
import sys
import time
from pathlib import Path

from xllamacpp import xllamacpp as llama  # the native part only

from gateway.engines.endpoint import Endpoint, write_endpoint
from gateway.engines.files import EngineFiles
from gateway.engines.spec import EngineSpec, loads

SMALL_GGUF = 64 << 20  # bytes; below this, threads cost more in waiting for each other than they gain
HTTP_THREADS = 256  # a kept-alive connection holds one thread for seconds, so a few would stall the next caller
PROMPT_CACHE_MIB = 256
GREEDY = ("sluice-tiny", "sluice-small")  # so small that any randomness is noise; a call may ask for another
PROMPT_BATCH = 512  # tokens; between two batches a call that was given up is let go and others get their turn
EMBEDDING_BATCH = 2048
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until told to stop or the parent is gone."""
    state, key, parent = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    die_with(parent)
    files = EngineFiles(state, key)
    spec = loads(files.spec.read_bytes())
    api_key = os.urandom(24).hex()
    server = llama.Server(params(spec, api_key))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whatever the server made of it
    port = int(server.listening_address.rpartition(":")[2])
    while not answers(port):
        time.sleep(0.02)
    print(f"ready: {spec.name} on port {port}, pid {os.getpid()}; from here on nothing is logged", flush=True)
    shut_outputs()
    write_endpoint(files.endpoint, Endpoint(port, os.getpid(), api_key, spec.name))
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)  # the server's own threads would keep the interpreter alive


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we could ask
        raise SystemExit("the parent is gone")


def params(spec: EngineSpec, api_key: str) -> llama.CommonParams:
    """llama.cpp's settings for a spec."""
    p = llama.CommonParams()
    p.model.path = str(spec.gguf)
    p.model_alias = {spec.name}
    p.hostnames = ["127.0.0.1"]
    p.port = 0
    p.api_keys = [api_key]
    p.n_parallel = spec.slots
    p.n_ctx = spec.context * spec.slots
    p.cont_batching = p.cache_prompt = p.use_jinja = p.endpoint_metrics = True
    p.cache_ram_mib = PROMPT_CACHE_MIB
    p.n_threads_http = HTTP_THREADS
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = threads(spec.gguf.stat().st_size, usable_cores())
    p.fit_params = False  # it would load the model twice to guess a context that the policy already states
    p.ui = False
    p.verbosity = 2
    if spec.name in GREEDY:
        p.sampling.temp = 0.0
    p.n_batch = p.n_ubatch = PROMPT_BATCH
    if spec.embeddings:
        p.embedding = True
        p.n_batch = p.n_ubatch = max(spec.context, EMBEDDING_BATCH)  # a text is embedded in one batch or refused
    return p


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def threads(gguf_bytes: int, cores: int) -> int:
    """Threads that compute. Half the logical cores of a large machine are second halves of the same core."""
    if gguf_bytes < SMALL_GGUF:
        return 1
    return cores if cores <= 4 else max(4, cores // 2)


def answers(port: int) -> bool:
    """Say whether the server's health check is good."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        return connection.makefile("rb").readline().split()[1:2] == [b"200"]


def shut_outputs() -> None:
    """Send stdout and stderr nowhere; only a crash still reaches the log, as the names of Python's frames."""
    faulthandler.enable(os.dup(2))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


if __name__ == "__main__":
    main()
