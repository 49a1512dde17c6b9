"""Redis by URL: one server, the master that Sentinels agree on, or a Cluster; clients that connect when first used.

    redis://[user:password@]host[:6379][/db]          rediss:// the same over TLS
    unix://[user:password@]/path/of/the.sock[?db=1]
    redis+sentinel://[user:password@]host[:26379],host2[:26379]/mymaster[/db]
    redis+cluster://[user:password@]host[:6379],host2[:6379]

`rediss+sentinel` and `rediss+cluster` speak TLS; `?ssl_ca_certs=FILE` names the authorities to trust there. User and
password are those of the Redis servers; Sentinels are asked without. In a password, `@ / : % ?` are percent-encoded.

No client here repeats a command that failed: a caller has a deadline and a breaker around it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from caching.errors import StoreUnavailable

Client = Redis | RedisCluster

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 2.0  # a net under the callers' own deadlines
SILENT_SECONDS = 0.02  # a node of a Cluster that left a command so long without an answer may be gone
MOST_CONNECTIONS = 512  # of one client; in a Cluster to each node
CALLER_WAITS = 1.0  # seconds for a free connection, once all are in use

# What a redis-py command may raise; RuntimeError is uvloop's word for a transport that closed under a command.
FAILURES = (exceptions.RedisError, OSError, RuntimeError)
_BLOCKING = ("XREAD",)
_REFUSALS = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)


class Kind(StrEnum):
    """How the servers behind one URL belong together."""

    SINGLE = "single"
    UNIX = "unix"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_SCHEMES = {
    "redis": (Kind.SINGLE, False),
    "rediss": (Kind.SINGLE, True),
    "unix": (Kind.UNIX, False),
    "redis+sentinel": (Kind.SENTINEL, False),
    "rediss+sentinel": (Kind.SENTINEL, True),
    "redis+cluster": (Kind.CLUSTER, False),
    "rediss+cluster": (Kind.CLUSTER, True),
}
_PORTS = {Kind.SINGLE: 6379, Kind.SENTINEL: 26379, Kind.CLUSTER: 6379}


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL says; `str()` of it is the URL without user and password."""

    kind: Kind
    tls: bool = False
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""  # of the socket
    service: str = ""  # the master's name among the Sentinels
    db: int = 0
    authorities: str = ""  # a file of certificates; empty for the system's
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        if self.kind is Kind.UNIX:
            return f"unix://{self.path}" + (f"?db={self.db}" if self.db else "")
        scheme = next(name for name, told in _SCHEMES.items() if told == (self.kind, self.tls))
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{scheme}://{hosts}" + (f"/{self.service}" if self.service else "") + (f"/{self.db}" if self.db else "")


def parse(url: str) -> Address:
    """Read a URL; raises ValueError in words that hold nothing of its user and password."""
    try:
        split = urlsplit(url)
    except ValueError:  # an unclosed bracket, among others; its text may quote the password
        raise ValueError("not a URL") from None
    if split.scheme not in _SCHEMES:
        raise ValueError(f"a Redis URL begins with one of {', '.join(f'{scheme}://' for scheme in _SCHEMES)}")
    kind, tls = _SCHEMES[split.scheme]
    userinfo, _, places = split.netloc.rpartition("@")
    user, colon, password = userinfo.partition(":")
    hosts = () if kind is Kind.UNIX else _hosts(places, _PORTS[kind])
    if kind is Kind.SINGLE and len(hosts) != 1:
        raise ValueError("several servers need redis+sentinel:// or redis+cluster://")
    options = _options(split)
    service, db = _service_and_db(split.path, kind, options.get("db", ""))
    return Address(
        kind=kind,
        tls=tls,
        hosts=hosts,
        path=_socket_path(split, places) if kind is Kind.UNIX else "",
        service=service,
        db=db,
        authorities=options.get("ssl_ca_certs", ""),
        user=unquote(user) or None,
        password=unquote(password) if colon else None,
    )


def shown(url: str) -> str:
    """The URL as a log or a page may show it: without user and password."""
    try:
        return str(parse(url))
    except ValueError:
        return "(an unreadable Redis URL)"


def connect(url: str) -> Client:
    """A client for this URL, which connects when first used; close it with `aclose()`. Raises ValueError as `parse`."""
    address = parse(url)
    if address.kind is Kind.CLUSTER:
        return _cluster(address)
    return Redis.from_pool(_sentinel_pool(address) if address.kind is Kind.SENTINEL else _pool(address))


@contextmanager
def answering() -> Iterator[None]:
    """Around commands: whatever redis-py raises becomes StoreUnavailable, in words that hold no value and no secret."""
    try:
        yield
    except FAILURES as error:
        raise StoreUnavailable(_reason(error)) from error


@asynccontextmanager
async def in_time(seconds: float = ANSWER_SECONDS) -> AsyncIterator[None]:
    """Around commands that nobody else gives a deadline: as `answering`, and after so many seconds StoreUnavailable."""
    with answering():
        async with asyncio.timeout(seconds):
            yield


def _reason(error: Exception) -> str:
    if isinstance(error, exceptions.OutOfMemoryError):
        return "Redis is at its memory limit"
    if isinstance(error, _REFUSALS):
        return "Redis refused the user or the password"
    if isinstance(error, (exceptions.TimeoutError, TimeoutError)):
        return "Redis did not answer in time"
    if isinstance(error, (exceptions.ConnectionError, OSError, RuntimeError)):
        return "Redis cannot be reached"
    return f"Redis refused: {type(error).__name__}"


def _hosts(places: str, port: int) -> tuple[tuple[str, int], ...]:
    """`a:1,b` as pairs of host and port; raises ValueError."""
    found = []
    for place in places.split(","):
        try:
            split = urlsplit(f"//{place}")
            found.append((split.hostname or "", port if split.port is None else split.port))
        except ValueError:
            raise ValueError("a Redis URL's host or port cannot be read") from None
    if not all(host for host, _ in found):
        raise ValueError("a Redis URL needs a host")
    return tuple(found)


def _options(split: SplitResult) -> dict[str, str]:
    """What stands after the question mark; raises ValueError for what nobody reads."""
    kind, tls = _SCHEMES[split.scheme]
    known = {"db"} if kind is Kind.UNIX else {"ssl_ca_certs"} if tls else set()
    options = dict(parse_qsl(split.query, keep_blank_values=True))
    if split.fragment or not options.keys() <= known:
        raise ValueError(f"a {split.scheme}:// URL takes after its path: {', '.join(known) or 'nothing'}")
    return options


def _service_and_db(path: str, kind: Kind, db: str) -> tuple[str, int]:
    """The master's name (Sentinel only) and the database's number; raises ValueError."""
    if kind is Kind.UNIX:
        return "", _number(db)
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if kind is Kind.SENTINEL:
        if not parts[0] or len(parts) > 2:
            raise ValueError("a Sentinel URL ends in /NAME-OF-THE-MASTER, and may add /DATABASE")
        return parts[0], _number(parts[1] if len(parts) > 1 else "")
    if len(parts) > 1 or (kind is Kind.CLUSTER and parts[0] not in ("", "0")):
        raise ValueError(
            "a Redis Cluster has only database 0" if kind is Kind.CLUSTER else "a Redis URL ends in /DATABASE"
        )
    return "", _number(parts[0])


def _number(db: str) -> int:
    if db and not (db.isascii() and db.isdigit()):
        raise ValueError("a Redis database is a number")
    return int(db or 0)


def _socket_path(split: SplitResult, place: str) -> str:
    if place or not split.path.strip("/"):
        raise ValueError("a unix:// URL names the socket by its full path: unix:///path/of/the.sock")
    return unquote(split.path)


def _once() -> Retry:
    return Retry(NoBackoff(), 0)


def _settings(address: Address) -> dict[str, Any]:
    """What every connection is made with.

    No time for an answer: redis-py would wait with `asyncio.wait_for`, which before Python 3.12 forgets that it was
    cancelled when the write ends in the same moment, and then the caller's deadline would not hold. See `in_time`.
    RESP2, because redis-py shapes answers of RESP3 otherwise in each release.
    """
    settings: dict[str, Any] = {
        "username": address.user,
        "password": address.password,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": None,
        "protocol": 2,
        "health_check_interval": 0,
        "decode_responses": False,
    }
    if address.kind is not Kind.UNIX:
        settings["socket_keepalive"] = True
    return settings


def _tls(address: Address) -> Mapping[str, Any]:
    return {"ssl_ca_certs": address.authorities} if address.authorities else {}


def _pool(address: Address) -> BlockingConnectionPool:
    """Connections to one server; whoever finds all in use waits, because an error there would look like an outage."""
    settings = _settings(address) | {"retry": _once(), "db": address.db}
    if address.kind is Kind.UNIX:
        settings |= {"connection_class": UnixDomainSocketConnection, "path": address.path}
    else:
        settings["host"], settings["port"] = address.hosts[0]
    if address.tls:
        settings |= {"connection_class": SSLConnection, **_tls(address)}
    return BlockingConnectionPool(max_connections=MOST_CONNECTIONS, timeout=CALLER_WAITS, **settings)


class _MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the master that the Sentinels name; disconnecting all disconnects those to the Sentinels too."""

    def __init__(self, service: str, sentinels: Sentinel, **settings: Any) -> None:
        super().__init__(service, sentinels, **settings)  # type: ignore[no-untyped-call]  # redis-py left it untyped

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001  # redis-py's signature
        await super().disconnect(inuse_connections)
        if inuse_connections:
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.aclose()


def _sentinel_pool(address: Address) -> _MasterPool:
    asking = {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": CONNECT_SECONDS, "protocol": 2}
    tls = {"ssl": True, **_tls(address)} if address.tls else {}
    sentinels = Sentinel(  # type: ignore[no-untyped-call]  # redis-py left it untyped
        address.hosts, sentinel_kwargs={**asking, **tls, "retry": _once()}
    )
    settings = _settings(address) | tls | {"retry": _once(), "db": address.db}
    return _MasterPool(address.service, sentinels, max_connections=MOST_CONNECTIONS, timeout=CALLER_WAITS, **settings)


class _Cluster(RedisCluster):
    """A Cluster's client whose callers have deadlines shorter than it takes to learn who has which slots."""

    _learning: asyncio.Task[RedisCluster] | None = None

    async def initialize(self, *args: Any, **options: Any) -> RedisCluster:
        """Learn the layout once for all who wait. A caller's deadline does not cut it: it would never be learnt."""
        if not self._initialize:
            return self
        if self._learning is None or self._learning.done():
            self._learning = asyncio.create_task(self._learn(*args, **options))
            self._learning.add_done_callback(_note)
        return await asyncio.shield(self._learning)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command; after one that its caller's deadline cut off, learn the layout anew.

        redis-py does so when a node refuses. One that is silent, because its machine is gone, it would ask for ever.
        """
        began = time.monotonic()
        try:
            return await super().execute_command(*args, **options)
        except asyncio.CancelledError:
            self._initialize |= time.monotonic() - began > SILENT_SECONDS and args[0] not in _BLOCKING
            raise

    async def aclose(self) -> None:
        if self._learning is not None:
            self._learning.cancel()
        await super().aclose()

    async def _learn(self, *args: Any, **options: Any) -> RedisCluster:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await super().initialize(*args, **options)


def _note(task: asyncio.Task[RedisCluster]) -> None:
    """Take notice of its error: when all who waited were cut off, nobody else does, and asyncio would complain."""
    if not task.cancelled():
        task.exception()


def _cluster(address: Address) -> RedisCluster:
    """Full coverage is not asked for: keys of a node that is gone fail, those of the others do not."""
    settings = _settings(address) | {"retry": _once(), "max_connections": MOST_CONNECTIONS}
    if address.tls:
        settings |= {"ssl": True, **_tls(address)}
    nodes = [ClusterNode(host, port) for host, port in address.hosts]
    return _Cluster(startup_nodes=nodes, require_full_coverage=False, **settings)
