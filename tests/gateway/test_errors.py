"""Errors: each has its status and code, and one envelope."""

from __future__ import annotations

import inspect
import re

import orjson
import pytest

from gateway import errors
from gateway.errors import GatewayError, UpstreamFailed

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, GatewayError)]


OWN_STATUS = {"UpstreamFailed": "502", "Rejected": "4xx"}  # those that are told their status


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.__name__ not in OWN_STATUS])
def test_envelope(kind: type[GatewayError]) -> None:
    """Every error says what it is in OpenAI's envelope."""
    error = kind("what happened", param="p")
    told = orjson.loads(error.envelope())["error"]
    assert told == {"message": "what happened", "type": kind.type, "param": "p", "code": kind.code}
    assert 400 <= error.status < 600


def test_codes_are_distinct() -> None:
    """No two errors that have a code of their own have the same."""
    codes = [kind.code for kind in KINDS if "code" in vars(kind)]
    assert len(codes) == len(set(codes))


def test_the_tree_is_drawn_as_it_is() -> None:
    """The tree at the top of the module names every error of it with its status."""
    drawn = dict(re.findall(r"── (\w+) +(\w{3})", errors.__doc__ or ""))
    for kind in KINDS:
        if kind is not GatewayError:
            assert drawn[kind.__name__] == OWN_STATUS.get(kind.__name__, str(kind.status))


@pytest.mark.parametrize(("seconds", "told"), [(None, None), (0.0, "0"), (0.2, "1"), (7.0, "7"), (7.1, "8")])
def test_retry_after(seconds: float | None, told: str | None) -> None:
    """A client is told to come again in whole seconds, never too early."""
    assert UpstreamFailed("x", fault="f", retry_after=seconds).headers.get("retry-after") == told
