"""Traces as a worker would leave them, for the tests of what is done with them."""

from __future__ import annotations

from typing import Any

from gateway.trace import EXACT, Attempt, Source, Trace, Usage


def answered(id: str = "req_1", at: float = 1_800_000_000.0, **fields: Any) -> Trace:  # noqa: A002 - the field's name
    """A plain call that took 300 ms: 10 ms of ours until the upstream's byte after 90, and 5 ms more."""
    used = Usage(prompt=100, completion=20, cached=64, reasoning=5)
    asked = Attempt("local", "small-q8", started=50.010, first_byte=50.100, ended=50.290, status=200, usage=used)
    trace = Trace(
        id=id,
        at=at,
        started=50.0,
        endpoint="chat",
        tenant="acme",
        key="app",
        model="small",
        rule="default",
        policy="v1",
        request_bytes=1700,
        response_bytes=900,
        first_byte=50.105,
        ended=50.3,
        status=200,
        outcome="ok",
        usage=used,
        attempts=[asked],
        notes=[("failover", "local answered")],
    )
    for name, value in fields.items():
        setattr(trace, name, value)
    return trace


def hit(id: str = "req_3", **fields: Any) -> Trace:  # noqa: A002 - the field's name
    """The same call answered from the cache within a millisecond, half a minute after its answer was made."""
    source = Source("small-q8", "local", tokens=120)
    served: dict[str, Any] = {"first_byte": 50.001, "ended": 50.001, "attempts": [], "notes": []}
    return answered(id, **{**served, "cache": EXACT, "age": 30, "source": source, **fields})


def refused(id: str = "req_2", model: str = "no-such-model") -> Trace:  # noqa: A002 - the field's name
    """A call for a model that the policy does not know: no rule, no upstream, no tokens."""
    return Trace(
        id=id, at=1_800_000_001.0, started=60.0, endpoint="chat", tenant="acme", key="app", model=model,
        policy="v1", first_byte=60.001, ended=60.001, status=404, outcome="model_not_found",
    )  # fmt: skip
