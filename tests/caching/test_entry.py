"""An entry's bytes: what was written comes back, and nothing else ever does."""

from __future__ import annotations

import struct
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching.entry import CLOCK_SLACK, MAGIC, VERSION, Entry
from caching.errors import Unfaithful
from caching.forms import Answer
from tests.fakes.stores import START, entry, key, same

TIMES = st.floats(min_value=0, max_value=1e12)
names = st.text(max_size=20)


def forged(changes: dict[str, Any], body: bytes = b"{}") -> bytes:
    """An entry's bytes with another header and a checksum that is right for it."""
    written = entry().dumps()
    header = orjson.loads(written[9 : 9 + int.from_bytes(written[5:9], "big")]) | changes
    text = orjson.dumps({name: value for name, value in header.items() if value != "absent"})
    data = struct.pack(">4sBI", MAGIC, VERSION, len(text)) + text + body
    return data + blake2b(data, digest_size=16, key=key("a")).digest()


@given(names, names, st.tuples(names, names), TIMES, TIMES, st.binary(max_size=200), st.integers(0, 2**53))
def test_comes_back(
    tenant: str, namespace: str, tags: tuple[str, str], created: float, life: float, body: bytes, tokens: int
) -> None:
    """Whatever an entry holds, its bytes give it back."""
    made = entry(
        tenant=tenant,
        namespace=namespace,
        tags=tags,
        created=created,
        expires=created,
        dies=created + life,
        tokens=tokens,
    )
    made = replace(made, answer=Answer.of_plain(body), parts=((tenant, "00"), (namespace, "ff")))
    assert same(Entry.loads(made.key, made.dumps()), made)


def test_another_key() -> None:
    """The bytes are bound to their key: under another they are refused."""
    assert Entry.loads(key("b"), entry("a").dumps()) is None


def test_every_truncation() -> None:
    """Bytes that end too early are refused, wherever they end; so are bytes with something behind them."""
    data = entry().dumps()
    assert all(Entry.loads(key("a"), data[:length]) is None for length in range(len(data)))
    assert Entry.loads(key("a"), data + b"\0") is None


def test_every_flipped_bit() -> None:
    """One wrong bit anywhere is found."""
    data = entry().dumps()
    for at in range(len(data) * 8):
        wrong = bytearray(data)
        wrong[at // 8] ^= 1 << at % 8
        assert Entry.loads(key("a"), bytes(wrong)) is None


def test_another_version() -> None:
    """An entry of another version is refused, although its checksum is right."""
    data = bytearray(entry().dumps())[:-16]
    data[4] = VERSION + 1
    assert Entry.loads(key("a"), bytes(data) + blake2b(data, digest_size=16, key=key("a")).digest()) is None


def test_forging_works() -> None:
    """The forger of the next test makes bytes that are read, where nothing is wrong with them."""
    assert Entry.loads(key("a"), forged({})) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"created": -1.0},
        {"expires": -1.0},
        {"dies": START - 1},
        {"seconds": -0.5},
        {"seconds": None},
        {"created": None},
        {"created": "1"},
        {"created": True},
        {"dies": []},
        {"tokens": -1},
        {"tokens": 1.5},
        {"tokens": True},
        {"tenant": 1},
        {"tenant": None},
        {"namespace": "absent"},
        {"tags": [1]},
        {"tags": None},
        {"model": {}},
        {"upstream": []},
        {"check": "no hex"},
        {"check": 5},
        {"parts": [["one"]]},
        {"parts": [["one", 2]]},
        {"parts": [[1, "two"]]},
        {"parts": 3},
    ],
)
def test_impossible_header(changes: dict[str, Any]) -> None:
    """A header that no entry has is refused, even under a right checksum."""
    assert Entry.loads(key("a"), forged(changes)) is None


@pytest.mark.parametrize("header", [b"[]", b"null", b"{", b"\xff", b""])
def test_header_that_is_none(header: bytes) -> None:
    """A header that is no JSON object is refused, even under a right checksum."""
    data = struct.pack(">4sBI", MAGIC, VERSION, len(header)) + header
    assert Entry.loads(key("a"), data + blake2b(data, digest_size=16, key=key("a")).digest()) is None


def test_header_longer_than_all() -> None:
    """A length that points past the end is refused."""
    data = struct.pack(">4sBI", MAGIC, VERSION, 2**32 - 1) + b"{}"
    assert Entry.loads(key("a"), data + blake2b(data, digest_size=16, key=key("a")).digest()) is None


@pytest.mark.parametrize("time", [float("nan"), float("inf")])
def test_endless_times(time: float) -> None:
    """A time that is no number cannot be kept: JSON has no word for it."""
    with pytest.raises(Unfaithful):
        entry(dies=time).dumps()


def test_name_without_bytes() -> None:
    """A name with half a character cannot be kept."""
    with pytest.raises(Unfaithful):
        entry(tenant="\ud800").dumps()


def test_usable() -> None:
    """An entry may be used from when it was made, clocks of two machines being what they are, until it dies."""
    made = entry()
    assert made.usable(START)
    assert made.usable(made.dies)
    assert made.usable(START - CLOCK_SLACK)
    assert not made.usable(made.dies + 0.001)
    assert not made.usable(START - CLOCK_SLACK - 0.001)
