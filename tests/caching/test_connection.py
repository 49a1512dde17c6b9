"""Redis URLs: what they mean, what is refused, and what is never shown."""

from __future__ import annotations

import asyncio

import pytest
from redis import exceptions
from redis.asyncio import RedisCluster

from caching.connection import Address, Kind, answering, connect, in_time, parse, shown
from caching.errors import StoreUnavailable


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", Address(Kind.SINGLE, hosts=(("h", 6379),))),
        ("redis://u:p%40%2F@h:1/3", Address(Kind.SINGLE, hosts=(("h", 1),), db=3, user="u", password="p@/")),
        ("redis://:p@[::1]:1", Address(Kind.SINGLE, hosts=(("::1", 1),), password="p")),
        ("rediss://h?ssl_ca_certs=/ca", Address(Kind.SINGLE, tls=True, hosts=(("h", 6379),), authorities="/ca")),
        ("unix:///a/b.sock?db=2", Address(Kind.UNIX, path="/a/b.sock", db=2)),
        ("unix://u:p@/a/b.sock", Address(Kind.UNIX, path="/a/b.sock", user="u", password="p")),
        (
            "redis+sentinel://:p@a,b:3/mymaster/2",
            Address(Kind.SENTINEL, hosts=(("a", 26379), ("b", 3)), service="mymaster", db=2, password="p"),
        ),
        ("redis+cluster://a:7000,b", Address(Kind.CLUSTER, hosts=(("a", 7000), ("b", 6379)))),
        ("rediss+cluster://a", Address(Kind.CLUSTER, tls=True, hosts=(("a", 6379),))),
    ],
)
def test_parse(url: str, address: Address) -> None:
    """Each kind of URL says where the servers are and who asks."""
    assert parse(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:6379",
        "http://u:hunter2@h",
        "redis://",
        "redis://u:hunter2@",
        "redis://u:hunter2@h:port",
        "redis://u:hunter2@[::1",
        "redis://u:hunter2@a,b",
        "redis://u:hunter2@h/name",
        "redis://u:hunter2@h/-1",
        "redis://u:hunter2@h/1/2",
        "redis://u:hunter2@h?timeout=1",
        "redis://h?ssl_ca_certs=/ca",
        "redis://h#hunter2",
        "unix://u:hunter2@a/b.sock",
        "unix://",
        "redis+sentinel://u:hunter2@a",
        "redis+sentinel://u:hunter2@a/m/1/2",
        "redis+cluster://u:hunter2@a/1",
        "redis://u:hunter2/3@h",
    ],
)
def test_refused(url: str) -> None:
    """A URL that means nothing, or something nobody reads, is refused in words without its password."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        parse(url)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in shown(url)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("redis://u:hunter2@h/3", "redis://h:6379/3"),
        ("rediss://:hunter2@[::1]:1", "rediss://[::1]:1"),
        ("unix://u:hunter2@/a/b.sock?db=2", "unix:///a/b.sock?db=2"),
        ("redis+sentinel://u:hunter2@a,b:3/m/2", "redis+sentinel://a:26379,b:3/m/2"),
        ("redis+cluster://u:hunter2@a,b", "redis+cluster://a:6379,b:6379"),
    ],
)
def test_shown(url: str, safe: str) -> None:
    """What is shown of a URL means the same servers, and holds no user and no password."""
    assert shown(url) == safe
    assert parse(safe).hosts == parse(url).hosts
    assert "hunter2" not in repr(parse(url))


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "rediss://h",
        "unix:///a/b.sock",
        "redis+sentinel://h/m",
        "redis+cluster://h",
        "rediss+sentinel://h/m",
    ],
)
async def test_connects_later(url: str) -> None:
    """A client is made without asking anybody, and closes without having been used."""
    client = connect(url)
    assert isinstance(client, RedisCluster) == ("cluster" in url)
    await client.aclose()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (exceptions.OutOfMemoryError("command not allowed"), "Redis is at its memory limit"),
        (exceptions.AuthenticationError("invalid username-password pair"), "Redis refused the user or the password"),
        (exceptions.TimeoutError("Timeout reading"), "Redis did not answer in time"),
        (TimeoutError(), "Redis did not answer in time"),
        (exceptions.ConnectionError("Error 111"), "Redis cannot be reached"),
        (ConnectionResetError(), "Redis cannot be reached"),
        (RuntimeError("the handler is closed"), "Redis cannot be reached"),
        (exceptions.ResponseError("wrong value: secret"), "Redis refused: ResponseError"),
    ],
)
def test_answering(error: Exception, said: str) -> None:
    """Whatever redis-py raises becomes StoreUnavailable, in words of ours."""
    with pytest.raises(StoreUnavailable) as caught, answering():
        raise error
    assert str(caught.value) == said
    assert caught.value.__cause__ is error


def test_answering_passes_bugs_on() -> None:
    """An error that no server causes is not hidden."""
    with pytest.raises(KeyError), answering():
        raise KeyError("a")


async def test_in_time() -> None:
    """What takes too long is StoreUnavailable."""
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        async with in_time(0.001):
            await asyncio.Event().wait()
