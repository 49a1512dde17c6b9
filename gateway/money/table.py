"""The dated table of providers' prices: what ships with the gateway, or what `sluice prices update` wrote since."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

import orjson

from gateway.money.lists import caches_unasked
from gateway.money.published import MOST_PER_REQUEST, MOST_PER_TOKEN, MOST_TOKENS, provider_of
from gateway.money.tariff import MILLION, NAMES, LongPrompt, Tariff, tariff

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).with_name("prices.json")
FILE = "prices.json"  # in the state folder
LARGEST = 32 * 1024 * 1024  # bytes
NOTICE = (
    "Facts taken from model_prices_and_context_window.json of LiteLLM, Copyright (c) 2023 Berri AI, used under the MIT "
    "licence."
)

# The last part of a name that tells a version of the same model, which costs what the model costs if not told apart.
_VERSION = re.compile(r"(-latest|-20\d\d-[01]\d-[0-3]\d|[-@]20\d\d[01]\d[0-3]\d)\Z", re.ASCII)


class BadTable(ValueError):
    """A file that is no table of prices, or a row that is no price; the text says why."""


@dataclass(frozen=True, slots=True)
class Book:
    """One table, read: its rows are as they stand in the file until somebody asks."""

    date: str
    source: str
    rows: Mapping[str, Any]  # by "provider/model"; USD per million tokens


class Table:
    """Prices by provider and model, read when first asked for."""

    def __init__(self, state: Path | None = None, shipped: Path = SHIPPED) -> None:
        """`state` is the gateway's state folder: a table there wins over the shipped one unless it is older."""
        self._state = state
        self._shipped = shipped

    @cached_property
    def book(self) -> Book:
        """The table in force."""
        shipped = read(self._shipped)
        path = None if self._state is None else self._state / FILE
        if path is None:
            return shipped
        try:
            own = read(path)
        except FileNotFoundError:
            return shipped
        except (OSError, BadTable) as error:
            logger.warning("The price table %s is not used, the one of %s is: %s", path, shipped.date, error)
            return shipped
        return own if own.date >= shipped.date else shipped

    @property
    def date(self) -> str:
        """When the table in force was made, as YYYY-MM-DD."""
        return self.book.date

    def lookup(self, provider: str, model: str) -> Tariff | None:
        """What a model costs at a provider; None where the table does not know, or knows no price that can be."""
        key = self.key_of(provider, model)
        if key is None:
            return None
        try:
            return tariff_of(self.book.rows[key], key, self.book.date)
        except BadTable as error:
            logger.warning("The price table knows no price of %s: %s", key, error)
            return None

    def key_of(self, provider: str, model: str) -> str | None:
        """The row for a model: its own, or that of the model of which it is a dated version; never a likely one."""
        rows = self.book.rows
        provider = provider_of(provider)
        for name in (model, model.removeprefix(f"{provider}/")):
            for spelling in (name, _VERSION.sub("", name)):
                if f"{provider}/{spelling}" in rows:
                    return f"{provider}/{spelling}"
        return None

    def keys(self, provider: str = "") -> Iterator[str]:
        """Every "provider/model" of a provider, or of all, in order."""
        return iter(sorted(key for key in self.book.rows if key.startswith(f"{provider}/" if provider else "")))

    def named(self, name: str) -> list[str]:
        """The rows that somebody can mean by a name: "provider/model", or a model at whichever provider."""
        if name in self.book.rows:
            return [name]
        return [key for key in self.keys() if key.partition("/")[2] == name]


def read(path: Path) -> Book:
    """The table in a file. Raises OSError or BadTable."""
    if path.stat().st_size > LARGEST:
        raise BadTable("it is too large for a table of prices")
    try:
        document = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise BadTable(f"it is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("models"), dict):
        raise BadTable("it has no models")
    try:
        made = date.fromisoformat(str(document.get("date"))).isoformat()
    except ValueError as error:
        raise BadTable("it bears no date") from error
    return Book(made, str(document.get("source", ""))[:200], document["models"])


def written(book: Book) -> bytes:
    """The table as a file: a header, and one line for each model."""
    header = {"date": book.date, "source": book.source, "notice": NOTICE, "unit": "USD per million tokens"}
    head = b"".join(b"%s: %s,\n" % (orjson.dumps(name), orjson.dumps(value)) for name, value in header.items())
    lines = (b"%s: %s" % (orjson.dumps(key), orjson.dumps(row)) for key, row in sorted(book.rows.items()))
    return b'{\n%s"models": {\n%s\n}\n}\n' % (head, b",\n".join(lines))


def tariff_of(row: object, key: str, made: str) -> Tariff:
    """What a row says. Raises BadTable."""
    base = _lines(row)
    if not isinstance(row, dict) or "input" not in base:
        raise BadTable("it has no line for input")
    provider, _, model = key.partition("/")
    return tariff(
        base,
        f"table {made} {key}",
        [_step(step) for step in _listed(row.get("steps", []))],
        _tiers(row),
        caches_unasked=caches_unasked(provider, model),
    )


def _listed(value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) > 20:
        raise BadTable("its steps are no short list")
    return value


def _step(step: object) -> LongPrompt:
    lines = _lines(step)
    above = step.get("above") if isinstance(step, dict) else None
    if isinstance(above, bool) or not isinstance(above, int) or not 0 < above <= MOST_TOKENS:
        raise BadTable("a step does not say above how many tokens")
    return LongPrompt(above, lines, _tiers(step))


def _tiers(row: Any) -> dict[str, dict[str, float]]:
    tiers = row.get("tiers", {})
    if not isinstance(tiers, dict) or len(tiers) > 10:
        raise BadTable("its tiers are no few names")
    return {name: _lines(lines) for name, lines in tiers.items()}


def _lines(row: object) -> dict[str, float]:
    if not isinstance(row, dict):
        raise BadTable("it is no object")
    lines = {name: row[name] for name in NAMES if name in row}
    for name, value in lines.items():
        most = MOST_PER_REQUEST if name == "request" else MOST_PER_TOKEN * MILLION
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not isfinite(value)
            or not 0 <= value <= most
        ):
            raise BadTable(f"its line for {name} cannot be")
    return lines
