"""Tests of gateway.admin.dashboard.keyring: keys that were issued beside those of the policy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from gateway.admin.dashboard.data import KeyOrder
from gateway.admin.dashboard.keyring import IssuedKeys, could_match
from gateway.errors import BadRequest, GatewayError
from gateway.keys.registry import opened
from gateway.keys.store import Decision, KeyExists, KeyStore, Snapshot
from policies.model import Key

NOW = 1_800_000_000.0
OF_POLICY = Key(name="file", tenant="acme", hash="sha256:" + "0" * 64, tags=["ops"])


def keys(folder: Path, *of_policy: Key) -> IssuedKeys:
    """Over an empty state directory."""
    return IssuedKeys(partial(opened, folder, ""), lambda: of_policy, lambda: NOW)


def test_a_key_is_made_and_revoked(tmp_path: Path) -> None:
    """It is listed without its secret, with its tags, globs and end."""
    ring = keys(tmp_path)
    secret = ring.create(KeyOrder("job", "acme", models=("gpt-*",), tags=("nightly",), expires_in="30d"))
    [key] = ring.list()["keys"]
    assert (key["name"], key["tenant"], key["team"], key["state"]) == ("job", "acme", None, "living")
    assert (list(key["models"]), list(key["tags"])) == (["gpt-*"], ["nightly"])
    assert key["expires"] == NOW + 30 * 86_400
    assert secret not in str(key)
    ring.revoke("job")
    assert ring.list()["keys"][0]["state"] == "revoked"
    with pytest.raises(GatewayError):
        ring.revoke("nobody")


@pytest.mark.parametrize(
    ("order", "about"),
    [
        (KeyOrder("", "acme"), "name"),
        (KeyOrder("job", ""), "tenant"),
        (KeyOrder("job", "acme", tags=("\n",)), "tags"),
        (KeyOrder("job", "acme", expires_in="soon"), "expires"),
        (KeyOrder("job", "acme", expires_in="0"), "expires"),
        (KeyOrder("job", "acme", models=("gpt-[5",)), "models"),
        (KeyOrder("job", "acme", models=("gpt-*", "[z-a]")), "models"),
    ],
)
def test_what_no_key_can_be(tmp_path: Path, order: KeyOrder, about: str) -> None:
    """It is refused with the field that is wrong, and nothing is made."""
    ring = keys(tmp_path)
    with pytest.raises(BadRequest, match=about):
        ring.create(order)
    assert ring.list()["keys"] == []


def test_keys_of_the_policy(tmp_path: Path) -> None:
    """They are listed too; their names cannot be given again, and an issued key of such a name is shadowed."""
    keys(tmp_path).create(KeyOrder("file", "acme"))
    ring = keys(tmp_path, OF_POLICY)
    told = [(key["name"], key["source"], key["state"]) for key in ring.list()["keys"]]
    assert told == [("file", "policy", "living"), ("file", "issued", "shadowed")]
    with pytest.raises(KeyExists, match="policy file"):
        ring.create(KeyOrder("file", "acme"))


def test_trouble_is_told() -> None:
    """A store that could be read only in part says so."""

    class Troubled:
        async def load(self) -> Snapshot:
            return Snapshot({}, trouble="Redis cannot be reached")

        async def changed(self) -> bool:
            return False

        async def change(self, decide: Decision) -> Snapshot:
            raise NotImplementedError(decide)

        async def aclose(self) -> None:
            """Nothing is held."""

    @asynccontextmanager
    async def troubled() -> AsyncIterator[KeyStore]:
        yield Troubled()

    assert IssuedKeys(troubled).list() == {"keys": [], "trouble": "Redis cannot be reached"}


@pytest.mark.parametrize("glob", ["gpt-*", "a[bc]", "[!a]", "[]]", "[!]]", "a[0-9]b"])
def test_globs_that_something_fits(glob: str) -> None:
    """They are let through."""
    assert could_match(glob)


@pytest.mark.parametrize("glob", ["a[", "[]", "[!", "[z-a]", "[ab]["])
def test_globs_that_nothing_fits(glob: str) -> None:
    """Brackets that no character fits, or that are never closed, are a slip of the pen."""
    assert not could_match(glob)
