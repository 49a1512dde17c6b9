"""What went wrong with a provider, and whose fault it is: told by the wire, and by the library where it has its own.

A verdict without a fault is the client's own mistake: another upstream would say the same, so none is asked.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from gateway import wire
from gateway.upstreams.providers.exchange import Exchange, Patience

MAX_SAID = 500
CANNOT_TRANSLATE = "The request cannot be put into this provider's format."
WORDS = {
    "auth": "refused our credentials",
    "connect": "could not be reached",
    "cut": "broke off its answer",
    "deadline": "was too slow for the call's deadline",
    "error_in_stream": "sent an error instead of an answer",
    "garbage": "answered what cannot be read",
    "library": "cannot be asked: litellm lacks a package that this provider needs",
    "redirect": "answered with a redirect",
    "stall": "fell silent",
    "timeout": "did not answer in time",
    "tls": "failed the TLS handshake",
}
_NOT_THE_CLIENT = (402, 407)  # our bill, our proxy
_STATUS = {"timeout": 504, "stall": 504, "deadline": 504}


class IncompleteError(Exception):
    """A stream ended before the provider said that its answer was whole."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`fault` is "" for the client's own mistake; `said` is the provider's message, not yet cleaned of secrets."""

    fault: str
    status: int
    said: str = ""
    retry_after: float | None = None

    @property
    def words(self) -> str:
        """What the upstream did, in words."""
        return WORDS.get(self.fault) or f"answered {self.status}"


def judge(error: Exception, exchange: Exchange, patience: Patience) -> Verdict:
    """Say what an exception out of the library means."""
    if patience.ran_out:
        return _fault(patience.fault)
    if not exchange.asked:
        return _by_library(error)
    if exchange.fault:
        return _fault(exchange.fault)
    if exchange.status is not None and exchange.status >= 300:
        return by_status(exchange.status, _message(exchange.said), exchange.headers)
    return _of_answer(error, exchange)


def _of_answer(error: Exception, exchange: Exchange) -> Verdict:
    """The provider answered 200 and the library could not read it to its end."""
    if not exchange.is_stream:
        return _fault("garbage")
    if isinstance(error, IncompleteError):
        return _fault("cut")
    told = next((one for one in _chain(error) if _is_told(one)), None)
    return _fault("garbage") if told is None else Verdict("error_in_stream", 502, str(getattr(told, "message", "")))


def by_status(status: int, said: str, headers: Mapping[str, str]) -> Verdict:
    """Say what an HTTP status of a provider means."""
    if 300 <= status < 400:
        return _fault("redirect")
    if status in (401, 403):  # the client's key is not at fault, and the provider may quote ours
        return _fault("auth")
    if status in (408, 429) or status >= 500:
        return Verdict(f"http_{status}", 504 if status == 408 else status, said, retry_after(headers))
    if status in _NOT_THE_CLIENT:
        return Verdict(f"http_{status}", 502, said)
    return Verdict("", status, said) if said else _fault("garbage")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from a `retry-after` header in seconds or as a date (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    try:
        if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
            return float(value)
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time()) if value else None
    except (ValueError, OverflowError):
        return None


def _by_library(error: Exception) -> Verdict:
    """The wire below was not used: the request could not be translated, or the library has a connection of its own."""
    errors = list(_chain(error))
    status = getattr(error, "status_code", None)
    if any(isinstance(one, ImportError) for one in errors):
        return _fault("library")
    if any(isinstance(one, httpx.TimeoutException | TimeoutError) for one in errors):
        return _fault("timeout")
    if any(isinstance(one, httpx.TransportError | OSError) for one in errors):
        return _fault("connect")
    answered = any(isinstance(one, httpx.HTTPStatusError) for one in errors)
    if isinstance(status, int) and (answered or status in (401, 403, 408, 429)):
        headers = getattr(getattr(error, "response", None), "headers", None)
        return by_status(status, CANNOT_TRANSLATE, headers or {})
    return Verdict("", 400, CANNOT_TRANSLATE)


def _fault(fault: str) -> Verdict:
    return Verdict(fault, _STATUS.get(fault, 502))


def _message(body: bytes) -> str:
    """The message inside an error of any provider: `{"error": {"message"}}`, `{"error": ""}` or `{"message"}`."""
    answer = wire.parse_answer(body) or {}
    error: Any = wire.error_of(answer) or answer
    return str(error.get("message") or "")[:MAX_SAID]


def _is_told(error: BaseException) -> bool:
    """Say whether the library raised this because the provider said so inside its answer, not because it broke."""
    return type(error).__name__.endswith("Error") and any(
        base.__name__ == "BaseLLMException" for base in type(error).__mro__
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and everything it came from; the library keeps some causes in an attribute of its own."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        original = getattr(one, "original_exception", None)
        todo += [one.__context__, one.__cause__, original if isinstance(original, BaseException) else None]
