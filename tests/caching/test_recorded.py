"""Recorded streams of several engines and providers, kept and told in both forms."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from caching import sse
from caching.errors import Unfaithful
from caching.expand import expand, prove
from caching.fold import fold, is_same
from caching.forms import Answer, may_say_usage
from tests.caching.strategies import Json

RECORDINGS = sorted((Path(__file__).parents[1] / "clients" / "recordings").glob("*.sse"))


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}\n\n'


def body_of(path: Path) -> bytes:
    """A recorded stream; one that was not asked for its usage, and so could not be kept, with a usage event."""
    body = path.read_bytes()
    return body if may_say_usage(body) else body.replace(sse.DONE, USAGE + sse.DONE)


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
    body = body_of(path)
    chunks = chunks_of(body)
    kept = Answer.of_stream([body])
    assert chunks_of(kept.events(usage=True)) == chunks
    answer = orjson.loads(kept.plain())
    assert is_same(answer, fold(chunks))
    assert is_same(answer, fold(chunks, strict=False))
    assert is_same(fold(chunks_of(kept.events(usage=True))), answer)
    prove(expand(answer), answer)


def test_a_recording_without_usage_stays_a_stream() -> None:
    """One that was not asked for its usage has no plain form."""
    silent = [body for path in RECORDINGS if not may_say_usage(body := path.read_bytes())]
    assert silent
    for body in silent:
        with pytest.raises(Unfaithful, match="usage"):
            Answer.of_stream([body]).plain()


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_client_cannot_tell(path: Path) -> None:
    """The openai package accumulates a hit made of the folded answer to the same choices as the recording."""
    body = body_of(path)
    kept = Answer.of_stream([body])
    missed = accumulated(chunks_of(body))
    assert accumulated(chunks_of(kept.events(usage=False))) == missed
    kept.plain()
    assert accumulated(chunks_of(kept.events(usage=False))) == missed
