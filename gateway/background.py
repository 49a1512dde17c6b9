"""Calls that no caller waits for: an answer that has grown stale is asked for anew behind the one who got it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from time import monotonic, time

from gateway.call import Call, Handler
from gateway.errors import GatewayError
from gateway.trace import MISS, REFRESH, Bill, Trace

log = logging.getLogger("sluice")


class Background:
    """Runs such calls to their end and has a record of each written. One a pipeline, which they keep alive."""

    def __init__(
        self,
        record: Callable[[Trace], None],
        begin: Callable[[], None],
        end: Callable[[], None],
        bill: Callable[[Trace], Bill],
    ) -> None:
        """`begin` and `end` are told of every call, and `bill` says what it cost."""
        self._record = record
        self._bill = bill
        self._begin = begin
        self._end = end
        self._tasks: dict[bytes, asyncio.Task[None]] = {}  # by the call's key: one refresh of an answer at a time

    def refresh(self, call: Call, handler: Handler) -> None:
        """Have the call answered by this handler once more, unless that is being done already."""
        if call.identity is None or call.identity.key in self._tasks:
            return
        key = call.identity.key
        task = asyncio.get_running_loop().create_task(self._run(call, handler))
        self._tasks[key] = task
        self._begin()
        task.add_done_callback(lambda _: self._done(key))

    def cancel(self) -> None:
        """Give up whatever is under way."""
        for task in self._tasks.values():
            task.cancel()

    def _done(self, key: bytes) -> None:
        del self._tasks[key]
        self._end()

    async def _run(self, call: Call, handler: Handler) -> None:
        trace = _trace(call.trace)
        patience = call.deadline - call.trace.started
        try:
            await _read(replace(call, trace=trace, presence=None, deadline=trace.started + patience), handler)
        except GatewayError as error:
            trace.status, trace.outcome = error.status, error.code
        except asyncio.CancelledError:
            trace.outcome = "cancelled"
            raise
        except Exception:  # a fault of our own, as in an exchange: nobody else would hear of it
            log.exception("the refresh behind call %s failed inside the gateway", call.trace.id)
            trace.outcome = "internal_error"
        finally:
            self._close_books(trace)

    def _close_books(self, trace: Trace) -> None:
        trace.ended = monotonic()
        if trace.attempts:
            trace.usage = trace.attempts[-1].usage
        trace.outcome = trace.outcome or ("refreshed" if trace.is_whole else "not_refreshed")
        trace.cache = REFRESH
        trace.bill = self._bill(trace)
        self._record(trace)


async def _read(call: Call, handler: Handler) -> None:
    reply = await handler(call)
    call.trace.status = reply.status
    try:
        size = 0
        async for frame in reply.frames:
            size += len(frame)
        call.trace.response_bytes = size
    finally:
        await reply.close()


def _trace(behind: Trace) -> Trace:
    """A record of its own: it costs tokens that the caller did not wait for."""
    return Trace(
        id=f"{behind.id}-refresh",
        at=time(),
        started=monotonic(),
        endpoint=behind.endpoint,
        tenant=behind.tenant,
        key=behind.key,
        model=behind.model,
        rule=behind.rule,
        policy=behind.policy,
        streamed=behind.streamed,
        request_bytes=behind.request_bytes,
        team=behind.team,
        tags=behind.tags,
        cache=MISS,
        holdout=behind.holdout,
        serves_nobody=True,
    )
