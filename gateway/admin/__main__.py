"""Runs the admin plane in a process of its own: `python -m gateway.admin --state DIR --policy FILE`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import uvicorn

from gateway.admin import REDIS_URL_ENV
from gateway.admin.app import create_app
from gateway.admin.dashboard.site import HELLO
from gateway.admin.policy_keys import PolicyKeys
from gateway.ledger.following import follower
from gateway.logs import Format, set_up
from gateway.processes import prioritize
from gateway.state import State
from policies.loader import LoadedPolicy, load_text

NICE = 10  # calls go first: on a machine whose cores are all busy pages are slower rather than answers
PARENT_SECONDS = 0.5  # between two looks at whether the parent still lives


def main(arguments: list[str] | None = None, environ: Mapping[str, str] = os.environ) -> None:
    """Serve until a signal comes or the parent is gone."""
    given = _parser().parse_args(arguments)
    state, url = State(given.state), environ.get(REDIS_URL_ENV, "")
    set_up("admin", given.log_format, secrets=[state.admin_token()])

    def check(text: str) -> LoadedPolicy:
        return load_text(text, given.policy, environ, given.gguf)

    prioritize(NICE)
    config = uvicorn.Config(
        create_app(
            state,
            given.policy,
            state.admin_token(),
            url,
            check=check,
            policy_keys=PolicyKeys(given.policy, check),
            hello=given.hello,
        ),
        host=given.host,
        port=given.port,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=128,
    )
    copying = follower(given.state, url) if url else None
    if copying is not None:
        copying.start()
    try:
        asyncio.run(_serve(uvicorn.Server(config), given.parent))
    finally:
        if copying is not None:
            copying.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gateway.admin", description="Sluice's admin plane.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8081)
    parser.add_argument("--state", type=Path, required=True, help="the state directory")
    parser.add_argument("--policy", type=Path, required=True, help="the policy file, to show it")
    parser.add_argument("--hello", default=HELLO, help="a line to paste that makes a first call")
    parser.add_argument("--log-format", choices=list(Format), default=Format.TEXT)
    parser.add_argument("--gguf", type=Path, action="append", default=[], help="as given to serve")
    parser.add_argument(
        "--parent", type=int, default=os.getppid(), help="end when this process is no longer the parent"
    )
    return parser


async def _serve(server: uvicorn.Server, parent: int) -> None:
    watch = asyncio.create_task(_leave_with(parent, server))
    try:
        await server.serve()
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch


async def _leave_with(parent: int, server: uvicorn.Server) -> None:
    """End with the parent, even one that was killed: an orphan would hold the port against the next start."""
    while os.getppid() == parent:  # noqa: ASYNC110 - no event tells of a parent's end
        await asyncio.sleep(PARENT_SECONDS)
    server.should_exit = True


if __name__ == "__main__":
    main()
