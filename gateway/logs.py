"""Log lines, as text or as JSON: one record a line, whatever a client writes into a name, and no secret in any.

Nobody logs prompts, answers or keys in the first place. What looks like a key is struck out here all the same: a
library's message or an exception may quote one.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TextIO

from gateway.trace import Trace

REMOVED = "[removed]"
LONGEST = 20_000  # characters of a line's message, and of its exception
SHORTEST_SECRET = 8

_KEYS = re.compile(
    r"""
      (?<![A-Za-z])(?P<scheme>(?i:Bearer|Basic))\s+[^\s"',;]+             # Authorization
    | \b(?:sk|pk|rk|gsk|xai|hf|gh[a-z]|github_pat|glpat|xox[a-z])[-_][A-Za-z0-9_.-]{10,2000}
    | \b(?:AKIA|ASIA|AIza)[A-Za-z0-9_-]{10,200}
    | \beyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{4,2000}\.[A-Za-z0-9_-]*  # a JSON web token
    | (?P<name>(?i:api[_-]?key|token|secret|password|authorization)["']?\s*[=:]\s*["']?)
      (?!(?i:Bearer|Basic))[^\s"',;&}]{6,}
    | (?P<user>://[^\s/:@]{0,200}:)[^\s/@]{1,500}(?=@)                  # a password in an address
    """,
    re.VERBOSE,
)


class Format(StrEnum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


def set_up(
    process: str,
    format: str = Format.TEXT,  # noqa: A002 - the option's name
    *,
    secrets: Iterable[str] = (),
    level: int = logging.INFO,
    stream: TextIO | None = None,
) -> None:
    """Have every log record of this process written as one line to `stream`, standard error by default.

    `process` is its name in the lines; `secrets` are struck out wherever they stand. Raises ValueError for another
    format than "text" or "json".
    """
    if format not in list(Format):
        raise ValueError(f"no such format of log lines: {format}; there are {' and '.join(Format)}")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter((JsonLines if format == Format.JSON else TextLines)(process, secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class Lines(logging.Formatter):
    """What both formats have in common: the parts of a record, without secrets."""

    def __init__(self, process: str, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._process = process
        self._secrets = sorted((each for each in set(secrets) if len(each) >= SHORTEST_SECRET), key=len, reverse=True)

    def _cleaned(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REMOVED)
        return _KEYS.sub(_struck, text[:LONGEST])

    def _message(self, record: logging.LogRecord) -> str:
        try:
            return self._cleaned(record.getMessage())
        except (TypeError, ValueError, KeyError):  # the arguments do not fit the message: still worth a line
            return self._cleaned(str(record.msg))

    def _exception(self, record: logging.LogRecord) -> str:
        if not record.exc_info or record.exc_info[1] is None:
            return ""
        return self._cleaned("".join(traceback.format_exception(record.exc_info[1])).rstrip()[-LONGEST:])

    @staticmethod
    def _time(record: logging.LogRecord) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """What the caller gave in `extra`: "request_id", and "fields" with names of its own."""
        given = getattr(record, "fields", None)
        found: dict[str, Any] = {"request_id": getattr(record, "request_id", None)}
        found.update(given if isinstance(given, Mapping) else {})
        return {
            name: self._cleaned(value) if isinstance(value, str) else value
            for name, value in found.items()
            if value is not None
        }


class TextLines(Lines):
    """Lines for people. A traceback goes on in further lines, which are indented and so begin no record."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        words = [self._time(record), record.levelname, self._process, _printable(self._message(record))]
        words += [f"{name}={_word(value)}" for name, value in self._fields(record).items()]
        lines = [_printable(line) for line in self._exception(record).splitlines()]
        return "\n    ".join([" ".join(words), *lines])


class JsonLines(Lines):
    """One JSON object a line, in ASCII: no character in it ends a line but the last."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        told = {
            "time": self._time(record),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": self._message(record),
            **self._fields(record),
        }
        if exception := self._exception(record):
            told["exception"] = exception
        return json.dumps(told, default=str)


class CallLog:
    """One line for each call that has ended: who, what, how it went and what it cost; no content."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def __call__(self, trace: Trace) -> None:
        """Write it. Not for the event loop: standard error may block."""
        self._logger.info("call", extra={"request_id": trace.id, "fields": _of_call(trace)})


def _of_call(trace: Trace) -> dict[str, Any]:
    usage, bill = trace.usage, trace.bill
    return {
        "tenant": trace.tenant,
        "team": trace.team or None,
        "key": trace.key or None,
        "endpoint": trace.endpoint,
        "model": trace.model[:200],
        "upstream": trace.attempts[-1].upstream if trace.attempts else None,
        "attempts": len(trace.attempts),
        "status": trace.status,
        "outcome": trace.outcome,
        "cache": trace.cache,
        "ms": _ms(trace, trace.ended),
        "first_byte_ms": _ms(trace, trace.first_byte),
        "prompt_tokens": None if usage is None else usage.prompt,
        "completion_tokens": None if usage is None else usage.completion,
        "cost_usd": None if bill is None else "unknown" if bill.cost is None else bill.cost,
        "saved_usd": None if bill is None else bill.saved,
    }


def _ms(trace: Trace, moment: float | None) -> float | None:
    return None if moment is None else round((moment - trace.started) * 1000, 1)


def _struck(found: re.Match[str]) -> str:
    kept = found["scheme"] or found["name"] or found["user"] or ""
    return f"{kept} {REMOVED}" if found["scheme"] else kept + REMOVED


def _printable(text: str) -> str:
    """Text in which nothing ends a line, moves a terminal's cursor or turns its writing round."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _word(value: object) -> str:
    """A value as one word: in quotes where it could be taken for several, or for another field."""
    text = _printable(str(value))
    return text if re.fullmatch(r"[\w./:@+-]+", text) else json.dumps(text, ensure_ascii=False)
