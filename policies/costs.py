"""What a policy says of money and records that would have no effect: prices never asked, lines that change nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from policies.document import Found, Node, quoted
from policies.money import Record
from policies.scalars import LONGEST_NAME, MOST_STARS, fits, has_glob
from policies.words import suggestion

MOST_GLOBS = 200  # of one upstream, each held against each of its models; plain names cost nothing


def idle_money(tree: Node) -> Iterator[Found]:
    """Every price, step, tier and setting of records that nothing would ever read."""
    used = _models_at(tree)
    for name, upstream in tree.entries("upstreams").items():
        prices = upstream.entries("prices")
        yield from _unasked(prices, used.get(name, {}))
        for price in prices.values():
            yield from _empty_lines(price)
    for rule in tree.listed("rules"):
        yield from _idle_record(rule)


def _models_at(tree: Node) -> dict[str, dict[str, str]]:
    """By upstream the names of the models asked for there, each with how the file writes it."""
    used: dict[str, dict[str, str]] = {}
    for name, model in tree.entries("models").items():
        for target in model.listed("targets"):
            upstream, there = target.get("upstream"), target.get("model")
            if upstream and upstream.value:
                known = (there.value, there.text) if there and there.value and there.text else (name, name)
                used.setdefault(upstream.value, {})[known[0]] = known[1]
    return used


def _unasked(prices: Mapping[str, Node], used: dict[str, str]) -> Iterator[Found]:
    """Prices whose glob fits no model that is asked for, or none that an earlier glob has left."""
    if (globs := [price for glob, price in prices.items() if has_glob(glob)])[MOST_GLOBS:]:
        yield globs[MOST_GLOBS].line, f"prices: an upstream has at most {MOST_GLOBS} globs; write names out instead"
        return
    before: list[tuple[str, Node, int]] = []
    for glob, price in prices.items():
        if len(glob) > LONGEST_NAME or glob.count("*") > MOST_STARS or "${" in glob:
            continue
        fitting = _fitting(glob, used)
        if not used:
            yield price.line, "no model has this upstream as a target, so its prices are never asked"
        elif not fitting:
            shown = f"{quoted(glob)} is no model asked for at this upstream"
            yield price.line, f"prices: {shown}{suggestion(glob, used.values())}"
        else:
            yield from _shadowed(glob, price, fitting, before)
        if len(before) < MOST_GLOBS:
            before.append((glob, price, fitting))


def _fitting(glob: str, names: Mapping[str, str]) -> int:
    """Which of the names fit, as a number with a bit for each: two globs are then compared at once."""
    if not has_glob(glob):
        return 1 << list(names)[::-1].index(glob) if glob in names else 0
    test = fits(glob)
    return int("0" + "".join("1" if test(name) else "0" for name in names), 2)


def _shadowed(glob: str, price: Node, fitting: int, before: list[tuple[str, Node, int]]) -> Iterator[Found]:
    """A price behind one that fits all its models: the first that fits counts."""
    for earlier, node, taken in before:
        if not fitting & ~taken:
            yield (
                price.line,
                f"prices: {quoted(glob)} is never asked, for {quoted(earlier)} on line {node.line} fits first",
            )
            return


def _empty_lines(price: Node) -> Iterator[Found]:
    """Tiers and steps without a line, and two steps of one length."""
    for tier in price.entries("tiers").values():
        if tier.fields == {}:
            yield tier.line, "this tier names no line, so it changes nothing"
    first: dict[str, int] = {}
    for step in price.listed("steps"):
        above = step.get("above")
        if above is None or not above.value:
            continue
        if set(step.fields or ()) == {"above"}:
            yield step.line, "this step names no line, so it changes nothing"
        if above.value in first:
            yield above.line, f"two steps above the same length; the first is on line {first[above.value]}"
        first.setdefault(above.value, above.line)


def _idle_record(rule: Node) -> Iterator[Found]:
    """A bound on content that is not kept."""
    node = rule.get("record")
    if node is None or (longest := node.get("longest")) is None:
        return
    try:
        record = Record.model_validate(node.plain())
    except ValidationError:
        return  # the model complains by itself
    if not record.content:
        yield longest.line, "longest has no effect while content is false: no request or answer is kept"
