"""Tests of what stands while a benchmark runs."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from benchmarks import processes
from benchmarks.bodies import completion
from benchmarks.stand import DidNotStart, NoHit, Running, Stand, WrongAnswer, usual_cores
from benchmarks.targets import Gateway, Launch, Site


def test_the_upstream_answers_rightly_and_ends_with_the_stand() -> None:
    """Inside `with` plain and streamed calls are checked whole; after it the process is gone."""
    with Stand(usual_cores()) as stand:
        direct = stand.direct()
        assert stand.ask(direct, "plain", "1.7k") == len(completion())
        assert stand.ask(direct, "burst", "100k") == 67
        with pytest.raises(WrongAnswer, match="status 500"):
            stand.ask(direct, "error", "1.7k")
        with pytest.raises(WrongAnswer, match="no JSON"):
            stand.ask(direct, "garbage", "1.7k")
        pid, folder = stand.upstream.pid, stand.folder
    assert processes.command(pid) == ""
    assert not folder.exists()


def test_a_gateway_that_ends_at_once_says_why() -> None:
    """What it printed is in the error, and the stand still closes."""

    def broken(_program: Path, _site: Site) -> Launch:
        return Launch([sys.executable, "-c", "raise SystemExit('no such option')"])

    gateway = Gateway("broken", Path(sys.executable), "1", "", broken)
    with Stand(usual_cores()) as stand, pytest.raises(DidNotStart, match="no such option"):
        stand.start(gateway)


@contextmanager
def _caching(upstream_port: int, keep_after: int, says: str) -> Iterator[Running]:
    """Run a gateway that keeps the answer from its n-th call on, and then claims `says`."""
    calls: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            hit = len(calls) > keep_after
            calls.append(body)
            answer = completion()
            if not hit:
                answer = httpx.post(f"http://127.0.0.1:{upstream_port}/v1/chat/completions", content=body).content
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.send_header("x-cache", says if hit else "MISS")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Running("fake", server.server_port, None)
        finally:
            server.shutdown()
            thread.join()


def test_a_warm_cache_no_longer_asks_the_upstream() -> None:
    """Calls are made until the upstream's own count stands still; a cache that never answers is no cache."""
    with Stand(usual_cores()) as stand:
        with _caching(stand.upstream_port, 2, "HIT") as gateway:
            before = stand.upstream_calls()
            assert stand.warm(gateway, "plain", "1.7k", 7) == len(completion())
            assert stand.upstream_calls() == before + 3
        with _caching(stand.upstream_port, 2, "MISS") as gateway, pytest.raises(WrongAnswer, match="says MISS"):
            stand.warm(gateway, "plain", "1.7k", 7)
        with pytest.raises(NoHit):
            stand.warm(stand.direct(), "plain", "1.7k", 7)


def test_the_direct_call_has_no_processes() -> None:
    """There is nothing to weigh but the upstream, which is not the target."""
    assert Running("direct", 1, None).pids() == []
