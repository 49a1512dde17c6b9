"""Who may call: keys, and the mode without any."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from gateway.auth import Gate, check_json_type, check_local, check_plain_encoding, is_local_name
from gateway.errors import Forbidden, NotJsonType, Unauthorized
from gateway.keys.record import IssuedKey, issue
from policies.model import Key

FIRST, SECOND = "first-0123456789abcdef", "second-0123456789abcdef"
ISSUED = "sk-sluice-issued-0123456789"
NOW = 1_800_000_000.0


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


def bearer(key: str) -> dict[bytes, bytes]:
    """The headers of one who shows this key."""
    return {b"authorization": f"Bearer {key}".encode()}


def issued(secret: str = ISSUED, **fields: Any) -> IssuedKey:
    """An issued key of tenant acme."""
    return issue(secret, NOW, **{"name": "app", "tenant": "acme", **fields})


def test_keys_by_digest() -> None:
    """A policy key given by its digest opens as one given by itself, with its team and tags."""
    digest = "sha256:" + hashlib.sha256(FIRST.encode()).hexdigest()
    opened = Gate([Key(name="k", hash=digest, tenant="acme", team="shop", tags=["a"])], ["m"])
    caller = opened.admit(bearer(FIRST))
    assert (caller.tenant, caller.key, caller.team, caller.tags) == ("acme", "k", "shop", ("a",))


def test_issued_callers() -> None:
    """An issued key stands for its tenant, team and tags, and its globs mean the models of the policy."""
    opened = Gate([], ["gpt-4o", "claude"], [issued(team="shop", tags=("a", "b"), models=("gpt-*",))])
    for _ in range(2):  # as a stranger, then remembered
        caller = opened.admit(bearer(ISSUED))
        assert (caller.tenant, caller.key, caller.team, caller.tags) == ("acme", "app", "shop", ("a", "b"))
        assert caller.models == frozenset({"gpt-4o"})
    assert not opened.is_keyless


def test_expiry_is_looked_at_on_each_call() -> None:
    """A remembered caller is refused from the moment its key ends, and told so; a stranger is not told of it."""
    now = [NOW]
    opened = Gate([], ["m"], [issued(lifetime=60), issued(FIRST, name="other")], clock=lambda: now[0])
    opened.admit(bearer(ISSUED))
    now[0] = NOW + 59.9
    opened.admit(bearer(ISSUED))
    now[0] = NOW + 60
    with pytest.raises(Unauthorized, match="expired"):
        opened.admit(bearer(ISSUED))
    with pytest.raises(Unauthorized, match="not known"):
        opened.admit(bearer(SECOND))
    assert opened.admit(bearer(FIRST)).key == "other"
    now[0] = NOW  # a clock that was set right again
    assert opened.admit(bearer(ISSUED)).key == "app"


def test_revoked_and_unknown_look_alike() -> None:
    """A revoked key and one that never was get the same words."""
    opened = Gate([], ["m"], [issued().model_copy(update={"revoked": NOW})])
    told = []
    for key in (ISSUED, SECOND):
        with pytest.raises(Unauthorized) as refusal:
            opened.admit(bearer(key))
        told.append(refusal.value.message)
    assert told[0] == told[1] == "This key is not known: there is none like it, or it was revoked."


def test_the_policy_wins() -> None:
    """An issued key with the name of one of the policy opens nothing, and with its secret the policy's is meant."""
    policy = [Key(name="app", key=SecretStr(FIRST), tenant="bolt")]
    opened = Gate(policy, ["m"], [issued(), issued(FIRST, name="same", tenant="acme")])
    with pytest.raises(Unauthorized):
        opened.admit(bearer(ISSUED))
    assert opened.admit(bearer(FIRST)).tenant == "bolt"
    assert opened.shadowed == ("app",)


def test_two_issued_keys_of_one_name() -> None:
    """After an outage two may bear one name; each stands for its own tenant."""
    opened = Gate([], ["m"], [issued(), issued(FIRST, tenant="bolt")])
    assert [opened.admit(bearer(key)).tenant for key in (ISSUED, FIRST)] == ["acme", "bolt"]


@pytest.mark.parametrize("keys", [[], [issued().model_copy(update={"revoked": NOW})]])
def test_a_gateway_that_had_keys_is_never_keyless(keys: list[IssuedKey]) -> None:
    """When the last key is revoked, or the keys cannot be read, a local caller without one is refused."""
    opened = Gate([], ["m"], keys, had_keys=True)
    assert not opened.is_keyless
    with pytest.raises(Unauthorized):
        opened.admit({b"host": b"localhost"})


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
