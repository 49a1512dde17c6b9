"""Hostile values in every field of the language are refused quickly, with their line."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import pytest

from policies.model import Part, Policy
from tests.policies.files import SMALL, problems

GOOD: dict[str, Any] = {
    "upstreams": {"local": {"url": "http://127.0.0.1:8000/v1"}},
    "models": {"small": {"targets": [{"upstream": "local"}]}},
}
NAMED = {"upstreams": "local", "models": "small", "prices": "small", "tiers": "batch"}  # keys of mappings
HUGE = ["1e400", "-1e400", "9" * 10_000, "-" + "9" * 10_000, "0." + "9" * 10_000, "1e-99999999", ".inf", "nan", "0x1F"]


def fields(part: type[Part], above: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Where every field of the language is, from the top: a number stands for an item of a list."""
    for name, field in part.model_fields.items():
        yield (*above, name)
        kind: Any = field.annotation
        kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
        for each in kinds:
            inner = get_args(each)[-1] if get_origin(each) in (dict, list) else each
            step: tuple[object, ...] = ()
            if get_origin(each) is dict:
                step = (NAMED.get(name, "small"),)
            elif get_origin(each) is list:
                step = (0,)
            if isinstance(inner, type) and issubclass(inner, Part):
                yield from fields(inner, (*above, name, *step))


def with_value(path: tuple[object, ...], value: object) -> str:
    """A policy, as JSON, with this value at a place."""
    policy: Any = json.loads(json.dumps(GOOD))
    here = policy
    for step, following in pairwise(path):
        empty: Any = [] if following == 0 else {}
        if isinstance(step, int):
            if not here:
                here.append(empty)
            here = here[0]
        else:
            here = here.setdefault(step, empty)
    last = path[-1]
    if isinstance(last, int):
        here[:] = [value]
    else:
        here[last] = value
    return json.dumps(policy, indent=1, ensure_ascii=False)


PLACES = list(fields(Policy))


def test_every_part_is_tried() -> None:
    """The walk reaches what lies deepest."""
    assert ("upstreams", "local", "prices", "small", "steps", 0, "above") in PLACES
    assert ("upstreams", "local", "machine", "prefill") in PLACES
    assert ("rules", 0, "record", "longest") in PLACES
    assert len(PLACES) > 100


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_huge_numbers_and_odd_shapes(tmp_path: Path, place: tuple[object, ...]) -> None:
    """Endless and endlessly long numbers, and values of other shapes, are refused or are names, within a moment."""
    start = time.process_time()
    values: list[object] = [*HUGE, True, {}, [], {"a": {"b": []}}, [[[]]], None, -1, 10**30]
    for value in values:
        told = problems(tmp_path, with_value(place, value))
        assert all(re.fullmatch(r"[1-9]\d*: .{1,700}", problem) for problem in told)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "place",
    [
        ("upstreams", "local", "prices", "small", "input"),
        ("upstreams", "local", "prices", "small", "request"),
        ("upstreams", "local", "prices", "small", "tiers", "batch", "output"),
        ("upstreams", "local", "prices", "small", "steps", 0, "above"),
        ("upstreams", "local", "machine", "usd_per_hour"),
        ("upstreams", "local", "machine", "prefill"),
        ("upstreams", "local", "machine", "decode"),
        ("ledger", "retention"),
        ("ledger", "records"),
        ("ledger", "sums"),
        ("ledger", "gateway_usd_per_hour"),
        ("rules", 0, "holdout"),
        ("rules", 0, "record", "longest"),
    ],
    ids=lambda place: ".".join(map(str, place)),
)
@pytest.mark.parametrize("value", [*HUGE[:4], ".inf", "nan", "-1", "1,5", "one", "\u0661\u0662"])
def test_numbers_that_are_none(tmp_path: Path, place: tuple[object, ...], value: str) -> None:
    """Every number about money and records is a finite one within its bounds, or is refused at its line."""
    text = with_value(place, value)
    line = next(i for i, row in enumerate(text.split("\n"), 1) if f'"{place[-1]}"' in row)
    assert any(problem.startswith(f"{line}: ") for problem in problems(tmp_path, text))


@pytest.mark.parametrize(
    "name", ["\u202esmall", "small\u200b", "a\u0007b", "\u00a0small", "small\u00a0", "", " ", "x" * 201]
)
@pytest.mark.parametrize("place", [("keys", 0, "team"), ("keys", 0, "tags", 0), ("rules", 0, "match", "tag"),
                                   ("upstreams", "local", "price_list"), ("models", "small", "baseline")])  # fmt: skip
def test_names_that_only_look_like_names(tmp_path: Path, place: tuple[object, ...], name: str) -> None:
    """Signs that turn writing round, that nobody sees, or that move a terminal, are in no name."""
    assert problems(tmp_path, with_value(place, name))


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "sha256:" + "0" * 63, "sha256:" + "0" * 65, "sha256:" + "A" * 64, "md5:" + "0" * 32,
               "sha256:" + "0" * 64 + "\n", "sha256:" + "\u0660" * 64]
)  # fmt: skip
def test_digests_that_are_none(tmp_path: Path, digest: str) -> None:
    """A digest is `sha256:` and 64 hexadecimal digits in lower case, and nothing besides."""
    text = with_value(("keys",), [{"name": "a", "tenant": "t", "hash": digest}])
    assert any("keys.0.hash" in problem for problem in problems(tmp_path, text))


@pytest.mark.parametrize("section", ["upstreams", "models", "keys", "rules"])
def test_a_hundred_thousand(tmp_path: Path, section: str) -> None:
    """A file with far too many entries is refused at the line where it became too long, within seconds."""
    entries = {"upstreams": "  u%d: {url: 'http://a/v1'}\n", "models": "  m%d: {targets: [{upstream: u}]}\n",
               "keys": "  - {name: k%d, tenant: t}\n", "rules": "  - {name: r%d}\n"}  # fmt: skip
    start = time.process_time()
    [problem] = problems(tmp_path, f"{section}:\n" + "".join(entries[section] % i for i in range(100_000)))
    assert "more than" in problem or "larger than" in problem
    assert time.process_time() - start < 5


def test_thousands_of_prices(tmp_path: Path) -> None:
    """As many prices and models as a file may hold are compared within seconds."""
    prices = "".join(f"      'm{i}*': {{input: 1}}\n" for i in range(2500))
    models = "".join(f"  m{i}: {{targets: [{{upstream: local}}]}}\n" for i in range(2500))
    text = f"upstreams:\n  local:\n    url: http://a/v1\n    prices:\n{prices}models:\n{models}"
    start = time.process_time()
    problems(tmp_path, text)
    assert time.process_time() - start < 40


@pytest.mark.parametrize("key", ["gateway_usd_per_hour: 1_0", "records: 10_000"])
def test_numbers_are_plainly_written(key: str, tmp_path: Path) -> None:
    """A number with an underscore is more likely a slip than meant, and YAML's readers do not agree on it."""
    assert "a number has no `_`" in "".join(problems(tmp_path, f"{SMALL}ledger: {{{key}}}\n"))
