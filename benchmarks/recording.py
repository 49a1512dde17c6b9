"""One data worker by itself, which keeps records as always or throws each away: between the two lies the ledger's cost.

Run by `benchmarks.ledger` as `python -m benchmarks.recording --port N --policy FILE --state FOLDER [--forget]`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import uvloop

from gateway import worker
from gateway.ledger import Journal
from gateway.settings import Settings
from gateway.trace import Trace


class Forgetful(Journal):
    """A journal that takes no record: nothing is converted, counted, summed or written."""

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
    if args.forget:
        worker.Journal = Forgetful  # type: ignore[attr-defined] # a worker makes its own; this process has no other
    settings = Settings(port=args.port, policy=args.policy, state=args.state)
    listening = socket.create_server(("127.0.0.1", args.port), backlog=2048)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(worker.Worker(settings, 0, os.environ).run(listening))


if __name__ == "__main__":
    main()
