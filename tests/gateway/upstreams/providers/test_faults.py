"""What went wrong with a provider, and whose fault it is."""

from __future__ import annotations

import time
from email.utils import formatdate

import httpx
import pytest

from gateway.upstreams.providers.exchange import Exchange, Patience
from gateway.upstreams.providers.faults import CANNOT_TRANSLATE, Verdict, by_status, judge, retry_after


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, Verdict("redirect", 502)),
        (400, Verdict("", 400, "no")),
        (401, Verdict("auth", 502)),
        (402, Verdict("http_402", 502, "no")),
        (403, Verdict("auth", 502)),
        (404, Verdict("", 404, "no")),
        (408, Verdict("http_408", 504, "no")),
        (413, Verdict("", 413, "no")),
        (422, Verdict("", 422, "no")),
        (429, Verdict("http_429", 429, "no")),
        (500, Verdict("http_500", 500, "no")),
        (529, Verdict("http_529", 529, "no")),
    ],
)
def test_status_says_whose_fault_it_is(status: int, expected: Verdict) -> None:
    """The client's own mistakes have no fault; our credentials are never quoted."""
    assert by_status(status, "no", {}) == expected


def test_mistake_without_a_message_is_garbage() -> None:
    """A 404 page of HTML comes from a wrong address, not from a client's mistake."""
    assert by_status(404, "", {}).fault == "garbage"


def test_retry_after_in_seconds_and_as_a_date() -> None:
    """Both forms of the header are read; nonsense is none."""
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert 50 < (retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)}) or 0) <= 60
    assert retry_after({"retry-after": formatdate(time.time() - 60, usegmt=True)}) == 0
    for nonsense in ("", "soon", "-1", "1e9", "9" * 30):
        assert retry_after({"retry-after": nonsense}) is None


@pytest.mark.parametrize(
    ("error", "fault", "status"),
    [
        (ImportError("No module named 'google'"), "library", 502),
        (httpx.ConnectError("x"), "connect", 502),
        (ConnectionResetError("x"), "connect", 502),
        (httpx.ReadTimeout("x"), "timeout", 504),
        (KeyError("content"), "", 400),
    ],
)
async def test_faults_before_the_wire_was_used(error: Exception, fault: str, status: int) -> None:
    """Where the library connects by itself its exceptions are read; what cannot be translated is the client's."""
    exchange = Exchange(httpx.MockTransport(lambda _: httpx.Response(200)), 1.0, lambda: None)
    wrapped = RuntimeError("the library's own words, with a traceback")
    wrapped.__cause__ = error
    verdict = judge(wrapped, exchange, Patience(first=1, idle=1, deadline=1e12))
    assert (verdict.fault, verdict.status) == (fault, status)
    assert verdict.said in ("", CANNOT_TRANSLATE)
