"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

STATE = Path(".sluice")
StateOption = Annotated[Path, typer.Option("--state", envvar="SLUICE_STATE", help="The gateway's state folder.")]
RedisOption = Annotated[
    str, typer.Option("--redis-url", envvar="SLUICE_REDIS_URL", help="The Redis that the gateways share, if any.")
]
PolicyOption = Annotated[Path, typer.Option("--policy", envvar="SLUICE_POLICY", help="The policy file.")]
