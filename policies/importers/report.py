"""What an import could not carry over, and which variables its policy needs. Neither ever holds a value of the file."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from policies.document import printable
from policies.importers.foreign import Value

MOST_NOTES = 500
_ENV = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)")


def references(text: str) -> set[str]:
    """The variables that a LiteLLM configuration reads."""
    return set(_ENV.findall(text))


class CannotImport(Exception):
    """Nothing can be made of this file; the text says why and repeats none of its values."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that was not carried over as it stood: where in their file, and why."""

    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


@dataclass(slots=True)
class Names:
    """Gives each a name of its own: what was taken before gets a number."""

    taken: set[str]
    _counts: dict[str, int] = field(default_factory=dict)

    def unique(self, stem: str, separator: str) -> str:
        """The stem, or the stem with the first number that is free."""
        name = stem
        while name in self.taken:
            count = self._counts[stem] = self._counts.get(stem, 1) + 1
            name = f"{stem}{separator}{count}"
        self.taken.add(name)
        return name


@dataclass(slots=True)
class Report:
    """Notes, and the names of variables, gathered while a file is read."""

    variables: Names
    _notes: dict[Note, None] = field(default_factory=dict)

    @property
    def notes(self) -> list[Note]:
        """What was noted, in the order of reading."""
        return list(self._notes)

    def add(self, where: str, why: str) -> None:
        """Note something once; a file of nothing but mistakes does not fill the terminal."""
        if len(self._notes) < MOST_NOTES:
            self._notes[Note(where, why)] = None
        else:
            self._notes[Note("...", "and more")] = None

    def add_all(
        self, where: str, keys: Iterable[str], known: Collection[str], reasons: Mapping[str, str], otherwise: str
    ) -> None:
        """Note the keys that are not known, each with its reason or the usual one."""
        for key in keys:
            if key not in known:
                self.add(below(where, key), reasons.get(key, otherwise))

    def reference(self, value: str) -> str | None:
        """`${NAME}` for their `os.environ/NAME`; None for anything else."""
        found = _ENV.fullmatch(value.strip())
        return f"${{{found[1]}}}" if found else None

    def text(self, value: str) -> str:
        """A value as a policy writes it: a reference, or the very characters."""
        return self.reference(value) or literal(value)


def literal(value: str) -> str:
    """Characters that mean themselves in a policy: `${` in their file named no variable of ours."""
    return value.replace("${", "$${")


def below(where: str, key: str) -> str:
    """The path of a key in their file, as it can stand in one line."""
    return f"{where}.{printable(key)}" if where else printable(key)


def mapping(value: Value) -> dict[str, Value]:
    """A mapping; empty for anything else."""
    return value if isinstance(value, dict) else {}


def listed(value: Value) -> list[Value]:
    """A list; empty for anything else."""
    return value if isinstance(value, list) else []


def word(value: Value) -> str | None:
    """A text that is not empty; None for anything else."""
    return value if isinstance(value, str) and value else None


def number(value: Value) -> float | None:
    """A number that is neither endless nor below zero; None for anything else."""
    try:
        found = float(value) if isinstance(value, str) and len(value) <= 40 else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def is_true(value: Value) -> bool:
    """Say whether this is one of YAML's words for yes."""
    return isinstance(value, str) and value.lower() in ("true", "yes", "on", "1")
