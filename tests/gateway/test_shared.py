"""Replies made of answers that are kept or shared."""

from __future__ import annotations

from time import monotonic

import orjson
import pytest

from caching.errors import Unfaithful
from caching.forms import Answer
from gateway.errors import BadRequest, DeadlinePassed, GatewayError, Rejected, UpstreamFailed
from gateway.shared import broken_event, coalesced, dump_error, hit, load_error, maker, reply_of, spent, with_usage
from gateway.trace import COALESCED, EXACT, Attempt, Source, Trace, Usage
from tests.fakes.stand import errors, events, said
from tests.fakes.stores import START, entry
from tests.gateway.layers.chain import DOCUMENT, asking, read


def trace() -> Trace:
    """A record of a call that has just begun."""
    return Trace("r", 0.0, monotonic())


async def test_the_form_asked_for() -> None:
    """One answer is told as a document or as events, with the usage only where it is wanted."""
    answer = Answer.of_plain(DOCUMENT)
    plain = reply_of(answer, asking())
    assert (plain.headers["content-type"], await read(plain)) == ("application/json", DOCUMENT)
    for usage in (True, False):
        stream = reply_of(answer, asking(stream=True), usage=usage)
        body = await read(stream)
        assert stream.is_stream
        assert (said(body), events(body)[-1], b"prompt_tokens" in body) == ("Hi", "[DONE]", usage)


def test_no_other_form() -> None:
    """An answer that cannot be told in the form asked for is Unfaithful, and the record stays as it was."""
    asked = asking(stream=True)
    odd = entry(answer=Answer.of_plain(b"{}"))
    with pytest.raises(Unfaithful):
        hit(odd, asked, EXACT, START)
    assert asked.trace.source is None


def test_age() -> None:
    """An answer's age is in whole seconds and never negative."""
    for now, age in ((START, 0), (START + 1.9, 1), (START - 3, 0)):
        asked = asking()
        hit(entry(answer=Answer.of_plain(DOCUMENT)), asked, EXACT, now)
        assert (asked.trace.cache, asked.trace.age) == (EXACT, age)
        assert asked.trace.source == Source("small", "local", 42)


def test_maker() -> None:
    """Who made an answer is the last one asked, or whoever made it for the call that is shared."""
    one = trace()
    assert maker(one) == Source("", "")
    one.attempts += [Attempt("a", "m", 0.0), Attempt("b", "n", 0.0)]
    assert maker(one) == Source("n", "b", 0, is_estimated=True)
    one.attempts[-1].usage = Usage(3, 4)
    assert maker(one, 0.25) == Source("n", "b", 7, 4, 0, 0.25)
    coalesced(one, Source("x", "y", 9))
    assert (maker(one), one.cache) == (Source("x", "y", 9), COALESCED)


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}',
        b'data: {"choices": [1]}\n\ndata: {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}\n\ndata: [DONE]\n\n',
        b'data: {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}\n\n',
    ],
)
def test_usage_told_by_the_answer(body: bytes) -> None:
    """Of an answer that another gateway made, the tokens are those that it tells itself."""
    assert with_usage(Source("m", "u"), body) == Source("m", "u", 10, 3)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"usage": 3}', b'data: "usage"\n\n', b'{"usage"'])
def test_no_usage_told(body: bytes) -> None:
    """An answer without a usage leaves the source as it is."""
    assert with_usage(Source("m", "u"), body) == Source("m", "u")


def test_spent() -> None:
    """What an answer took is the time of all attempts."""
    one = trace()
    one.attempts += [Attempt("a", "m", 1.0, ended=2.0), Attempt("b", "m", 2.0, ended=5.5)]
    assert spent(one) == pytest.approx(4.5)


def test_broken_event() -> None:
    """A stream that cannot go on ends in one error event."""
    assert errors(broken_event("words", "cut")) == [
        {"message": "words", "type": "upstream_error", "param": None, "code": "upstream_cut"}
    ]


@pytest.mark.parametrize(
    "error",
    [
        UpstreamFailed("no", fault="http_503", status=503, retry_after=7),
        Rejected("no", status=404),
        BadRequest("no", param="p"),
        DeadlinePassed("late"),
    ],
)
def test_errors_for_other_gateways(error: GatewayError) -> None:
    """A failure told to another gateway is the same there: status, envelope and headers."""
    told = load_error(dump_error(error))
    assert (told.status, told.envelope(), told.headers) == (error.status, error.envelope(), error.headers)
    assert isinstance(told, UpstreamFailed) == isinstance(error, UpstreamFailed)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"[1,2,3,4,5,6,7]", orjson.dumps(["x", *"abcdef"])])
def test_errors_that_cannot_be_read(data: bytes) -> None:
    """What is no failure of ours is told as an answer that broke off."""
    told = load_error(data)
    assert (told.status, told.code) == (502, "upstream_failed")
