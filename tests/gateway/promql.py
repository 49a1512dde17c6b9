"""Expressions of Prometheus held to our metrics: which names, labels and uses of them are wrong."""

from __future__ import annotations

import re

from gateway.families import FAMILIES, Family, kind

SUFFIXES = ("_bucket", "_sum", "_count")
THEIRS = {"le", "job", "instance"}
KNOWN: dict[str, Family] = {
    name: family
    for family in FAMILIES
    for name in ([family.name + each for each in SUFFIXES] if family.buckets else [family.name])
}
_SERIES = re.compile(r"\b(sluice_\w+)\s*(?:\{([^}]*)\})?\s*(\[[^\]]+\])?")
_LABEL = re.compile(r"\s*(\w+)\s*(?:=~|!~|!=|=)\s*\"[^\"]*\"\s*")
_GROUPING = re.compile(r"\b(?:by|without)\s*\(([^)]*)\)")


def faults(expression: str) -> list[str]:
    """Every problem of one expression, in words; none if it is sound."""
    series = list(_SERIES.finditer(expression))
    if not series:
        return [f"no metric of ours: {expression}"]
    found = [fault for each in series for fault in _faults_of(expression, each)]
    labels = {label for each in series if each[1] in KNOWN for label in KNOWN[each[1]].labels} | THEIRS
    for grouping in _GROUPING.findall(expression):
        wrong = {label.strip() for label in grouping.split(",")} - labels - {""}
        found += [f"no metric here has the label {label}" for label in wrong]
    if any(expression.count(a) != expression.count(b) for a, b in ("()", "[]", "{}")):
        found.append("brackets do not match")
    return found


def _faults_of(expression: str, series: re.Match[str]) -> list[str]:
    name, matchers, window = series.groups()
    family = KNOWN.get(name)
    if family is None:
        return [f"no such metric: {name}"]
    found = []
    for matcher in filter(None, (matchers or "").split('",')):
        label = _LABEL.fullmatch(matcher if matcher.rstrip().endswith('"') else matcher + '"')
        if label is None or label[1] not in {*family.labels, *THEIRS}:
            found.append(f"{name} has no label like {matcher}")
    is_counted = kind(family) != "gauge"
    inside = re.search(r"\b(?:rate|increase)\(\s*$", expression[: series.start()]) is not None
    if is_counted != (inside and bool(window)):
        found.append(f"{name} is a {kind(family)}: {'take its rate' if is_counted else 'it has no rate'}")
    return found
