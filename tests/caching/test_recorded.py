"""Recorded streams of several engines and providers, kept and told in both forms."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from caching import sse
from caching.expand import expand, prove
from caching.fold import fold, is_same
from caching.forms import Answer
from tests.caching.strategies import Json

RECORDINGS = sorted((Path(__file__).parents[1] / "clients" / "recordings").glob("*.sse"))


def chunks_of(body: bytes) -> list[Json]:
    """What the events of a body bear."""
    return [chunk for event in sse.events(body) if (chunk := sse.json_of(event)) is not None]


def accumulated(chunks: list[Json]) -> list[Json]:
    """What the openai package makes of these chunks: the choices, without nulls and empty texts."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.construct(**chunk))
    told = [choice.to_dict() for choice in state.current_completion_snapshot.choices]
    for choice in told:
        message: Json = choice["message"]  # type: ignore[assignment]
        if str(message.get("role", "")).startswith("assistant"):
            message["role"] = "assistant"  # the package joins roles where a server repeats them
        choice["message"] = {name: value for name, value in message.items() if value not in (None, "", [])}
    return [{name: value for name, value in choice.items() if value is not None} for choice in told]


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_goes_round(path: Path) -> None:
    """A recorded stream folds, expands and folds again into the same; its own events are kept until then."""
    body = path.read_bytes()
    chunks = chunks_of(body)
    kept = Answer.of_stream([body])
    assert chunks_of(kept.events(usage=True)) == chunks
    answer = orjson.loads(kept.plain())
    assert is_same(answer, fold(chunks))
    assert is_same(answer, fold(chunks, strict=False))
    assert is_same(fold(chunks_of(kept.events(usage=True))), answer)
    prove(expand(answer), answer)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_client_cannot_tell(path: Path) -> None:
    """The openai package accumulates a hit made of the folded answer to the same choices as the recording."""
    body = path.read_bytes()
    kept = Answer.of_stream([body])
    missed = accumulated(chunks_of(body))
    assert accumulated(chunks_of(kept.events(usage=False))) == missed
    kept.plain()
    assert accumulated(chunks_of(kept.events(usage=False))) == missed
