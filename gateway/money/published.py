"""The prices that litellm publishes, checked and turned into rows of our table; litellm itself is never imported.

A row is what a policy's `prices` would say: lines in USD per million tokens (`request`: USD), `tiers` and `steps`, and
in a step the `tiers` that have lines of their own there.

Facts are hostile until checked. A row with a number that cannot be a price is refused whole. So are rows that say 0:
there a 0 mostly means that nobody wrote the price down, and an unknown price must not look like no price.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

from gateway.money.tariff import NAMES

FILE = "model_prices_and_context_window_backup.json"
MODES = frozenset({"chat", "completion", "responses", "embedding"})
MOST_PER_TOKEN = 0.1  # USD; the dearest model known costs a hundredth of it
MOST_PER_REQUEST = 100.0
MOST_TOKENS = 10**9
LONGEST_NAME = 300

_LINES = {
    "input_cost_per_token": "input",
    "input_cost_per_token_cache_hit": "cached_input",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_token": "output",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
    "input_cost_per_image_token": "image_input",
    "output_cost_per_image_token": "image_output",
    "input_cost_per_request": "request",
}
_TIERS = {"batches": "batch", "flex": "flex", "priority": "priority"}
_FIELD = re.compile(rf"({'|'.join(_LINES)})(?:_above_([0-9]{{1,6}})k_tokens)?(?:_({'|'.join(_TIERS)}))?")
_KIND = {  # what a token costs that has no line of its own
    "cached_input": "input",
    "cache_write": "input",
    "cache_write_1h": "input",
    "reasoning": "output",
    "audio_input": "input",
    "audio_output": "output",
    "image_input": "input",
    "image_output": "output",
}
_SAME = {
    "bedrock_converse": "bedrock",
    "cohere_chat": "cohere",
    "azure_text": "azure",
    "vertex_ai_beta": "vertex_ai",
    "anthropic_text": "anthropic",
}

Row = dict[str, Any]


@dataclass(slots=True)
class Harvest:
    """What a file of litellm's gave: rows by "provider/model", and why others were refused, by litellm's own name."""

    rows: dict[str, Row] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class Refused(ValueError):
    """A row that cannot be a price; its text says why."""


def installed() -> tuple[Path, str] | None:
    """The file of the installed litellm, and litellm's version; None where it is not installed."""
    spec = find_spec("litellm")  # finds the folder, runs nothing in it
    try:
        release = version("litellm")
    except PackageNotFoundError:
        return None
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    return next(((folder / FILE, release) for folder in folders if (folder / FILE).is_file()), None)


def harvest(document: Mapping[str, Any]) -> Harvest:
    """Rows of every model whose tokens have a price."""
    found, exact = Harvest(), set[str]()
    for name, raw in sorted(document.items()):
        if not isinstance(raw, dict) or raw.get("mode") not in MODES:
            continue
        try:
            provider, model = _named(name, raw.get("litellm_provider"))
            row = row_of(raw)
        except Refused as reason:
            found.refused[name] = str(reason)
            continue
        key = f"{provider}/{model}"
        if row is None or key in exact:  # of two, the name that bears its provider is the one that was meant for it
            continue
        if model != name:
            exact.add(key)
        found.rows[key] = row
    return found


def provider_of(name: str) -> str:
    """A provider's name without litellm's word for one of its interfaces, as in vertex_ai-anthropic_models."""
    name = name.removeprefix("text-completion-")
    name = re.sub(r"-[a-z0-9]+[-_]models$", "", name)
    return _SAME.get(name, name)


def _named(name: str, provider: object) -> tuple[str, str]:
    """Who serves the model, and the model's name there."""
    if not isinstance(provider, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,60}", provider):
        raise Refused("it names no provider")
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise Refused("it is no name of a model")
    known = provider_of(provider)
    prefix = next((prefix for prefix in (f"{provider}/", f"{known}/") if name.startswith(prefix)), "")
    return known, name.removeprefix(prefix)


def row_of(raw: Mapping[str, Any]) -> Row | None:
    """The row of one model; None where tokens have no price. Raises Refused."""
    places = _sorted_out(raw)
    for above, lines in _brackets(raw.get("tiered_pricing")):
        places.setdefault((above, ""), {}).update(lines)
    base = places.pop((0, ""), {})
    if "input" not in base:
        return None
    _check_zeros(base, raw.get("mode"))
    row = _worth_saying(base, base, base)
    tiers = {tier: _worth_saying(lines, base, row) for (above, tier), lines in places.items() if not above}
    if tiers := {tier: lines for tier, lines in sorted(tiers.items()) if lines}:
        row["tiers"] = tiers
    if steps := _steps(base, row, places):
        row["steps"] = steps
    return row


def _sorted_out(raw: Mapping[str, Any]) -> dict[tuple[int, str], Row]:
    """The lines by (prompt tokens above which they hold, tier); the standard ones are at (0, "")."""
    places: dict[tuple[int, str], Row] = {}
    for name, value in raw.items():
        match = _FIELD.fullmatch(name)
        if match is not None and value is not None:
            where = (int(match[2] or 0) * 1000, _TIERS.get(match[3] or "", ""))
            places.setdefault(where, {})[_LINES[match[1]]] = _per_million(match[1], value)
    return places


def _brackets(pricing: object) -> Iterator[tuple[int, Row]]:
    """Prices by length of prompt, where litellm lists them instead of naming them."""
    for bracket in pricing if isinstance(pricing, list) else []:
        bounds = bracket.get("range") if isinstance(bracket, dict) else None
        if not isinstance(bounds, list) or not bounds or not isinstance(bounds[0], int | float):
            raise Refused("a price by length of prompt does not say for which lengths")
        if not 0 <= bounds[0] <= MOST_TOKENS:
            raise Refused(f"a price holds above {bounds[0]!r} tokens")
        yield int(bounds[0]), _sorted_out(bracket).get((0, ""), {})


def _per_million(name: str, value: object) -> float:
    """USD per million tokens, to the digit; USD per request as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise Refused(f"{name} is no number")
    is_per_token = _LINES[name] != "request"
    most = MOST_PER_TOKEN if is_per_token else MOST_PER_REQUEST
    if not 0 <= value <= most:
        raise Refused(f"{name} is {value!r}, which is not between 0 and {most:g} USD")
    exact = Decimal(repr(value)) * (1_000_000 if is_per_token else 1)
    return int(exact) if exact == int(exact) else float(exact)


def _check_zeros(base: Row, mode: object) -> None:
    if not any(base.values()):
        raise Refused("every line is 0, which mostly means that nobody knows")
    if mode != "embedding" and not base.get("output"):
        raise Refused("an answer would cost nothing, which mostly means that nobody knows")


def _worth_saying(lines: Row, base: Row, row: Row) -> Row:
    """The lines of one place that tell something, in their usual order. `row` is what the standard place tells."""
    return {name: lines[name] for name in NAMES if name in lines and _tells(name, lines, base, row)}


def _tells(name: str, lines: Row, base: Row, row: Row) -> bool:
    value, kind = lines[name], _KIND.get(name, name)
    plain = lines.get(kind, base.get(kind, 0))  # what tokens of its kind cost in the same place
    if value == 0:  # of a cache or a call it may be true; elsewhere it is beside what costs something, so: not known
        return name in ("cached_input", "request") or not (plain or base.get(name))
    if name.startswith("cache_write") and value < plain:  # writing costs no less than reading without a cache
        return False
    return kind == name or value != plain or (name in row and lines is not base)


def _steps(base: Row, row: Row, places: Mapping[tuple[int, str], Row]) -> list[Row]:
    steps: list[Row] = []
    for above in sorted({above for above, _ in places if above}):
        standard = {**base, **places.get((above, ""), {})}
        step: Row = {"above": above, **_worth_saying(places.get((above, ""), {}), base, row)}
        tiers = {tier: lines for (start, tier), lines in sorted(places.items()) if start == above and tier}
        if tiers := {tier: said for tier, lines in tiers.items() if (said := _worth_saying(lines, standard, row))}:
            step["tiers"] = tiers
        steps.append(step)
    return steps
