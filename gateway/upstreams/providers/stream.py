"""One streamed answer of a provider, from litellm's chunks to OpenAI's server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import orjson

from gateway import sse, wire
from gateway.call import Call
from gateway.errors import envelope
from gateway.trace import Attempt, Usage
from gateway.upstreams.providers import answer as answers
from gateway.upstreams.providers.exchange import Exchange, Patience
from gateway.upstreams.providers.faults import IncompleteError, Verdict


class ProviderStream:
    """The chunks of one answer as frames. `read_first` while another upstream may still be asked, then `frames`."""

    def __init__(self, call: Call, attempt: Attempt, exchange: Exchange, patience: Patience) -> None:
        self._call = call
        self._attempt = attempt
        self._exchange = exchange
        self._patience = patience
        self._source: Any = None
        self._held: list[bytes] = []
        self._said = 0  # bytes of text so far
        self._finished = False
        self._over = False
        self._closed = False

    async def read_first(self, source: Any) -> None:
        """Hold what comes before the first word; a fault up to here is one that failover can mend."""
        self._source = source
        while not self._said and not self._finished:
            frame = await self._next()
            if frame is None:
                raise IncompleteError
            self._held.append(frame)

    async def frames(
        self, judge: Callable[[Exception], Verdict], blame: Callable[[Verdict], str]
    ) -> AsyncIterator[bytes]:
        """Whole events to the end and `[DONE]`, or to one honest error event."""
        try:
            yield b"".join(self._held)
            while True:
                async with self._patience.wait():
                    frame = await self._next()
                if frame is None:
                    break
                if frame:
                    yield frame
            yield sse.DONE
            await self._exchange.drain()  # the library stops reading at the finish reason
        except Exception as error:  # noqa: BLE001 - the library raises anything; the client must be told of it
            if self._closed:
                return
            verdict = judge(error)
            self._attempt.fault = verdict.fault or "garbage"
            yield sse.event(
                envelope(blame(verdict), type="upstream_error", param=None, code=f"upstream_{self._attempt.fault}")
            )
        finally:
            await self.close()

    async def close(self) -> None:
        """Cut the provider off if it still sends, and close the books of the attempt. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if self._attempt.first_byte is not None:
            self._settle()
        try:
            await self._exchange.abort()
        finally:
            inner = self._inner()
            if inner is not None and not self._exchange.asked:  # a connection of the library's own
                await inner.aclose()

    async def _next(self) -> bytes | None:
        """The next frame, b"" for a chunk that is withheld, None at the end. Raises IncompleteError."""
        if self._over:
            return None
        try:
            chunk = answers.document(await anext(self._source))
        except StopAsyncIteration:
            if not self._finished:
                raise IncompleteError from None
            return None
        if answers.finish_of(chunk):
            self._check_finish()
        self._said += answers.text_bytes(chunk) or answers.is_said(chunk)
        return self._frame(chunk)

    def _frame(self, chunk: dict[str, Any]) -> bytes:
        usage = wire.usage_of(chunk)
        if usage is None:
            return sse.event(orjson.dumps(chunk))
        usage.estimated = self._told_usage() is None  # the library counts by itself where a provider gives none
        self._attempt.usage = usage
        if not answers.is_said(chunk):
            # The last thing the library has to say. Asked once more it would only start its log handlers.
            self._over = self._finished
            chunk["choices"] = []
            return sse.event(orjson.dumps(chunk)) if self._asked_for_usage() else b""
        return sse.event(orjson.dumps(chunk if self._asked_for_usage() else answers.without_usage(chunk)))

    def _check_finish(self) -> None:
        """Refuse an end that the library made up: it writes "stop" under a stream that just broke off."""
        inner = self._inner()
        if getattr(inner, "received_finish_reason", "") is None:
            raise IncompleteError
        self._finished = True

    def _inner(self) -> Any:
        """The library's own stream, which it wraps once more for text completions."""
        source = self._source
        return source if hasattr(source, "received_finish_reason") else getattr(source, "completion_stream", None)

    def _told_usage(self) -> Usage | None:
        """The last usage that came from the provider itself."""
        told = [getattr(chunk, "usage", None) for chunk in getattr(self._inner(), "chunks", ())]
        last = next((usage for usage in reversed(told) if usage is not None), None)
        return None if last is None else wire.usage_of({"usage": last.model_dump()})

    def _asked_for_usage(self) -> bool:
        return self._call.keeps_usage or self._call.wants_usage

    def _settle(self) -> None:
        attempt = self._attempt
        attempt.ended = attempt.ended or asyncio.get_running_loop().time()
        if attempt.usage is None and self._exchange.status in (None, 200):
            told = self._told_usage() or Usage(prompt=len(self._call.body) // answers.BYTES_PER_TOKEN)
            spoken = -(-self._said // answers.BYTES_PER_TOKEN)
            attempt.usage = replace(told, completion=max(told.completion, spoken), estimated=True)
