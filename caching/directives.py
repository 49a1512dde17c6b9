"""What a caller asks of the cache: the request directives of RFC 9111, and LiteLLM's body field `cache`.

Laws of this module: a directive makes caching stricter, never looser; what is malformed is read in the strictest way
it can be meant; of two that disagree the stricter counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

LITELLM_FIELDS = frozenset({"no-cache", "no-store", "s-maxage", "s-max-age", "ttl", "namespace", "use-cache"})
LONGEST = 2**31  # seconds; RFC 9111, section 1.2.2: whatever is more counts as this
# One directive. A quote without its partner is a plain character, so that it cannot swallow the directives behind it.
DIRECTIVE = re.compile(r'(?:"[^"]*"|[^,])+')


@dataclass(frozen=True, slots=True)
class Directives:
    """What one call asks of the cache. Times are whole seconds; None: not asked."""

    no_cache: bool = False  # do not answer from the cache; the new answer may be stored
    no_store: bool = False
    only_if_cached: bool = False
    max_age: int | None = None  # the oldest answer to use
    min_fresh: int | None = None  # for how long it must stay fresh
    ttl: int | None = None  # for how long the new answer may be kept; 0: not at all
    namespace: str = ""  # a part of the tenant's own cache


NONE = Directives()
STRICTEST = Directives(no_cache=True)


def parse(value: str | bytes | None, pragma: str | bytes | None = None) -> Directives:
    """Read a `Cache-Control` header; only without one `Pragma: no-cache` counts (RFC 9111, sections 5.2.1 and 5.4)."""
    text = _text(value)
    if not text:
        return STRICTEST if _asks_no_cache(pragma) else NONE
    found = NONE
    for directive in DIRECTIVE.findall(text):
        found = merged(found, _one(directive))
    return found


def from_litellm(field: object) -> Directives:
    """Read LiteLLM's `cache: {...}`. Raises ValueError, with words for the caller, for a value of a wrong type."""
    if field is None:
        return NONE
    if not isinstance(field, Mapping):
        raise ValueError("cache must be an object")
    max_age = _least(_seconds(field, "s-maxage"), _seconds(field, "s-max-age"))
    _flag(field, "use-cache")  # of a cache that is off by default; ours is on by policy, never by a caller
    return Directives(
        no_cache=_flag(field, "no-cache") or max_age == 0,
        no_store=_flag(field, "no-store"),
        max_age=max_age,
        ttl=_seconds(field, "ttl"),
        namespace=_name(field, "namespace"),
    )


def merged(a: Directives, b: Directives) -> Directives:
    """The stricter of both; the namespace is the first that is named."""
    if b is NONE:
        return a
    if a is NONE:
        return b
    return Directives(
        no_cache=a.no_cache or b.no_cache,
        no_store=a.no_store or b.no_store,
        only_if_cached=a.only_if_cached or b.only_if_cached,
        max_age=_least(a.max_age, b.max_age),
        min_fresh=_most(a.min_fresh, b.min_fresh),
        ttl=_least(a.ttl, b.ttl),
        namespace=a.namespace or b.namespace,
    )


def _text(value: str | bytes | None) -> str:
    text = value.decode("latin-1") if isinstance(value, bytes) else value or ""
    return text.strip()


def _asks_no_cache(pragma: str | bytes | None) -> bool:
    return any(part.strip().lower() == "no-cache" for part in _text(pragma).split(","))


def _one(directive: str) -> Directives:
    """One directive; NONE for one that is unknown, or would only loosen, as max-stale."""
    name, _, argument = directive.partition("=")
    match name.strip().lower():
        case "no-cache":
            return STRICTEST
        case "no-store":
            return Directives(no_store=True)
        case "only-if-cached":
            return Directives(only_if_cached=True)
        case "max-age":
            age = _delta(argument)
            return Directives(no_cache=not age, max_age=age)
        case "min-fresh":
            fresh = _delta(argument)
            return Directives(no_cache=fresh is None, min_fresh=fresh)
    return NONE


def _delta(argument: str) -> int | None:
    """Seconds, plain or quoted; None for anything else."""
    digits = argument.strip().strip('"').strip()
    if not (digits.isascii() and digits.isdigit()):
        return None
    digits = digits.lstrip("0") or "0"
    return LONGEST if len(digits) > 10 else min(int(digits), LONGEST)


def _least(a: int | None, b: int | None) -> int | None:
    return min((n for n in (a, b) if n is not None), default=None)


def _most(a: int | None, b: int | None) -> int | None:
    return max((n for n in (a, b) if n is not None), default=None)


def _flag(field: Mapping[str, object], name: str) -> bool:
    value = field.get(name)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"cache.{name} must be true or false")
    return bool(value)


def _seconds(field: Mapping[str, object], name: str) -> int | None:
    """Whole seconds, rounded down, which is the stricter way."""
    value = field.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"cache.{name} must be a number of seconds, 0 or more")
    return min(int(value), LONGEST)


def _name(field: Mapping[str, object], name: str) -> str:
    value = field.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"cache.{name} must be a string")
    return value or ""
