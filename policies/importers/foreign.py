"""A YAML file of another program as plain values: anchors are followed, but what they make has a bound.

Unlike a policy, such a file may use anchors, aliases and merge keys. Nothing is built from tags. Scalars stay text,
for it is the reader who knows what each should be; null is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

Value: TypeAlias = "str | list[Value] | dict[str, Value] | None"

DEEPEST = 40  # levels, those behind an alias included
MOST_VALUES = 50_000  # values, each counted as often as aliases repeat it
_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = ("", "~", "null", "Null", "NULL")
_STANDARD = re.compile(r"!|tag:yaml\.org,2002:(str|int|float|bool|null|seq|map)")


class ForeignError(Exception):
    """This file cannot be read; the text says why and repeats nothing of it."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")


@dataclass(frozen=True, slots=True)
class _Made:
    """A value, how many values it holds, and how deep."""

    value: Value
    size: int = 1
    height: int = 1


@dataclass(slots=True)
class _Builder:
    events: Iterator[yaml.Event]
    anchors: dict[str, _Made] = field(default_factory=dict)
    total: int = 0

    def node(self, event: yaml.Event, depth: int) -> _Made:
        """The value that begins with this event."""
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            made = self.anchors.get(event.anchor or "")
            if made is None:
                raise ForeignError(line, "an alias (*name) to nothing, or to what it stands in")
        else:
            made = self._content(event, depth)
        self.total += made.size if isinstance(event, yaml.AliasEvent) else 1
        if self.total > MOST_VALUES:
            raise ForeignError(line, f"more than {MOST_VALUES:,} values")
        if depth + made.height > DEEPEST:
            raise ForeignError(line, f"nested deeper than {DEEPEST} levels")
        return made

    def _content(self, event: yaml.Event, depth: int) -> _Made:
        if depth > DEEPEST:
            raise ForeignError(_line(event), f"nested deeper than {DEEPEST} levels")
        if isinstance(event, yaml.ScalarEvent):
            self._check_tag(event)
            is_null = event.style in (None, "") and event.value in _NULLS
            made = _Made(None if is_null else event.value)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._check_tag(event)
            made = self._items(depth)
        elif isinstance(event, yaml.MappingStartEvent):
            self._check_tag(event)
            made = self._fields(depth)
        else:
            raise ForeignError(_line(event), "not what YAML has here")
        if event.anchor is not None:
            self.anchors[event.anchor] = made
        return made

    def _check_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag is not None and not _STANDARD.fullmatch(event.tag):
            raise ForeignError(_line(event), "tags (!name) are not obeyed")

    def _items(self, depth: int) -> _Made:
        items = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, depth + 1))
        return _Made([item.value for item in items], 1 + sum(i.size for i in items), _height(items))

    def _fields(self, depth: int) -> _Made:
        fields: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        below = []
        while not isinstance(key := next(self.events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise ForeignError(_line(key), "a key that is no plain word")
            made = self.node(next(self.events), depth + 1)
            below.append(made)
            if key.value == "<<" and key.style in (None, ""):
                merged = {**_merged(made.value), **merged}
            else:
                fields[key.value] = made.value
        return _Made({**merged, **fields}, 1 + sum(made.size for made in below), _height(below))


def read(text: str) -> dict[str, Value]:
    """The mapping that a YAML text is. Raises ForeignError."""
    try:
        return _read(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ForeignError(mark.line + 1 if mark else 1, "not YAML") from None
    except yaml.YAMLError:
        raise ForeignError(1, "not YAML") from None


def _read(text: str) -> dict[str, Value]:
    builder = _Builder(yaml.parse(text, Loader=_Loader))
    next(builder.events)  # the stream's start
    if not isinstance(next(builder.events), yaml.DocumentStartEvent):
        raise ForeignError(1, "the file is empty")
    value = builder.node(next(builder.events), 1).value
    next(builder.events)  # the document's end
    following = next(builder.events)
    if not isinstance(following, yaml.StreamEndEvent):
        raise ForeignError(_line(following), "a second document begins here")
    if not isinstance(value, dict):
        raise ForeignError(1, "not a mapping of keys to values")
    return value


def _merged(value: Value) -> dict[str, Value]:
    """What `<<` brings in: a mapping, or several, of which the first counts."""
    if isinstance(value, dict):
        return value
    found: dict[str, Value] = {}
    for each in reversed(value if isinstance(value, list) else []):
        if isinstance(each, dict):
            found.update(each)
    return found


def _height(below: list[_Made]) -> int:
    return 1 + max((made.height for made in below), default=0)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
