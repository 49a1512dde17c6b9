"""A store with answers in it, as workers would leave it."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import orjson

from caching.entry import Entry
from caching.forms import Answer
from caching.stores.sqlite import SqliteStore

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "small-q8",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Paris."}}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
}


def entry(name: str = "one", tenant: str = "acme", age: float = 0.0, **fields: object) -> Entry:
    """An answer made `age` seconds ago, fresh for an hour."""
    created = time.time() - age
    values: dict[str, object] = {
        "key": hashlib.blake2b(name.encode(), digest_size=32).digest(),
        "check": bytes(16),
        "tenant": tenant,
        "namespace": "",
        "tags": (),
        "model": "small-q8",
        "upstream": "local",
        "created": created,
        "expires": created + 3600,
        "dies": created + 86400 * 30,
        "seconds": 0.5,
        "tokens": 9,
        "parts": (),
        "answer": Answer.of_plain(orjson.dumps(ANSWER)),
    }
    return Entry(**{**values, **fields})  # type: ignore[arg-type]


async def keep(state: Path, *entries: Entry) -> None:
    """Put entries into the store of a state directory."""
    store = SqliteStore(state / "cache.sqlite", 10_000_000)
    await store.put(entries)
    await store.close()


async def kept(state: Path) -> int:
    """How many are there."""
    store = SqliteStore(state / "cache.sqlite", 10_000_000)
    try:
        return (await store.usage())[0]
    finally:
        await store.close()
