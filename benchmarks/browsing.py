"""Heavy use of the dashboard: readers that ask for pages, search and export without a pause, in a process of its own.

It reads one JSON `Browsing` on standard input and prints one JSON object: how many answers each reader got. A reader
asks for the next of his pages as soon as the last has come, as nobody could who also reads it.

Run by `benchmarks.readers` as `python -m benchmarks.browsing`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import cycle
from typing import Any
from urllib.parse import quote

import httpx
import orjson

TIMEOUT_S = 60.0


def _page(path: str, search: str) -> str:
    """What a browser asks for when it opens a page: the layout with the page in it."""
    return f"/_dash-layout?at={quote(path)}&search={quote(search)}&zone=UTC"


READERS: dict[str, tuple[str, ...]] = {
    "overview, live": (_page("/", "?range=1h"),),
    "overview, long": tuple(_page("/", f"?range={name}") for name in ("24h", "7d", "30d")),
    "search": (
        _page("/requests", "?range=30d"),
        _page("/requests", "?range=30d&order=dearest"),
        _page("/requests", "?range=30d&order=slowest&tenant=acme"),
        _page("/requests", "?range=7d&outcome=timeout"),
        _page("/requests", "?range=30d&q=nowhere"),
    ),
    "profile": (_page("/profile", "?range=24h"), _page("/profile", "?range=30d&by=tenant")),
    "export": ("/export/requests.csv?range=7d", "/export/model.csv?range=30d", "/api/export?format=jsonl&tenant=acme"),
}


@dataclass(frozen=True, slots=True)
class Browsing:
    """Where the admin plane is, its token, and for how long to read; `pause_s` between an answer and the next ask."""

    port: int
    token: str
    seconds: float
    pause_s: float = 0.0


def browse(given: Browsing) -> dict[str, Any]:
    """Have all readers read; give the answers of each, and what went wrong."""
    until = time.monotonic() + given.seconds
    answers: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    threads = [
        threading.Thread(target=_read, args=(given, name, paths, until, answers, wrong))
        for name, paths in READERS.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"answers": dict(answers), "wrong": dict(wrong)}


def _read(
    given: Browsing, name: str, paths: tuple[str, ...], until: float, answers: Counter[str], wrong: Counter[str]
) -> None:
    """One reader, on connections of his own; an answer that takes longer than the window is left unread."""
    headers = {"authorization": f"Bearer {given.token}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{given.port}", headers=headers, timeout=TIMEOUT_S) as client:
        for path in cycle(paths):
            if time.monotonic() >= until:
                return
            try:
                answers[name] += _ask(client, path, until)
            except httpx.HTTPError as error:
                wrong[f"{name}: {type(error).__name__}"] += 1
            time.sleep(given.pause_s)


def _ask(client: httpx.Client, path: str, until: float) -> bool:
    """Read one answer to its end, or until the time is over."""
    with client.stream("GET", path) as answer:
        answer.raise_for_status()
        for _ in answer.iter_raw():
            if time.monotonic() >= until:
                return False
    return True


def main() -> None:
    """Read what to do, do it, print what came of it."""
    given = Browsing(**orjson.loads(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(orjson.dumps(browse(given)))


if __name__ == "__main__":
    main()
