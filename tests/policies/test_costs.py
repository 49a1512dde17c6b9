"""Prices and settings of records that nothing would ever read are refused with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.policies.files import problems

TEXT = """\
upstreams:
  local:
    url: http://127.0.0.1:8000/v1
    prices:
      {}
models:
  small: {{targets: [{{upstream: local}}]}}
  large: {{targets: [{{upstream: local, model: large-v2}}]}}
"""


@pytest.mark.parametrize(
    ("prices", "found"),
    [
        ("smal: {input: 1}", 'prices: "smal" is no model asked for at this upstream; did you mean "small"?'),
        (
            "large: {input: 1}",
            'prices: "large" is no model asked for at this upstream; did you mean "large-v2"?',
        ),
        ("'x*': {input: 1}", 'prices: "x*" is no model asked for at this upstream; there are large-v2, small'),
        ("small: {input: 1, tiers: {batch: {}}}", "this tier names no line, so it changes nothing"),
        ("small: {input: 1, steps: [{above: 5}]}", "this step names no line, so it changes nothing"),
        (
            "small: {input: 1, steps: [{above: 5, input: 2}, {above: 5, input: 3}]}",
            "two steps above the same length; the first is on line 5",
        ),
    ],
)
def test_money_that_means_nothing(tmp_path: Path, prices: str, found: str) -> None:
    """A price for a model that is never asked for, and lines that change nothing, are refused."""
    assert problems(tmp_path, TEXT.format(prices)) == [f"5: {found}"]


@pytest.mark.parametrize("earlier", ["'*'", "'s*'"])
def test_a_price_behind_another(tmp_path: Path, earlier: str) -> None:
    """The first glob that fits counts, so one behind it that fits nothing more is refused."""
    text = TEXT.format(f"{earlier}: {{input: 1}}\n      small: {{input: 2}}")
    shown = earlier.strip("'")
    assert problems(tmp_path, text) == [f'6: prices: "small" is never asked, for "{shown}" on line 5 fits first']


@pytest.mark.parametrize(
    "prices",
    [
        "small: {input: 0}",
        "'*': {input: 1, tiers: {batch: {input: 0.5}}, steps: [{above: 1, output: 1}, {above: 2, input: 2}]}",
        "small: {input: 1}\n      'l*': {input: 2}\n",
        "small: {input: 1}\n      '*': {input: 2}\n",
    ],
)
def test_money_that_means_something(tmp_path: Path, prices: str) -> None:
    """Prices that some model is asked for pass; 0 is a price."""
    assert problems(tmp_path, TEXT.format(prices)) == []


def test_prices_of_an_upstream_that_nobody_asks(tmp_path: Path) -> None:
    """Prices of an upstream that is no model's target are refused."""
    text = TEXT.format("small: {input: 1}") + "  \n"
    idle = text.replace("upstreams:\n", "upstreams:\n  idle: {url: 'http://a/v1', prices: {'*': {input: 1}}}\n")
    assert problems(tmp_path, idle) == ["2: no model has this upstream as a target, so its prices are never asked"]


def test_a_bound_on_what_is_not_kept(tmp_path: Path) -> None:
    """`longest` without `content` is refused."""
    text = TEXT.format("small: {input: 1}") + "rules:\n  - name: a\n    record: {longest: 5%s}\n"
    assert problems(tmp_path, text % "") == [
        "11: longest has no effect while content is false: no request or answer is kept"
    ]
    assert problems(tmp_path, text % ", content: true") == []


@pytest.mark.parametrize("prices", ["small: 5", "small: []", "small: {input: 1, tiers: 5, steps: 5}", "small: null"])
def test_what_does_not_fit_the_language(tmp_path: Path, prices: str) -> None:
    """Prices of a wrong shape are told by the model, and do not stop these checks."""
    found = problems(tmp_path, TEXT.format(prices))
    assert found
    assert all(problem.startswith("5: ") for problem in found)


def test_too_many_prices(tmp_path: Path) -> None:
    """The 201st glob of one upstream is refused: each is held against every model. Plain names may be more."""
    globs = "\n      ".join(f"'?{number}': {{input: 1}}" for number in range(201))
    assert problems(tmp_path, TEXT.format(globs)) == [
        "205: prices: an upstream has at most 200 globs; write names out instead"
    ]
    names = "\n      ".join(f"m{number}: {{input: 1}}" for number in range(2000))
    models = "".join(f"  m{number}: {{targets: [{{upstream: local}}]}}\n" for number in range(2000))
    assert problems(tmp_path, TEXT.format(names) + models) == []


@pytest.mark.parametrize(("glob", "is_fine"), [("*m*a*l*" + "*" * 4, True), ("*" * 9, False), ("*a" * 100, False)])
def test_stars_of_a_glob(tmp_path: Path, glob: str, is_fine: bool) -> None:  # noqa: FBT001 - a column of the table
    """A glob has at most 8 stars; one more is refused with its line, once."""
    found = problems(tmp_path, TEXT.format(f"'{glob}': {{input: 1}}"))
    assert found == (
        []
        if is_fine
        else [f"5: upstreams.local.prices.{glob[:60]}{'...' * (len(glob) > 60)}: a glob has at most 8 `*`"]
    )


def test_many_globs_that_nearly_cover_each_other(tmp_path: Path) -> None:
    """200 globs and 1,500 models, each glob fitting all but one: a minute of comparing names, now a moment."""
    globs = [f"'a*[!{chr(0x4E00 + number)}]'" for number in range(200)]
    models = "".join(f"  aaaa{chr(0x4E00 + number)}: {{targets: [{{upstream: local}}]}}\n" for number in range(1500))
    text = TEXT.format("\n      ".join(f"{glob}: {{input: 1}}" for glob in globs)) + models
    assert problems(tmp_path, text) == []
