"""What a caller asks of the gateway itself: by headers, or by LiteLLM's body field `cache`.

Nearly every call asks nothing, so that finding this out costs a look for a few names and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from caching import directives
from gateway.call import NO_WISHES, Wishes
from gateway.errors import BadRequest

LONGEST_NAME = 200
MOST_TAGS = 20
CACHE_CONTROL, PRAGMA = b"cache-control", b"pragma"
NAMESPACE, QUALITY = b"x-sluice-namespace", b"x-sluice-quality"
TAGS = (b"x-sluice-tags", b"x-litellm-tags")
HEADERS = frozenset({CACHE_CONTROL, PRAGMA, NAMESPACE, QUALITY, *TAGS})
LITELLM = "cache"  # the body field


def read(headers: Mapping[bytes, bytes], body: Mapping[str, Any]) -> Wishes:
    """What is asked for. Raises BadRequest for what cannot be meant."""
    if not speaks_litellm(body) and HEADERS.isdisjoint(headers):
        return NO_WISHES
    asked = directives.parse(headers.get(CACHE_CONTROL), headers.get(PRAGMA))
    if speaks_litellm(body):
        asked = directives.merged(asked, _litellm(body[LITELLM]))
    namespace = _name(headers, NAMESPACE) or _checked("cache.namespace", asked.namespace)
    return Wishes(asked, namespace, _name(headers, QUALITY), _tags(headers))


def speaks_litellm(body: Mapping[str, Any]) -> bool:
    """Say whether the body has a field `cache` as LiteLLM knows it. Any other of that name is the upstream's."""
    field = body.get(LITELLM)
    return isinstance(field, dict) and field.keys() <= directives.LITELLM_FIELDS


def without_litellm(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body without the field that was meant for a gateway: a server would refuse it."""
    return {name: value for name, value in body.items() if name != LITELLM}


def _litellm(field: object) -> directives.Directives:
    try:
        return directives.from_litellm(field)
    except ValueError as error:
        raise BadRequest(f"'cache': {error}.", param="cache") from error


def _name(headers: Mapping[bytes, bytes], header: bytes) -> str:
    value = headers.get(header)
    return "" if value is None else _checked(header.decode(), _text(value).strip())


def _tags(headers: Mapping[bytes, bytes]) -> tuple[str, ...]:
    told = [part.strip() for name in TAGS for part in _text(headers.get(name, b"")).split(",")]
    tags = tuple(_checked("x-sluice-tags", tag) for tag in dict.fromkeys(told) if tag)
    if len(tags) > MOST_TAGS:
        raise BadRequest(f"A call bears at most {MOST_TAGS} tags.", param="x-sluice-tags")
    return tags


def _text(value: bytes) -> str:
    """A header as its sender meant it: in UTF-8, as the same name stands in a body or a policy."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _checked(name: str, value: str) -> str:
    if len(value) > LONGEST_NAME or (value and not value.isprintable()):
        raise BadRequest(f"'{name}' must be at most {LONGEST_NAME} printable characters.", param=name)
    return value
