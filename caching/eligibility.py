"""Which calls may share an answer, which answers may be kept, and which kept ones may still be used: decisions only.

A reason is a few words for an operator; "" means there is none against it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from caching.directives import Directives

FUNCTION_TOOLS = frozenset({"function", "custom"})  # the caller runs them; all others the provider runs
# Fields whose answers depend on the world, or on what the provider keeps, and not on the call alone.
NEVER = {
    "web_search_options": "searches the web",
    "audio": "answers with audio",
    "background": "is answered in the background",
    "conversation": "goes on with a conversation that the provider keeps",
}
WHOLE = frozenset({b"stop", b"tool_calls", b"function_call", b"eos", b"end_turn", b"stop_sequence"})
TRUNCATED = frozenset({b"length", b"max_tokens"})
UNFINISHED = frozenset({b"null", b'""'})  # what a stream says until the end

# Inside a JSON string a quote has a backslash before it, so these names, quotes included, never stand in a text, such
# as the arguments of a tool call.
FINISH = re.compile(rb'"finish_reason"\s*:\s*("[^"]*"|[^\s,}\]]+)')
ERROR = re.compile(rb'"error"\s*:\s*(?!\s|null\b)')
ERROR_OBJECT = re.compile(rb'"object"\s*:\s*"error"')
ERROR_EVENT = re.compile(rb"(?:\A|[\r\n])event:\s*error")
FILTERED = re.compile(rb'"filtered"\s*:\s*true')
EMBEDDING = re.compile(rb'"embedding"\s*:\s*["\[]')
# No server writes a small letter so; one that did could hide a name from the searches above.
HIDDEN = re.compile(rb"\\u00(?:6[1-9A-Fa-f]|7[0-9Aa])")

FROM_THE_FUTURE = 5.0  # seconds that the clocks of two machines may differ


def request_reason(endpoint: str, body: Mapping[str, Any], *, sampling: Literal["deterministic", "any"]) -> str:
    """Why equal calls may not share an answer.

    `sampling` is the policy's: "deterministic" shares only what is not sampled, which takes a temperature of 0 or a
    top_k of 1 said by the caller, since the provider's default samples. Embeddings are never sampled.
    """
    if endpoint == "embeddings":
        return ""
    for name, why_not in NEVER.items():
        value = body.get(name)
        if value is not None and value is not False:
            return why_not
    reason = _hosted_tool(body.get("tools")) or _other_than_text(body.get("modalities"))
    return reason or ("" if sampling == "any" else _sampled(body))


def _hosted_tool(tools: object) -> str:
    if tools is None:
        return ""
    if not isinstance(tools, list):
        return "tools is not a list"
    for tool in tools:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if not (isinstance(kind, str) and kind in FUNCTION_TOOLS):
            return "has a tool that the provider runs"
    return ""


def _other_than_text(modalities: object) -> str:
    return "" if modalities is None or modalities == ["text"] else "asks for more than text"


def _sampled(body: Mapping[str, Any]) -> str:
    temperature = body.get("temperature")
    if _is_number(temperature, 0) or _is_number(body.get("top_k"), 1):
        return ""
    return "is sampled: no temperature is given" if temperature is None else "is sampled: its temperature is not 0"


def _is_number(value: object, wanted: int) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and value == wanted


def choices_of(body: Mapping[str, Any]) -> int:
    """How many choices a whole answer has: `n`, for each prompt of a completion."""
    n = body.get("n")
    prompt = body.get("prompt")
    prompts = len(prompt) if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list) else 1
    return prompts * (n if isinstance(n, int) and n > 0 else 1)


def answer_reason(body: bytes, *, truncated: bool, choices: int = 1) -> str:
    """Why an answer may not be kept: a plain answer's bytes, or all events of a stream.

    Every choice must have come to its end, by itself or, if `truncated` answers may be kept, at a length. The bytes
    are searched, not parsed. Where that leaves a doubt, the answer is not kept.
    """
    reason = _error_in(body)
    if reason:
        return reason
    ends: list[bytes] = [end for end in FINISH.findall(body) if end not in UNFINISHED]
    for end in ends:
        word = end.strip(b'"')
        if not (word in WHOLE or (truncated and word in TRUNCATED)):
            return f"ended early: {word[:40].decode('ascii', 'replace')}"
    return "" if len(ends) >= max(choices, 1) else "does not say that it has ended"


def embedding_reason(body: bytes) -> str:
    """Why an answer with embeddings may not be kept; whether each item has one is seen where it is taken apart."""
    return _error_in(body) or ("" if EMBEDDING.search(body) else "has no embedding")


def _error_in(body: bytes) -> str:
    if b'"error"' in body and (ERROR.search(body) or ERROR_OBJECT.search(body)):
        return "has an error in it"
    if b"event:" in body and ERROR_EVENT.search(body):
        return "has an error in it"
    if b'"filtered"' in body and FILTERED.search(body):
        return "was filtered"
    if b"\\u00" in body and HIDDEN.search(body):
        return "has plain letters written as escapes"
    return ""


class Freshness(StrEnum):
    """What may be done with an entry."""

    FRESH = "fresh"
    STALE = "stale"  # may be used where the policy says so, while a new one is made or when none can be
    UNUSABLE = "unusable"


@dataclass(frozen=True, slots=True)
class Use:
    """The decision about one entry: its age in whole seconds, as in the `Age` header, and why it is not usable."""

    freshness: Freshness
    age: int
    reason: str = ""


def usable(created: float, expires: float, dies: float, now: float, directives: Directives, *, stale_ok: float) -> Use:
    """Decide about an entry of these times, Unix seconds, for a call with these directives.

    `stale_ok`: for how many seconds after `expires` the policy lets a stale answer be used. A caller who says how old
    or how fresh an answer must be has not asked for a stale one (RFC 9111, section 5.2.1.1).
    """
    if not created <= now + FROM_THE_FUTURE:  # also when it is not a number
        return Use(Freshness.UNUSABLE, 0, "from the future")
    age = max(0.0, now - created)
    reason = _unwanted(age, directives)
    if not reason and now < expires and now < dies:
        if directives.min_fresh is None or expires - now >= directives.min_fresh:
            return Use(Freshness.FRESH, int(age))
        reason = "not fresh for long enough"
    elif not reason:
        wants_fresh = directives.max_age is not None or directives.min_fresh is not None
        if now < dies and now < expires + stale_ok and not wants_fresh:
            return Use(Freshness.STALE, int(age))
        reason = "expired"
    return Use(Freshness.UNUSABLE, int(age), reason)


def _unwanted(age: float, directives: Directives) -> str:
    if directives.no_cache:
        return "the caller wants a new answer"
    if directives.max_age is not None and age > directives.max_age:
        return "older than the caller allows"
    return ""
