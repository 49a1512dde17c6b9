"""Durations, sizes, addresses, names and secrets as people write them."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, TypeAdapter, ValidationError

from policies.scalars import (
    Address,
    Bytes,
    Grace,
    HeaderName,
    HeaderValue,
    KeySecret,
    Lifetime,
    Name,
    Room,
    Seconds,
    Secret,
    has_glob,
)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("250ms", 0.25),
        ("2s", 2.0),
        ("1.5s", 1.5),
        ("10m", 600.0),
        ("1h", 3600.0),
        ("7d", 604_800.0),
        ("7", 7.0),
        (0.5, 0.5),
        (3, 3.0),
    ],
)
def test_durations(written: object, seconds: float) -> None:
    """A duration is a number with a unit, or plain seconds."""
    assert TypeAdapter(Seconds).validate_python(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    ["", "s", "2 s", "-1s", "0", 0, "0ms", "2w", "8d", "1m30s", "nan", "inf", "1e9", "9999999h", float("inf"), []],
)
def test_what_is_no_duration(written: object) -> None:
    """Zero, negative, endless and unreadable durations are refused."""
    with pytest.raises(ValidationError):
        TypeAdapter(Seconds).validate_python(written)


def test_durations_of_nothing() -> None:
    """A grace may be none; it has an end as a wait has, and is never negative."""
    assert [TypeAdapter(Grace).validate_python(written) for written in ("0s", "0", 0, "7d")] == [0, 0, 0, 604_800]
    for written in ("8d", "-1s", -1, "nan", float("inf")):
        with pytest.raises(ValidationError):
            TypeAdapter(Grace).validate_python(written)


def test_lifetimes() -> None:
    """What is kept may be kept for a year, which nobody would wait."""
    assert TypeAdapter(Lifetime).validate_python("366d") == 366 * 86_400
    for written in ("367d", "0s", "nan"):
        with pytest.raises(ValidationError):
            TypeAdapter(Lifetime).validate_python(written)


@pytest.mark.parametrize(
    ("written", "size"), [("32MB", 32_000_000), ("1KiB", 1024), ("1.5KB", 1500), ("10", 10), (10, 10), ("2GiB", 2**31)]
)
def test_sizes(written: object, size: int) -> None:
    """MB are thousands of thousands, MiB are 1,024 times 1,024."""
    assert TypeAdapter(Bytes).validate_python(written) == size


@pytest.mark.parametrize("written", ["", "0", "0.5B", "32 MB", "32mb", "-1", "9" * 40, "1e3", "999999999GB"])
def test_what_is_no_size(written: object) -> None:
    """Sizes of nothing, of too much and of unknown units are refused."""
    with pytest.raises(ValidationError):
        TypeAdapter(Bytes).validate_python(written)


def test_sizes_of_nothing() -> None:
    """Room may be none at all, and is never less."""
    assert [TypeAdapter(Room).validate_python(written) for written in ("0", 0, "1KB")] == [0, 0, 1000]
    for written in ("-1", -1, "2048GiB", "false"):
        with pytest.raises(ValidationError):
            TypeAdapter(Room).validate_python(written)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/v1//", "http://[::1]:8000/v1"),
    ],
)
def test_addresses_lose_their_last_slash(written: str, kept: str) -> None:
    """Paths are joined to an address, so it ends without a slash."""
    assert TypeAdapter(Address).validate_python(written) == kept


@pytest.mark.parametrize(
    "written",
    [
        "",
        "api.openai.com/v1",
        "ftp://host/",
        "file:///etc/passwd",
        "http://",
        "http://user:secret@host/v1",
        "http://host/v1?key=secret",
        "http://host/v1?",
        "http://host/v1#secret",
        "http://host:99999/",
        "http://host:0/",
        "http://host:port/",
        "http://[::1/",
        "http://ho st/",
        "http://host\n/",
        "http://host\\@other/",
        "http://höst/",
    ],
)
def test_what_is_no_address(written: str) -> None:
    """Addresses with credentials, queries, other schemes or odd characters are refused, and not repeated."""
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(Address).validate_python(written)
    assert "secret" not in refused.value.errors()[0]["msg"]


@pytest.mark.parametrize("written", ["", " a", "a ", "a\nb", "a\x00", "a\u202eb", "a" * 201])
def test_what_is_no_name(written: str) -> None:
    """Names that would read as others in a log are refused."""
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(written)


def test_names_may_hold_what_models_are_called() -> None:
    """Slashes, dots, colons, blanks inside and other scripts occur in names of models."""
    for name in ("Qwen/Qwen3-8B", "llama3.2:1b", "my model", "größe", "a" * 200):
        assert TypeAdapter(Name).validate_python(name) == name


@pytest.mark.parametrize("value", ["", "with blank", "line\n", "tab\t", "naïve"])
def test_secrets_that_no_header_carries(value: str) -> None:
    """A secret read from a file with its line end would end the header it is sent in."""
    with pytest.raises(ValidationError):
        TypeAdapter(Secret).validate_python(value)


@pytest.mark.parametrize("value", ["short", "x" * 1001, "x" * 15])
def test_keys_are_hard_to_guess(value: str) -> None:
    """A client's key has 16 characters or more, within reason."""
    with pytest.raises(ValidationError):
        TypeAdapter(KeySecret).validate_python(value)
    assert TypeAdapter(KeySecret).validate_python("x" * 16) == SecretStr("x" * 16)


@pytest.mark.parametrize("value", ["", " a", "a ", "a\r\nHost: other", "a\x00"])
def test_header_values_stay_one_header(value: str) -> None:
    """No value can begin another header."""
    with pytest.raises(ValidationError):
        TypeAdapter(HeaderValue).validate_python(value)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\n", "Host", "content-length", "Transfer-Encoding", "größe"])
def test_header_names_that_are_refused(name: str) -> None:
    """A policy sets no header that belongs to the connection, and none that is no token."""
    with pytest.raises(ValidationError):
        TypeAdapter(HeaderName).validate_python(name)


def test_globs_are_told_from_names() -> None:
    """A name is a glob when it holds *, ? or [."""
    assert [name for name in ("gpt-4o", "gpt-*", "gpt-?", "gpt-[45]") if has_glob(name)] == [
        "gpt-*",
        "gpt-?",
        "gpt-[45]",
    ]
