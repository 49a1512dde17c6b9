"""An upstream behind another wire format than OpenAI's, translated by the litellm library.

Laws:

* A client's JSON chooses neither host nor key: only the fields listed in `request.py` become arguments of the
  library, and nothing is fetched on a client's behalf. What cannot be passed on is refused with a 400 that names it.
* One request per call. The library's retries, callbacks, log handlers, printing and tool gateway stay off.
* Before the first word every fault is an `UpstreamFailed`, and another upstream may be asked. After it a fault ends the
  stream with one error event and no `[DONE]`, and nothing is said twice. An end that the library made up is a fault.
* The client's own mistakes (400, 404, 422, ...) go back with their status; the provider's 401 and 403 are ours to mend.
* Whoever leaves cuts the provider off at once. Every wait has a limit: connect, first byte, idle, the call's deadline.
* The key, and every header value from the policy, is removed from whatever the provider says.

Providers in `WIRED` are asked over our own connections, where all of this holds. The library gives no way to do so for
the others: those keep the limits and the allowlist, but it connects by itself, may repeat a POST whose connection
broke, and learns late that a client left. Most of them speak OpenAI's format, and are better given by `url`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import orjson

from gateway.call import Call, Reply
from gateway.errors import DeadlinePassed, GatewayError, UpstreamFailed, envelope
from gateway.trace import Attempt
from gateway.upstreams.estimates import of_answer, of_part
from gateway.upstreams.providers import answer as answers
from gateway.upstreams.providers import library, request
from gateway.upstreams.providers.exchange import Exchange, Patience
from gateway.upstreams.providers.faults import MAX_SAID, IncompleteError, Verdict, judge
from gateway.upstreams.providers.stream import ProviderStream
from gateway.usage import usage_of
from policies.model import Upstream

IDLE_CONNECTION_SECONDS = 4.0  # servers commonly close idle connections after 5 s; ours must go first
WIRED = frozenset(  # held to it by the tests
    {
        "anthropic",
        "azure_ai",
        "bedrock",
        "databricks",
        "deepseek",
        "fireworks_ai",
        "gemini",
        "groq",
        "huggingface",
        "mistral",
        "ollama",
        "ollama_chat",
        "openrouter",
        "snowflake",
        "together_ai",
        "xai",
    }
)
WIRED_EMBEDDINGS = frozenset({"bedrock", "cohere", "jina_ai", "voyage"})
_LIMITS = httpx.Limits(max_connections=1024, max_keepalive_connections=64, keepalive_expiry=IDLE_CONNECTION_SECONDS)
warm_up = library.warm_up  # for whoever imports this module off the event loop; the first call is slow without it
_UNTOLD = ("deadline", "stall", "cut", "timeout")  # ends after which nobody tells what a provider has done
_JSON = {"content-type": "application/json"}
_EVENTS = {"content-type": "text/event-stream; charset=utf-8"}


class ProviderUpstream:
    """A handler that ends a call at one provider. Close it to close its connections."""

    def __init__(
        self,
        name: str,
        settings: Upstream,
        *,
        pool: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if settings.provider is None:
            raise ValueError(f"upstream '{name}' names no provider")
        library.quiet()
        self._name = name
        self._provider = settings.provider
        self._settings = settings
        self._pool = pool or httpx.AsyncHTTPTransport(trust_env=False, retries=0, limits=_LIMITS)
        self._fixed = _fixed(settings)
        self._secrets = _secrets(settings)
        self._closing: asyncio.Task[None] | None = None  # held, or the loop would forget it half-way

    async def __call__(self, call: Call) -> Reply:
        """Ask for `call.targets[0]` and answer in OpenAI's format, or raise a GatewayError."""
        loop = asyncio.get_running_loop()
        model = call.targets[0].model
        keywords = self._keywords(call, model)
        attempt = Attempt(self._name, model, loop.time())
        call.trace.attempts.append(attempt)
        if (span := call.trace.span) is not None:
            told = {"traceparent": span.header(len(call.trace.attempts)).decode()}
            keywords["extra_headers"] = {**keywords.get("extra_headers", {}), **told}
        patience = self._patience(call)
        exchange = Exchange(self._pool, self._settings.timeouts.connect, patience.heard)
        if self._is_wired(call.endpoint):
            keywords["client"] = library.handler_over(exchange)
        try:
            if call.wants_stream and call.endpoint != "embeddings":
                return await self._stream(call, keywords, attempt, exchange, patience)
            return await self._plain(call, keywords, attempt, patience)
        except Exception as error:  # noqa: BLE001 - the library raises anything; it becomes an error of ours
            await exchange.abort()
            verdict = judge(error, exchange, patience)
            if verdict.fault in _UNTOLD:
                self._count(call, attempt, exchange)
            return self._end(attempt, verdict)
        except BaseException:
            self._count(call, attempt, exchange)
            await exchange.abort()  # the client left: the provider must stop at once
            raise
        finally:
            attempt.status = exchange.status
            if attempt.first_byte is None:
                attempt.ended = loop.time()

    def close(self) -> None:
        """Close the connections to the provider, as a task of the running loop: httpx closes only in one."""
        self._closing = asyncio.get_running_loop().create_task(self._pool.aclose())

    async def aclose(self) -> None:
        """Close the connections to the provider and wait until they are."""
        await self._pool.aclose()

    def _is_wired(self, endpoint: str) -> bool:
        return self._provider in (WIRED_EMBEDDINGS if endpoint == "embeddings" else WIRED)

    def _count(self, call: Call, attempt: Attempt, exchange: Exchange) -> None:
        """Estimate what a provider did that was cut off. Of the library's own connections it is not known: it did."""
        is_sent = exchange.is_sent or not self._is_wired(call.endpoint)
        if is_sent and attempt.usage is None and (exchange.status or 200) < 300:
            attempt.usage = of_part(call, 0 if call.wants_stream else exchange.got)

    def _patience(self, call: Call) -> Patience:
        limits = self._settings.timeouts
        first = limits.first_byte if call.wants_stream else limits.answer
        return Patience(first=first, idle=limits.idle, deadline=call.deadline)

    def _keywords(self, call: Call, model: str) -> dict[str, Any]:
        takes = library.takes(self._provider, model, call.endpoint)
        keywords = request.keywords(call.endpoint, call.json, self._provider, takes)
        if call.wants_stream and call.endpoint != "embeddings":
            keywords |= {"stream": True, "stream_options": {"include_usage": True}}
        # Ours is the limit that counts; the library's only has to be longer.
        left = max(0.0, call.deadline - asyncio.get_running_loop().time())
        return {**keywords, **self._fixed, "model": f"{self._provider}/{model}", "timeout": left + 60}

    # Answers

    async def _plain(self, call: Call, keywords: dict[str, Any], attempt: Attempt, patience: Patience) -> Reply:
        async with patience.wait():
            answer = answers.document(await library.ask(call.endpoint, keywords))
        attempt.usage = usage_of(answer)  # before it is judged: what is refused was paid for
        if not answers.is_answer(answer, call.endpoint):
            raise IncompleteError
        attempt.first_byte = attempt.ended = asyncio.get_running_loop().time()
        attempt.usage = of_answer(call, attempt.usage, answer)
        if call.json.get("encoding_format") == "base64" and call.endpoint == "embeddings":
            answer = answers.with_base64(answer)
        return Reply(200, dict(_JSON), orjson.dumps(answer))

    async def _stream(
        self, call: Call, keywords: dict[str, Any], attempt: Attempt, exchange: Exchange, patience: Patience
    ) -> Reply:
        stream = ProviderStream(call, attempt, exchange, patience)
        try:
            async with patience.wait():
                await stream.read_first(await library.ask(call.endpoint, keywords))
        except BaseException:
            await stream.close()
            raise
        patience.begin()
        attempt.first_byte = asyncio.get_running_loop().time()
        frames = stream.frames(lambda error: judge(error, exchange, patience), self._blame)
        return Reply(200, dict(_EVENTS), frames, stream.close)

    # Faults

    def _end(self, attempt: Attempt, verdict: Verdict) -> Reply:
        """Answer a client's own mistake; raise everything else."""
        attempt.fault = verdict.fault
        if not verdict.fault:
            attempt.first_byte = attempt.ended = asyncio.get_running_loop().time()
            said = envelope(self._clean(verdict.said), type="invalid_request_error", param=None, code=None)
            return Reply(verdict.status, dict(_JSON), said)
        raise self._failure(verdict) from None  # its cause holds the prompt, and maybe the key

    def _failure(self, verdict: Verdict) -> GatewayError:
        if verdict.fault == "deadline":
            return DeadlinePassed("The call's deadline passed before an upstream answered.")
        return UpstreamFailed(
            self._blame(verdict), fault=verdict.fault, status=verdict.status, retry_after=verdict.retry_after
        )

    def _blame(self, verdict: Verdict) -> str:
        said = f": {self._clean(verdict.said)}" if verdict.said else ""
        return f"Upstream '{self._name}' {verdict.words}{said}."

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[removed]")
        return text[:MAX_SAID]


def _fixed(settings: Upstream) -> dict[str, Any]:
    """Host, key and headers: arguments that only the policy decides, laid over whatever else is passed."""
    fixed: dict[str, Any] = {}
    if settings.key is not None:
        fixed["api_key"] = settings.key.get_secret_value()
    if settings.base is not None:
        fixed["api_base"] = settings.base
    if settings.headers:
        fixed["extra_headers"] = {name: value.get_secret_value() for name, value in settings.headers.items()}
    return fixed


def _secrets(settings: Upstream) -> tuple[str, ...]:
    values = [settings.key, *settings.headers.values()]
    found = {value.get_secret_value() for value in values if value is not None}
    return tuple(sorted(found - {""}, key=len, reverse=True))
