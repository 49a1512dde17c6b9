"""Explain: the layers that a given call would pass under a policy, and why, without making the call."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from gateway.call import Caller
from gateway.errors import GatewayError
from gateway.runtime import Runtime
from gateway.settings import WEIGHTS
from policies.loader import LoadedPolicy
from policies.model import ENDPOINTS


def explain(loaded: LoadedPolicy, model: str, tenant: str, endpoint: str) -> str:
    """The pipeline of one kind of call, a layer a line. Raises ValueError with the reason if it would be refused."""
    if endpoint not in ENDPOINTS:
        raise ValueError(f"There is no endpoint '{endpoint}'; there are {', '.join(ENDPOINTS)}.")
    return asyncio.run(_explain(replace(loaded, path=loaded.path.absolute()), model, tenant, endpoint))


async def _explain(loaded: LoadedPolicy, model: str, tenant: str, endpoint: str) -> str:
    with TemporaryDirectory() as state:
        runtime = Runtime(Path(state), WEIGHTS)
        await runtime.load(loaded)
        try:
            way = runtime.pipeline.way(Caller(tenant), model, endpoint)
        except GatewayError as error:
            raise ValueError(error.message) from error
        finally:
            runtime.close()
    width = max(len(step.name) for step in way.steps)
    lines = [
        f"policy {loaded.version} ({loaded.path})",
        f"rule   {way.rule.name}: at most {way.rule.timeouts.total:g} s for the whole call",
        "",
        *(f"  {number}. {step.name:<{width}}  {step.why}" for number, step in enumerate(way.steps, 1)),
        f"  {len(way.steps) + 1}. {'upstream':<{width}}  asked, judged, and passed on",
    ]
    return "\n".join(lines)
