"""An upstream whose answers use as many tokens as they are asked to, or that fails, by its path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

BROKEN = "/broken"


class _Asked(BaseHTTPRequestHandler):
    """One request: `x_usage` in its body is [prompt, completion, cached, reasoning], and the answer says so."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path.startswith(BROKEN):
            self._send(500, {"error": {"message": "broken"}})
            return
        prompt, completion, cached, reasoning = asked.get("x_usage", [12, 6, 0, 0])
        message = {"role": "assistant", "content": asked["messages"][0]["content"]}
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        whole = {"id": "a", "object": "chat.completion", "model": asked["model"]}
        self._send(200, {**whole, "choices": [choice], "usage": usage})

    def do_GET(self) -> None:
        self._send(200, {"data": []})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Say nothing."""

    def _send(self, status: int, answer: Any) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def upstream() -> Iterator[int]:
    """Run it; its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Asked)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
