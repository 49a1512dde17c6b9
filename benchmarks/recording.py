"""One data worker with its recorder, as serve runs them, or a worker that throws each record away.

Run by `benchmarks.ledger` as `python -m benchmarks.recording --port N --policy FILE --state FOLDER [--forget]`.
Between the two lies what the ledger costs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from gateway.ledger import Journal
from gateway.settings import Settings
from gateway.trace import Trace
from gateway.worker import Worker


class Forgetful(Journal):
    """A journal that takes no record: nothing is packed, counted or written."""

    def add(self, trace: Trace) -> None:
        """Throw the record away."""


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser("benchmarks.recording")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--forget", action="store_true")
    args = parser.parse_args(argv)
    settings = Settings(port=args.port, policy=args.policy, state=args.state)
    recorder = None if args.forget else _recorder(settings)
    listening = socket.create_server(("127.0.0.1", args.port), backlog=2048)
    worker = Worker(settings, 0, os.environ, journal=Forgetful if args.forget else Journal)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(worker.run(listening))
    finally:
        if recorder is not None:
            recorder.terminate()
            recorder.wait()


def _recorder(settings: Settings) -> subprocess.Popen[bytes]:
    """Start the recorder on the worker's core; in our session, so that its priority counts against the worker's."""
    command = [sys.executable, "-P", "-m", "gateway.recorder", "--state", str(settings.state)]
    return subprocess.Popen([*command, "--parent", str(os.getpid())])


if __name__ == "__main__":
    main()
