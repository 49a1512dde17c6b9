"""A policy file as a tree of nodes that know their lines: YAML read strictly, with every hostile form refused.

Laws of this module:

* A scalar is text. It gets a type from the field it stands in, so `model: 1.10` is not 1.1 and `no` is not false.
* Nothing is built from tags, nothing is repeated by aliases, nothing is deep: what is read costs as much as its text.
* The parser is driven by events, so that a hostile file is refused before anything is made of it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from policies.scalars import REFERENCE

Found = tuple[int, str]  # something wrong: the line, and what in words that hold no secret

LARGEST_FILE = 1_000_000  # bytes
DEEPEST = 20  # levels; the language itself needs six
MOST_NODES = 20_000  # some 4,000 keys; checks compare names with names, so their cost is a square

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufdd0-\ufdef\ufffe\uffff]")
_NO_END = "the last line has no line end, as in a half-written file; end it with one"
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"  # noncharacters: no text may hold them
_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is some 20 times faster


@dataclass(slots=True)
class Node:
    """A value and the line its key (or, in a list, itself) stands on. What it is not, it has none of."""

    line: int
    text: str | None = None  # a scalar as written; None also for null
    value: str | None = None  # a scalar with its ${ENV_NAME} replaced; holds secrets, so no message may
    items: list[Node] | None = None
    fields: dict[str, Node] | None = None
    bad: bool = False  # already complained about

    def get(self, name: str) -> Node | None:
        """The value of one key, if this is a mapping that has it."""
        return (self.fields or {}).get(name)

    def entries(self, name: str) -> Mapping[str, Node]:
        """The mapping below one key; empty when it is none."""
        below = self.get(name)
        return (below.fields if below else None) or {}

    def listed(self, name: str) -> list[Node]:
        """The list below one key; empty when it is none."""
        below = self.get(name)
        return (below.items if below else None) or []

    def plain(self) -> object:
        """This node as dicts, lists, strings and None."""
        if self.fields is not None:
            return {name: node.plain() for name, node in self.fields.items()}
        if self.items is not None:
            return [node.plain() for node in self.items]
        return self.value

    def scalars(self) -> Iterator[Node]:
        """Every scalar in the tree, in the order of the file."""
        if self.text is not None:
            yield self
        for node in [*(self.items or ()), *(self.fields or {}).values()]:
            yield from node.scalars()


class UnreadableError(Exception):
    """The file cannot be read as one YAML mapping, so that nothing more can be said about it."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def read_text(path: Path) -> str:
    """Read a policy file whole; it must be a regular file, in UTF-8.

    Raises:
        UnreadableError: for anything else. A FIFO is never waited for.
    """
    return _decoded(_read(path))


def _read(path: Path) -> bytes:
    """The bytes of a regular file of bearable size."""
    try:
        # Non-blocking: a FIFO may have no writer, and would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UnreadableError(1, "this is not a regular file")
            content = file.read(LARGEST_FILE + 1)
    except IsADirectoryError:
        raise UnreadableError(1, "this is a directory, not a file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        raise UnreadableError(1, f"the file cannot be read: {reason}") from error
    if len(content) > LARGEST_FILE:
        raise UnreadableError(1, f"the file is larger than {LARGEST_FILE:,} bytes")
    return content


def _decoded(content: bytes) -> str:
    """The text of a file, free of characters that no policy needs and some parsers trip over."""
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UnreadableError(content.count(b"\n", 0, error.start) + 1, "this is not UTF-8 text") from None
    if found := _CONTROL.search(text):
        name = "NUL" if found[0] == "\0" else "a control"
        raise UnreadableError(text.count("\n", 0, found.start()) + 1, f"{name} character does not belong in a policy")
    return text


_Content = yaml.ScalarEvent | yaml.CollectionStartEvent


@dataclass(slots=True)
class _Builder:
    """Makes nodes of the parser's events."""

    events: Iterator[yaml.Event]
    problems: list[Found] = field(default_factory=list)
    nodes: int = 0

    def node(self, event: yaml.Event, line: int, depth: int) -> Node:
        """The node that begins with this event; `line` is where people look for it."""
        self.nodes += 1
        if depth > DEEPEST:
            raise UnreadableError(_line(event), f"nested deeper than {DEEPEST} levels")
        if self.nodes > MOST_NODES:
            raise UnreadableError(_line(event), f"more than {MOST_NODES:,} values")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, line, bad=self._has_decoration(event))
        if not isinstance(event, yaml.CollectionStartEvent):
            return self._refused(_line(event), "aliases (*name) are not allowed; write the value out")
        bad = self._has_decoration(event)
        if isinstance(event, yaml.MappingStartEvent):
            return Node(line, fields=self._fields(depth), bad=bad)
        return Node(line, items=self._items(depth), bad=bad)

    def _refused(self, line: int, message: str) -> Node:
        self.problems.append((line, message))
        return Node(line, bad=True)

    def _has_decoration(self, event: _Content) -> bool:
        """Complain about an anchor or a tag. Neither is repeated: it might be a secret with an odd first letter."""
        if event.anchor is not None:
            self.problems.append((_line(event), "anchors (&name) are not allowed; write the value out"))
        if event.tag is not None:
            self.problems.append((_line(event), "tags (!name) are not allowed"))
        return event.anchor is not None or event.tag is not None

    def _scalar(self, event: yaml.ScalarEvent, line: int, *, bad: bool) -> Node:
        """A scalar, or null. An empty value is a mistake: it is what a half-written file leaves."""
        if event.style in (None, "") and event.value in ("", "~", "null") and not bad:
            if event.value == "":
                return self._refused(line, "there is no value here; write one, or leave the key out")
            return Node(line)
        text = _restored(event.value)
        return Node(line, text=text, value=text, bad=bad)

    def _items(self, depth: int) -> list[Node]:
        items = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, _line(event), depth + 1))
        return items

    def _fields(self, depth: int) -> dict[str, Node]:
        fields: dict[str, Node] = {}
        while not isinstance(key := next(self.events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise UnreadableError(_line(key), "a key must be a plain word; `{`, `[`, `*` or `?` begins none")
            self._has_decoration(key)
            node = self.node(next(self.events), _line(key), depth + 1)
            name = _restored(key.value)
            self._check_key(name, _line(key), fields)
            fields.setdefault(name, node)
        return fields

    def _check_key(self, name: str, line: int, fields: Mapping[str, Node]) -> None:
        if name in fields:
            self.problems.append((line, f"duplicate key {quoted(name)}; the first is on line {fields[name].line}"))
        if "${" in name:
            self.problems.append((line, "${...} is replaced in values only, not in keys"))


def _shielded(text: str) -> str:
    """Hide the braces of each ${ENV_NAME} from YAML, which would take them for a mapping inside {...} and [...]."""
    return re.sub(REFERENCE, lambda found: f"${_OPEN}{found[0][2:-1]}{_CLOSE}", text)


def _restored(text: str) -> str:
    """Undo `_shielded`."""
    return text.replace(_OPEN, "{").replace(_CLOSE, "}")


def parse(text: str) -> tuple[Node, list[Found]]:
    """The tree of a YAML text, with what is wrong in its form (line, message).

    Raises:
        UnreadableError: when it is not one mapping in one document.
    """
    try:
        return _parse(text)
    except yaml.MarkedYAMLError as error:
        raise UnreadableError(_line_of(error, text), f"not YAML: {_plain_words(error)}") from None
    except yaml.YAMLError:
        raise UnreadableError(1, "not YAML: it cannot be read at all") from None


def _parse(text: str) -> tuple[Node, list[Found]]:
    events = yaml.parse(_shielded(text), Loader=_Loader)
    builder = _Builder(events)
    next(events)  # the stream's start
    if not isinstance(next(events), yaml.DocumentStartEvent):
        raise UnreadableError(1, "the file is empty")
    start = next(events)
    if not isinstance(start, yaml.MappingStartEvent):
        empty = isinstance(start, yaml.ScalarEvent) and start.value == ""
        raise UnreadableError(_line(start), "the file is empty" if empty else "a policy is a mapping of keys to values")
    root = builder.node(start, 1, 1)
    next(events)  # the document's end
    following = next(events)
    if not isinstance(following, yaml.StreamEndEvent):
        raise UnreadableError(_line(following), "a second document begins here; a policy file holds one")
    if not start.flow_style and not text.endswith(("\n", "\r")):
        builder.problems.append((_lines(text), _NO_END))
    return root, builder.problems


def _line(event: yaml.Event) -> int:
    """The line an event begins on, counted from 1."""
    return event.start_mark.line + 1 if event.start_mark else 1


def _line_of(error: yaml.MarkedYAMLError, text: str) -> int:
    """The line to look at: where the parser gave up, or, for a key without its colon, where that key stands."""
    is_key = error.context == "while scanning a simple key"
    mark = (error.context_mark if is_key else None) or error.problem_mark or error.context_mark
    return min(mark.line + 1, _lines(text)) if mark else 1


def _lines(text: str) -> int:
    """How many lines a text has."""
    return text.count("\n") + (not text.endswith("\n"))


def _plain_words(error: yaml.MarkedYAMLError) -> str:
    """The parser's own words, less the pieces of the file that some of them repeat."""
    said = f"{error.context}, {error.problem}" if error.context else str(error.problem)
    return re.sub(r"""(["'])(?![\w <>-]{0,30}\1|.\1).*?\1""", "this", said)


def quoted(name: str) -> str:
    """A name from the file, short and printable."""
    return f'"{printable(name)}"'


def printable(name: str) -> str:
    """A name from the file as it can stand in one line of a log."""
    shown = name if len(name) <= 60 else name[:60] + "..."
    return "".join(c if c.isprintable() else "?" for c in shown)
