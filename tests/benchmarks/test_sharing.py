"""Tests of the Redis that a benchmark starts, and of who asks the gateways."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from benchmarks.echo import Broken, Pace, call, digest, question
from benchmarks.sharing import Place, Redis, connect, has_redis, request, usual_cores


@pytest.mark.skipif(not has_redis(), reason="redis-server is not installed")
def test_a_paused_redis_accepts_and_never_answers(tmp_path: Path) -> None:
    """Paused, resumed, killed and started again, it is what a gateway meets."""
    redis = Redis(tmp_path, usual_cores())
    redis.start()
    try:
        redis.pause()
        assert _ping(redis.port) == "nothing"
        redis.resume()
        assert _ping(redis.port) == "+PONG"
        redis.kill()
        assert _ping(redis.port) == "refused"
        redis.start()
        assert _ping(redis.port) == "+PONG"
    finally:
        redis.kill()


def _ping(port: int) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(5).decode()
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "nothing"


def test_answers_over_one_connection() -> None:
    """One call after the other, plain and streamed, each with its own answer; then a closed connection says so."""

    async def ask(port: int) -> list[str]:
        asking = await connect(port)
        texts = [(await asking.ask(request(call(str(n), stream=n % 2 == 1)))).text() for n in range(4)]
        asking.close()
        await asyncio.sleep(0)  # until the loop has told it
        with pytest.raises(Broken, match="connection was closed"):
            (await asking.ask(request(call("4", stream=False)))).text()
        return texts

    with Place(usual_cores(), Pace(4, 0.0)) as place:
        texts = asyncio.run(ask(place.upstream_port))
        assert [text.split()[0] for text in texts] == [digest(question(str(n))) for n in range(4)]
        assert place.upstream_calls() == 4
