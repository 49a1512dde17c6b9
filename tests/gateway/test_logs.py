"""Tests of gateway.logs: one record a line, whatever is in it, and no secret."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.logs import CallLog, JsonLines, TextLines, set_up
from gateway.trace import Bill
from tests.gateway.ledger.traces import answered, hit, refused

HOSTILE = "small\n2026-01-01T00:00:00.000Z ERROR serve forged\r\x1b[2J\x85\u2028\u202e outcome=ok"


def record(message: str, *arguments: object, **fields: Any) -> logging.LogRecord:
    """One record as the library makes it, at a time that is known."""
    made = logging.LogRecord("sluice", logging.INFO, "file", 1, message, arguments, None)
    made.created = 1_800_000_000.25
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def failed(text: str) -> Any:
    """What `exc_info` holds while an exception is handled."""
    try:
        raise ValueError(text)
    except ValueError:
        return sys.exc_info()


@pytest.fixture
def logger() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger of its own that writes JSON into memory."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines("worker-0"))
    own = logging.Logger("sluice.calls")  # not one of the process's
    own.addHandler(handler)
    yield own, stream
    handler.close()


def test_a_text_line() -> None:
    """Time in UTC, level, process, message, and what is known of the call."""
    line = TextLines("worker-0").format(record("policy %s is in force", "v1", request_id="req_1"))
    assert line == "2027-01-15T08:00:00.250Z INFO worker-0 policy v1 is in force request_id=req_1"


def test_a_json_line() -> None:
    """The same as one object."""
    line = JsonLines("serve").format(record("policy %s is in force", "v1", request_id="req_1"))
    assert json.loads(line) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "info",
        "process": "serve",
        "logger": "sluice",
        "message": "policy v1 is in force",
        "request_id": "req_1",
    }


@pytest.mark.parametrize("lines", [TextLines("w"), JsonLines("w")], ids=["text", "json"])
def test_no_name_can_forge_a_line(lines: logging.Formatter) -> None:
    """Newlines, escape sequences and what turns writing round, sent as a model's name, stay in one printable line."""
    for made in (record("model %s", HOSTILE), record("call", fields={"model": HOSTILE})):
        line = lines.format(made)
        assert line.isprintable()
        assert len(line.splitlines()) == 1


@given(st.text(), st.text())
def test_any_text_is_one_line(message: str, value: str) -> None:
    """Whatever the characters: one line, and JSON that reads back."""
    made = record("%s", message, fields={"value": value})
    assert TextLines("w").format(made).isprintable()
    assert "value" in json.loads(JsonLines("w").format(made))


def test_a_value_cannot_pose_as_another_field() -> None:
    """A name with spaces and equals signs in it stands in quotes."""
    line = TextLines("w").format(record("call", fields={"model": "x outcome=ok", "outcome": "cut"}))
    assert line.endswith('call model="x outcome=ok" outcome=cut')


def test_a_traceback_begins_no_record() -> None:
    """Its lines are indented, also where the exception's own text has line ends in it."""
    made = record("it failed", exc_info=failed("bad\n2026-01-01T00:00:00.000Z ERROR serve forged"))
    first, *others = TextLines("w").format(made).splitlines()
    assert first.endswith("it failed")
    assert others
    assert all(line.startswith("    ") for line in others)


def test_a_traceback_is_one_value_of_json() -> None:
    """JSON holds it as text, on the record's own line."""
    line = JsonLines("w").format(record("it failed", exc_info=failed("bad\nthings")))
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("ValueError: bad\nthings")


@pytest.mark.parametrize(
    "text",
    [
        "authorization: Bearer abcdefgh12345678",
        "bearer KEYKEYKEY",
        "Basic dXNlcjpwYXNzd29yZA==",
        "sk-proj-abcdefghijklmnop1234",
        "sk-ant-api03-abcdefghijklmnop",
        "'api_key': 'abcdefgh12345678'",
        "https://host/v1?api_key=abcdefgh12345678&x=1",
        "redis://:hunter2hunter2@redis:6379/0",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA1234567890abcdefghij",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "the admin token is the-admin-token-itself",
    ],
)
@pytest.mark.parametrize("kind", [TextLines, JsonLines])
def test_what_looks_like_a_key_is_struck_out(text: str, kind: type[TextLines | JsonLines]) -> None:
    """In the message, in a field and in an exception's text, whichever library wrote it."""
    lines = kind("w", ["the-admin-token-itself"])
    hidden = (
        "abcdefgh",
        "KEYKEYKEY",
        "dXNlcj",
        "hunter2",
        "IOSFODNN7",
        "SyA12345",
        "c2lnbmF0",
        "the-admin-token-itself",
    )
    for made in (record("%s", text), record("it", fields={"x": text}), record("it", exc_info=failed(text))):
        line = lines.format(made)
        assert "[removed]" in line
        assert not [part for part in hidden if part in line]


@pytest.mark.parametrize(
    "text",
    [
        "policy 3f2a is in force",
        "call req_0123456789ab00000001 failed inside the gateway",
        "task-force-of-the-risk-adjusted-return",
        "sketchingthings skeletonsAndMore hfsomethinglong",
        "ledger: failing: disk full; calls go on",
        "upstream https://api.openai.com:443/v1 timed out",
        "prompt_tokens=100 completion_tokens=20",
    ],
)
def test_plain_words_stay(text: str) -> None:
    """What an operator must read is not taken for a key."""
    assert text in TextLines("w").format(record("%s", text))


def test_a_message_that_does_not_fit_its_arguments_is_still_told() -> None:
    """A fault in a library's logging loses no line."""
    assert "%d of them" in TextLines("w").format(record("%d of them", "two"))


def test_a_call_s_line(logger: tuple[logging.Logger, io.StringIO]) -> None:
    """Who called, what was answered, how long it took and what it cost."""
    own, stream = logger
    CallLog(own)(answered(team="search", bill=Bill(0.003, 0.004, 0.0, 0.001, "measured")))
    told = json.loads(stream.getvalue())
    del told["time"]
    assert told == {
        "level": "info", "process": "worker-0", "logger": "sluice.calls", "message": "call", "request_id": "req_1",
        "tenant": "acme", "team": "search", "key": "app", "endpoint": "chat", "model": "small", "upstream": "local",
        "attempts": 1, "status": 200, "outcome": "ok", "cache": "bypass", "ms": 300.0, "first_byte_ms": 105.0,
        "prompt_tokens": 100, "completion_tokens": 20, "cost_usd": 0.003, "saved_usd": 0.001,
    }  # fmt: skip


def test_calls_that_cost_nothing_known(logger: tuple[logging.Logger, io.StringIO]) -> None:
    """A hit names no upstream; a price that is not known is "unknown"; a call without a bill says nothing of money."""
    own, stream = logger
    log = CallLog(own)
    for trace in (hit(), answered(bill=Bill(None, None, 0.0, None, "unknown")), refused()):
        log(trace)
    found, unknown, wrong = (json.loads(line) for line in stream.getvalue().splitlines())
    assert "upstream" not in found
    assert unknown["cost_usd"] == "unknown"
    assert "cost_usd" not in wrong
    assert wrong["outcome"] == "model_not_found"


def test_a_call_s_line_holds_no_content(logger: tuple[logging.Logger, io.StringIO]) -> None:
    """Not what was asked, not what was answered, not what layers noted."""
    own, stream = logger
    CallLog(own)(answered(content=(b"the prompt", b"the answer"), notes=[("failover", "the note")]))
    assert not [word for word in ("the prompt", "the answer", "the note") if word in stream.getvalue()]


def test_a_process_writes_its_records_so() -> None:
    """Set up once, every logger of the process writes lines to standard error, libraries' too."""
    code = (
        "import logging, gateway.logs as l; l.set_up('worker-1', 'json', secrets=['a-secret-of-ours'])\n"
        "logging.getLogger('some.library').warning('it knows a-secret-of-ours')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = json.loads(run.stderr)
    assert (told["process"], told["logger"]) == ("worker-1", "some.library")
    assert told["message"] == "it knows [removed]"


def test_another_format_is_refused() -> None:
    """A slip in the setting is said, not guessed at."""
    with pytest.raises(ValueError, match="no such format of log lines: xml"):
        set_up("serve", "xml")
