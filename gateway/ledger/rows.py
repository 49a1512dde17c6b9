"""A trace as one row of the ledger.

`row` runs once a call, in a thread that shares the interpreter with the event loop, so it is written for speed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from gateway.ledger.story import lines_written, written
from gateway.trace import Bill, Trace, Usage

Value = str | int | float | None
Row = tuple[Value, ...]
Content = tuple[bytes, bytes]  # a request and its answer

COLUMNS = (
    "id", "at", "tenant", "key", "endpoint", "model", "answered_model", "upstream", "rule", "policy",
    "status", "outcome", "streamed", "attempts", "request_bytes", "response_bytes",
    "prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "estimated",
    "total_ms", "first_byte_ms", "upstream_ms", "overhead_ms", "cache", "age_s", "saved_tokens",
    "gateway", "team", "tags", "tier", "cache_write_tokens", "removed_tokens",
    "cost_usd", "baseline_usd", "own_usd", "saved_usd", "basis", "held_out", "lines", "story",
)  # fmt: skip

NAME_LENGTH = 200  # of what a client may have invented (a model, an id); longer names are cut
LATEST = 1e11  # Unix time; a clock that says more, or less than nothing, is not believed
_UNCOUNTED: Final = (None, None, None, None, False)  # tokens that nobody counted are not zero
_UNBILLED: Final = (None, None, 0.0, None, "")
_INTEGER = 2**63 - 1  # SQLite's largest


def row(trace: Trace, now: Callable[[], float] = time.time) -> Row:
    """One call as the values of `COLUMNS`; times in milliseconds, None where something did not happen.

    `now` gives the time of a call whose own time is nonsense.
    """
    attempts, used, origin, bill = trace.attempts, trace.usage, trace.started, trace.bill
    last = attempts[-1] if attempts else None
    source = trace.source
    first = None if trace.first_byte is None else (trace.first_byte - origin) * 1e3
    seen = trace.first_byte or trace.ended or origin
    waited = trace.upstream_seconds(seen) * 1e3 if attempts or trace.waited else 0.0
    tier, cache_write = _rare(used) if used is not None and used.extra is not None else ("", None)
    return (
        trace.id[:NAME_LENGTH],
        trace.at if 0 <= trace.at <= LATEST else now(),
        trace.tenant,
        trace.key,
        trace.endpoint,
        trace.model[:NAME_LENGTH],
        source.model if source else last.model if last and not last.fault else "",
        last.upstream if last else "",
        trace.rule,
        trace.policy,
        trace.status,
        trace.outcome,
        trace.streamed,
        len(attempts),
        trace.request_bytes,
        trace.response_bytes,
        *((used.prompt, used.completion, used.cached, used.reasoning, used.estimated) if used else _UNCOUNTED),
        None if trace.ended is None else (trace.ended - origin) * 1e3,
        first,
        waited,
        None if first is None else max(0.0, first - waited),
        trace.cache,
        trace.age,
        trace.saved_tokens,
        "",
        trace.team,
        f",{','.join(trace.tags)}," if trace.tags else "",
        tier,
        cache_write,
        trace.removed,
        *(_UNBILLED if bill is None else _billed(bill)),
        trace.holdout,
        lines_written(bill),
        written(trace),
    )


def _rare(used: Usage) -> tuple[str, int]:
    """The service tier, and the tokens written to the provider's prefix cache, however long they stay there."""
    extra = used.extra
    return ("", 0) if extra is None else (extra.tier, extra.cache_write + extra.cache_write_1h)


def _billed(bill: Bill) -> tuple[float | None, float | None, float, float | None, str]:
    """Money as it is stored; what is no number is not known, for one of these in a sum would spoil it for ever."""
    sum_of_all = (bill.cost or 0.0) + (bill.baseline or 0.0) + bill.own + (bill.saved or 0.0)
    if sum_of_all - sum_of_all == 0:
        return bill.cost, bill.baseline, bill.own, bill.saved, bill.basis
    cost = _finite(bill.cost)
    basis = "unknown" if cost is None else bill.basis
    return cost, _finite(bill.baseline), _finite(bill.own) or 0.0, _finite(bill.saved), basis


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def cleaned(row: Row) -> Row:
    """The row with what SQLite cannot hold replaced: lone surrogates, numbers over 64 bits, and what is no number."""
    return tuple(_cleaned(value) for value in row)


def _cleaned(value: Value) -> Value:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int):
        return max(-_INTEGER, min(value, _INTEGER))
    return 0.0 if isinstance(value, float) and math.isnan(value) else value  # money was looked at before
