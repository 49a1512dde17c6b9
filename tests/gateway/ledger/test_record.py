"""Tests of gateway.ledger.record: a trace comes back from its bytes as it was, whatever is in it."""

from __future__ import annotations

from dataclasses import fields, replace
from enum import IntEnum, StrEnum

import pytest

from gateway.ledger.record import BAD_RECORD, pack, unpack
from gateway.ledger.rows import row
from gateway.trace import MISS, Attempt, Bill, Extra, Source, Trace, Usage
from tests.gateway.ledger.traces import answered, hit, refused


class Word(StrEnum):
    """A word that is more than a string."""

    OK = "ok"


class Number(IntEnum):
    """A number that is more than one."""

    TWO = 2


def everything() -> Trace:
    """A trace in which every field says something."""
    rare = Extra(1, 2, 3, 4, 5, 6, "flex", 0.25)
    used = Usage(100, 20, 64, 5, estimated=True, extra=rare)
    failed = Attempt("far", "m", 50.0, fault="http_503", ended=50.01, status=503, usage=Usage(1))
    told = Attempt("own", "m", 50.1, first_byte=50.2, ended=50.3, status=200, usage=used, seconds=0.5)
    return Trace(
        "id", 1.8e9, 50.0, "chat", "acme", "app", "shop", ("a", "b"), "small", "rule", "v1", True, 1, 2, 50.2, 50.3,
        200, "ok", used, [failed, told], [("cache", "miss: ü")], MISS, 7, Source("m", "u", 9, 4, 2, 0.5),
        11, 0.25, "cut", True, True, 13, Bill(1.0, 2.0, 0.25, 0.75, "measured", (("exact", 1.0, "measured"),)),
        None, (b"\xff?", b"!"), None,
    )  # fmt: skip


@pytest.mark.parametrize("trace", [answered(), hit(), refused(), everything()])
def test_a_trace_comes_back(trace: Trace) -> None:
    """All its fields but those that only the worker needs, and the row made of it is the same."""
    found = unpack(pack(trace))
    assert found == replace(trace, span=None, identity=None)
    assert row(found) == row(trace)


def test_no_field_is_forgotten() -> None:
    """The trace above, in which each field differs from its default, would show one that was."""
    trace = everything()
    plain = Trace("", 0.0, 0.0)
    same = [each.name for each in fields(Trace) if getattr(trace, each.name) == getattr(plain, each.name)]
    assert same == ["span", "identity"]


def test_a_usage_that_is_the_calls_own_stays_so() -> None:
    """The story says of such a usage only that it is the call's."""
    found = unpack(pack(answered()))
    assert found.usage is found.attempts[0].usage


def test_values_of_classes_of_their_own_become_plain() -> None:
    """An enumeration in place of a string or a number costs nobody the record."""
    found = unpack(pack(answered(outcome=Word.OK, status=Number.TWO)))
    assert (found.outcome, found.status) == ("ok", 2)
    assert type(found.outcome) is str


def test_what_is_no_value_is_refused() -> None:
    """An object that has no place in a record is an error, and not a pickle."""
    with pytest.raises(BAD_RECORD):
        pack(answered(notes=[(object(), "x")]))


@pytest.mark.parametrize("data", [b"", b"N", b"(\x00\x00\x00\x00", pack(answered())[:-9]])
def test_other_bytes_are_refused(data: bytes) -> None:
    """Half a record is none."""
    with pytest.raises(BAD_RECORD):
        unpack(data)
