"""One streamed answer of a provider, from litellm's chunks to OpenAI's server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import orjson

from gateway import sse
from gateway.call import Call
from gateway.errors import envelope
from gateway.trace import Attempt, Extra, Usage
from gateway.upstreams.estimates import completed, prompt_tokens, tokens_in
from gateway.upstreams.providers import answer as answers
from gateway.upstreams.providers.exchange import Exchange, Patience
from gateway.upstreams.providers.faults import IncompleteError, Verdict
from gateway.usage import usage_of


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
        usage = usage_of(chunk)
        if usage is not None:
            self._attempt.usage = self._as_told(usage)
        elif not isinstance(chunk.get("usage"), dict):
            return sse.event(orjson.dumps(chunk))
        if not answers.is_said(chunk):
            # The last thing the library has to say. Asked once more it would only start its log handlers.
            self._over = self._finished
            chunk["choices"] = []
            return sse.event(orjson.dumps(chunk)) if self._asked_for_usage() else b""
        return sse.event(orjson.dumps(chunk if self._asked_for_usage() else answers.without_usage(chunk)))

    def _check_finish(self) -> None:
        """Refuse an end that the library made up: it writes "stop" under a stream that just broke off."""
        inner = self._inner()
        # Of Gemini the library has a reason in the second place alone, and one in every chunk: what breaks off on the
        # wire is seen there.
        places = ("received_finish_reason", "intermittent_finish_reason")
        if all(getattr(inner, place, "") is None for place in places):
            raise IncompleteError
        self._finished = True

    def _inner(self) -> Any:
        """The library's own stream, which it wraps once more for text completions."""
        source = self._source
        return source if hasattr(source, "received_finish_reason") else getattr(source, "completion_stream", None)

    def _told_usage(self) -> Usage | None:
        """The last usage that came from the provider itself."""
        chunks = reversed(getattr(self._inner(), "chunks", ()))
        last = next((usage for chunk in chunks if (usage := getattr(chunk, "usage", None)) is not None), None)
        return None if last is None else usage_of({"usage": last.model_dump()})

    def _as_told(self, usage: Usage) -> Usage:
        """The library's sum of a stream as far as the provider told it.

        The library counts by itself where a provider gives no usage, puts a price of its own into every stream's, and
        leaves out prefix cache reads that are told in another word than OpenAI's.
        """
        told = self._told_usage()
        if told is None:
            return replace(usage, extra=None, estimated=True)
        extra = replace(usage.extra or Extra(), usd=told.extra.usd if told.extra is not None else None)
        cached = min(usage.cached or told.cached, usage.prompt)
        return replace(usage, cached=cached, extra=None if extra == Extra() else extra)

    def _asked_for_usage(self) -> bool:
        return self._call.keeps_usage or self._call.wants_usage

    def _settle(self) -> None:
        attempt = self._attempt
        attempt.ended = attempt.ended or asyncio.get_running_loop().time()
        spoken = tokens_in(self._said)
        if attempt.usage is not None:
            attempt.usage = completed(self._call, attempt.usage, spoken)
        elif self._exchange.status in (None, 200):
            told = self._told_usage() or Usage(prompt=prompt_tokens(self._call.body))
            attempt.usage = replace(told, completion=max(told.completion, spoken), estimated=True)
