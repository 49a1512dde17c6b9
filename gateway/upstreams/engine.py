"""How calls reach one of our own engines: its port moves when it is restarted, and it may not be up yet."""

from __future__ import annotations

from pathlib import Path

from gateway.engines.endpoint import Endpoint, read_endpoint
from gateway.engines.spec import EngineSpec
from gateway.upstreams.connection import Patience, Response, TransportFault
from gateway.upstreams.http import Origin, Pool

MAX_CONNECTIONS = 256  # as many as the engine has threads for; a further one would stall behind an idle one


class EngineRequests:
    """Requests to the engine of `spec`, wherever it listens at the moment."""

    def __init__(self, state: Path, spec: EngineSpec) -> None:
        self._state = state
        self._spec = spec
        self._endpoint: Endpoint | None = None
        self._pool: Pool | None = None

    async def request(self, head: bytes, body: bytes, patience: Patience) -> Response:
        """Send one request. After a failed connection the endpoint is read again, once. Raises TransportFault."""
        if self._pool is None:
            self._find()
        try:
            return await self._send(head, body, patience)
        except TransportFault as fault:
            before = self._endpoint
            if fault.kind != "connect" or not self._find() or self._endpoint == before:
                raise
            return await self._send(head, body, patience)

    async def _send(self, head: bytes, body: bytes, patience: Patience) -> Response:
        if self._pool is None or self._endpoint is None:
            raise TransportFault("connect", "is not ready yet")
        secret = b"authorization: Bearer %b\r\n\r\n" % self._endpoint.api_key.encode()
        return await self._pool.request(head.removesuffix(b"\r\n") + secret, body, patience)

    def _find(self) -> bool:
        """Read where the engine listens now; say whether it is known."""
        found = read_endpoint(self._state, self._spec)
        if found is not None and found != self._endpoint:
            self.close()
            self._endpoint = found
            self._pool = Pool(Origin(tls=False, host="127.0.0.1", port=found.port), limit=MAX_CONNECTIONS)
        return found is not None

    def close(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            self._pool.close()
        self._pool = None
