"""Plain calls asked as streams and folded back, for engines that notice a lost client only while they stream.

llama.cpp looks whether its client is still there when it sends something; a plain call sends nothing until its end,
so one that nobody waits for keeps its slot for as long as it likes. Asked as a stream it ends with the next token.
"""

from __future__ import annotations

from dataclasses import replace
from time import monotonic

from caching.errors import Unfaithful
from caching.fold import fold
from gateway import sse, wire
from gateway.call import Call, Json, Reply
from gateway.errors import DeadlinePassed, Rejected, UpstreamFailed
from gateway.upstreams.openai import OpenAIUpstream


class Folding:
    """An upstream whose plain answers are made of its streamed ones."""

    def __init__(self, inner: OpenAIUpstream, context: int) -> None:
        """`context` is the engine's, in tokens."""
        self._inner = inner
        self._context = context

    async def __call__(self, call: Call) -> Reply:
        """Answer as the upstream does. A stream that breaks off raises UpstreamFailed: nothing has been said yet."""
        self._check(call)
        if call.wants_stream or call.endpoint == "embeddings" or isinstance(call.json.get("prompt"), list):
            return await self._inner(call)
        asked: Json = {**call.json, "stream": True, "stream_options": {"include_usage": True}}
        reply = await self._inner(replace(call, json=asked, body=wire.dumps(asked)))
        if not reply.is_stream:
            return reply
        try:
            events = [event async for frame in reply.frames for event in sse.events(frame)]
        finally:
            await reply.close()
        attempt = call.trace.attempts[-1]
        if attempt.fault == "deadline":
            raise DeadlinePassed("The call's deadline passed before the answer was whole.")
        if attempt.fault:
            raise UpstreamFailed(f"Upstream '{attempt.upstream}' broke off its answer.", fault=attempt.fault)
        attempt.first_byte = attempt.ended = monotonic()
        chunks = [chunk for event in events if (chunk := sse.json_of(event)) is not None]
        try:
            answer = fold(chunks, strict=False)
        except Unfaithful as error:  # no answer can be made of it at all
            raise UpstreamFailed(
                f"Upstream '{attempt.upstream}' answered what cannot be read.", fault="garbage"
            ) from error
        return Reply(200, {"content-type": "application/json"}, wire.dumps(answer))

    def _check(self, call: Call) -> None:
        """Refuse at once what the engine would refuse after seconds, or answer in a form of its own."""
        messages = call.json.get("messages") or ()
        if len(messages) > self._context:  # a message is a token at least
            raise Rejected(f"{len(messages)} messages do not fit into {self._context} tokens.", status=400)
        prompt = call.json.get("prompt")
        if isinstance(prompt, list) and any(isinstance(part, str | list) for part in prompt) and len(prompt) != 1:
            raise Rejected("This engine takes one prompt a call; send a call for each.", status=400)

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()
