"""Who may call: keys, and the mode without any."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from gateway.auth import Gate, check_json_type, check_local, check_plain_encoding, is_local_name
from gateway.errors import Forbidden, NotJsonType, Unauthorized
from policies.model import Key

FIRST, SECOND = "first-0123456789abcdef", "second-0123456789abcdef"


def gate() -> Gate:
    """A gate with two keys."""
    keys = [
        Key(name="first", key=SecretStr(FIRST), tenant="acme"),
        Key(name="second", key=SecretStr(SECOND), tenant="bolt", models=["gpt-*", "exact"]),
    ]
    return Gate(keys, ["gpt-4o", "gpt-4", "exact", "exactly", "claude"])


def test_callers() -> None:
    """A key stands for its tenant and its models; its globs mean the models of the policy."""
    first = gate().admit({b"authorization": f"Bearer {FIRST}".encode()})
    second = gate().admit({b"authorization": f"BEARER   {SECOND}".encode()})
    assert (first.tenant, first.key, first.may_use("claude")) == ("acme", "first", True)
    assert second.models == frozenset({"gpt-4o", "gpt-4", "exact"})


@given(st.binary(max_size=60))
def test_nothing_else_opens(shown: bytes) -> None:
    """Whatever else is shown is refused, and never repeated."""
    with pytest.raises(Unauthorized) as told:
        gate().admit({b"authorization": shown})
    assert FIRST not in told.value.message


@pytest.mark.parametrize(
    ("host", "local"),
    [
        (b"localhost", True),
        (b"LOCALHOST:8080", True),
        (b"app.localhost", True),
        (b"127.0.0.1:8080", True),
        (b"127.9.9.9", True),
        (b"[::1]:8080", True),
        (b"0.0.0.0", False),
        (b"192.168.1.1", False),
        (b"localhost.evil.example", False),
        (b"127.0.0.1.evil.example", False),
        (b"evil.example", False),
        (b"[::2]", False),
        (b"[::1", True),
        (b"", False),
        (b"\xff", False),
    ],
)
def test_local_hosts(host: bytes, *, local: bool) -> None:
    """Without keys the Host must name this machine, and a caller is tenant `local`."""
    keyless = Gate([], ["m"])
    if local:
        assert keyless.admit({b"host": host}).tenant == "local"
    else:
        with pytest.raises(Forbidden):
            keyless.admit({b"host": host})


def test_no_host() -> None:
    """A request without a Host names nobody."""
    with pytest.raises(Forbidden):
        check_local({})


@pytest.mark.parametrize("kind", [b"", b"text/plain", b"application/x-www-form-urlencoded", b"application/jsonp"])
def test_types_a_browser_may_send_unasked(kind: bytes) -> None:
    """What a browser sends across sites without asking first is refused."""
    with pytest.raises(NotJsonType):
        check_json_type({b"content-type": kind})


@pytest.mark.parametrize("kind", [b"application/json", b"Application/JSON; charset=utf-8", b"application/x+json"])
def test_json_types(kind: bytes) -> None:
    """JSON is JSON, with or without its parameters."""
    check_json_type({b"content-type": kind})


@given(st.text(max_size=30))
def test_local_names_never_raise(host: str) -> None:
    """Any text can be asked about."""
    assert is_local_name(host) in (True, False)


def test_compressed_bodies_are_refused() -> None:
    """A compressed body is refused by name; an identity encoding is none."""
    check_plain_encoding({b"content-encoding": b"identity"})
    with pytest.raises(NotJsonType, match="Content-Encoding"):
        check_plain_encoding({b"content-encoding": b"gzip"})
