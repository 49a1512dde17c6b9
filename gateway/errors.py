"""Every way a call can fail, each with its status and code, in OpenAI's envelope.

GatewayError
├── BadRequest             400   what the client sent cannot be understood
│   ├── TooLarge           413
│   ├── HeadersTooLarge    431
│   ├── TooSlow            408   the client did not finish sending in time
│   ├── NotJsonType        415
│   └── Rejected           4xx   an upstream says so inside a 200; its code becomes the status
├── Unauthorized           401
├── Forbidden              403   known caller, not allowed
├── UnknownModel           404   names the models that exist
├── NoSuchPath             404
├── NoSuchMethod           405
├── DeadlinePassed         504   the call's own deadline, not an upstream's fault
├── NotCached              504   only a cached answer was wanted, and there is none
├── Draining               503   the drain time is over and the call is not
├── LedgerUnavailable      503   (gateway.ledger) the admin plane cannot read the ledger
├── TooManyTries           429   (gateway.admin) too many wrong tokens from one address
├── NoSuchRecord           404   (gateway.admin) no call of this id is recorded
├── CacheUnavailable       503   (gateway.admin) the store of answers cannot be had
├── KeysUnavailable        503   (gateway.admin) the issued keys cannot be had
├── KeyExists              409   (gateway.admin) another key has this name
├── NoSuchKey              404   (gateway.admin) no issued key has this name
├── UnknownVersion         404   (gateway.admin) no version of the policy has this id or name
├── NotRestored            409   (gateway.admin) a version of the policy cannot be put back
├── HistoryUnavailable     503   (gateway.admin) the policy's history cannot be read
└── UpstreamFailed         502   one upstream's fault, by kind; 429 and 5xx keep their real status
"""

from __future__ import annotations

import math

import orjson


class GatewayError(Exception):
    """A failure the client is told of. `code` is stable; `message` is for people and holds no secret."""

    status = 500
    code = "internal_error"
    type = "server_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers: dict[str, str] = {}

    def envelope(self) -> bytes:
        """The body the client gets."""
        return envelope(self.message, type=self.type, param=self.param, code=self.code)


def envelope(message: str, *, type: str, param: str | None, code: str | None) -> bytes:  # noqa: A002 - OpenAI's word
    """OpenAI's error envelope as JSON bytes."""
    return orjson.dumps({"error": {"message": message, "type": type, "param": param, "code": code}})


class BadRequest(GatewayError):
    """The request cannot be understood."""

    status, code, type = 400, "invalid_request", "invalid_request_error"


class TooLarge(BadRequest):
    """The body is over the limit."""

    status, code = 413, "request_too_large"


class HeadersTooLarge(BadRequest):
    """The headers are over the limit."""

    status, code = 431, "headers_too_large"


class TooSlow(BadRequest):
    """The client did not finish sending its request in time."""

    status, code = 408, "request_timeout"


class NotJsonType(BadRequest):
    """The content type is not JSON."""

    status, code = 415, "unsupported_content_type"


class Rejected(BadRequest):
    """The upstream judged the request wrong, but said so in the body of a 200."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class Unauthorized(GatewayError):
    """No key, or one that is not known."""

    status, code, type = 401, "invalid_api_key", "authentication_error"


class Forbidden(GatewayError):
    """A known caller asks for what is not allowed."""

    status, code, type = 403, "forbidden", "permission_error"


class UnknownModel(GatewayError):
    """No such model for this caller."""

    status, code, type = 404, "model_not_found", "invalid_request_error"


class NoSuchPath(GatewayError):
    """No such path."""

    status, code, type = 404, "unknown_url", "invalid_request_error"


class NoSuchMethod(GatewayError):
    """The path exists, the method does not."""

    status, code, type = 405, "method_not_allowed", "invalid_request_error"


class DeadlinePassed(GatewayError):
    """The call's own deadline passed before an upstream began to answer."""

    status, code, type = 504, "deadline_exceeded", "timeout_error"


class NotCached(GatewayError):
    """The caller wanted an answer from the cache or none (RFC 9111, `only-if-cached`)."""

    status, code, type = 504, "not_cached", "invalid_request_error"


class Draining(GatewayError):
    """The gateway goes down and the time to finish this call is over."""

    status, code = 503, "draining"


class UpstreamFailed(GatewayError):
    """One upstream failed before the first byte of its answer; another may be asked.

    `fault` names the kind ("connect", "timeout", "http_500", "garbage", "redirect", "tls", "wrong_model", ...);
    `retry_after` is in seconds, finite and not negative, where the upstream gave it.
    """

    code, type = "upstream_failed", "upstream_error"

    def __init__(self, message: str, *, fault: str, status: int = 502, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.fault = fault
        self.status = status
        self.retry_after = retry_after
        if retry_after is not None:
            self.headers["retry-after"] = str(math.ceil(retry_after))  # never too early
