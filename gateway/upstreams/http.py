"""A small HTTP/1.1 client for the hot path: keep-alive connections to one server, parsed by llhttp (httptools).

Why our own: a proxied call spends most of its time here, and no client library gives all three of the speed of a bare
asyncio protocol, reads that hand over whatever has arrived in one piece, and an abort that reaches the server at once.
`benchmarks/clients.py` measures it beside the libraries.

Laws:

* One exchange at a time on a connection; a connection goes back to its pool only after a complete answer.
* Redirects are not followed and bodies not decompressed: what the server sent is what the caller judges.
* Every failure is a `TransportFault` with a kind; nothing of asyncio, ssl or httptools escapes.
* Headers, waiting and memory are bounded: `MAX_HEADER_BYTES`, `Patience`, and reading pauses above `HIGH_WATER`.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.upstreams.connection import Connection, Patience, Response, TransportFault

RACE_SECONDS = 1.0  # a request and the server's close that cross on the way do so within this
IDLE_SECONDS = 4.0  # servers commonly close idle connections after 5 s; ours must go first


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a server, and the path before every request."""

    tls: bool
    host: str
    port: int
    path: str = ""
    connect_host: str = ""  # where it differs from `host`, as for an engine on a private port

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Read a base URL such as `https://api.example.com/v1`."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        return cls(tls, parts.hostname or "", parts.port or (443 if tls else 80), parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


class Pool:
    """Keep-alive connections to one origin. Open it and close it in the same event loop."""

    def __init__(
        self,
        origin: Origin,
        *,
        tls: ssl.SSLContext | None = None,
        limit: int = 1024,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._origin = origin
        self._tls = tls if origin.tls else None
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._connecting = 0
        self._closed = False

    @property
    def open_connections(self) -> int:
        """How many connections are open, idle ones included."""
        return len(self._all)

    async def request(self, head: bytes, body: bytes, patience: Patience) -> Response:
        """Send one request and wait for status and headers.

        A kept connection that the server closed at once, before a single byte of the answer came, is replaced once:
        servers close idle connections without asking. One that closes later has taken the request, and failed.
        """
        connection = await self._take(patience)
        response = connection.send(head, body, patience)
        try:
            await response.started()
        except TransportFault as fault:
            is_race = connection.reused and connection.is_untouched and fault.kind == "cut"
            if not is_race or connection.loop.time() - connection.sent_at > RACE_SECONDS:
                raise
            patience.is_sent = False
            response = (await self._connect(patience)).send(head, body, patience)
            await self._started(response)
        except BaseException:
            response.abort()
            raise
        return response

    @staticmethod
    async def _started(response: Response) -> None:
        try:
            await response.started()
        except BaseException:
            response.abort()
            raise

    async def _take(self, patience: Patience) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_lost and connection.loop.time() - connection.idle_since < self._idle_seconds:
                connection.reused = True
                return connection
            connection.close()
            self._all.discard(connection)  # now, not when the loop says so: it must not count against the limit
        return await self._connect(patience)

    async def _connect(self, patience: Patience) -> Connection:
        loop = asyncio.get_running_loop()
        if len(self._all) + self._connecting >= self._limit:
            raise TransportFault("busy", f"all {self._limit} connections are in use")
        connection = Connection(loop, self._give_back, self._all.discard)
        origin = self._origin
        left = patience.until - loop.time()
        seconds = max(0.0, min(patience.connect, left))
        self._connecting += 1
        try:
            async with asyncio.timeout(seconds):
                await loop.create_connection(
                    lambda: connection,
                    origin.connect_host or origin.host,
                    origin.port,
                    ssl=self._tls,
                    server_hostname=origin.host if self._tls else None,
                )
        except TimeoutError as error:
            if left <= patience.connect:
                raise TransportFault("deadline", "the call's deadline passed") from error
            raise TransportFault("connect", f"no connection within {seconds:g} s") from error
        except ssl.SSLError as error:
            raise TransportFault("tls", f"TLS failed: {error.reason or type(error).__name__}") from error
        except (OSError, UnicodeError) as error:
            raise TransportFault("connect", f"cannot connect: {type(error).__name__}") from error
        finally:
            self._connecting -= 1
        if self._closed:
            connection.close()
            raise TransportFault("connect", "the pool is closed")
        if connection.is_lost:
            raise TransportFault("cut", "the connection was closed as soon as it was open")
        self._all.add(connection)
        return connection

    def _give_back(self, connection: Connection) -> None:
        if self._closed:
            connection.close()
            return
        connection.idle_since = connection.loop.time()
        self._idle.append(connection)

    def close(self) -> None:
        """Close every connection, those in use too."""
        self._closed = True
        for connection in tuple(self._all):
            connection.close()
        self._idle.clear()
        self._all.clear()
