"""LiteLLM's fallbacks: further targets of a model, where they can answer what it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from policies.importers.entries import Target
from policies.importers.foreign import Value
from policies.importers.reasons import EVERY_MODEL, OTHER_MODE
from policies.importers.report import Report, listed, mapping

MOST_ATTEMPTS = 100
_NOT_THERE = "names a model that is not among those carried over"


@dataclass(slots=True)
class Fallbacks:
    """Appends to `targets`, by model, those of the models it falls back to, which are not followed further.

    `own` are the targets that the models have of themselves.
    """

    report: Report
    own: Mapping[str, Sequence[Target]]
    targets: Mapping[str, list[Target]]
    has_any: bool = False

    def read(self, where: str, section: Mapping[str, Value]) -> None:
        """One section's: a model's own first, then those of every model."""
        general = []
        for number, each in enumerate(listed(section.get("fallbacks"))):
            here = f"{where}.fallbacks[{number}]"
            for name, others in mapping(each).items():
                if name == "*":
                    general.append((here, listed(others)))
                else:
                    self._fall_back(here, name, listed(others))
        general.append((f"{where}.default_fallbacks", listed(section.get("default_fallbacks"))))
        for here, others in general:
            if others:
                self._fall_back_all(here, others)

    def _fall_back_all(self, where: str, others: Sequence[Value]) -> None:
        self.report.add(where, EVERY_MODEL)
        for name in self.own:
            self._fall_back(where, name, others)

    def _fall_back(self, where: str, name: str, others: Sequence[Value]) -> None:
        if name not in self.own:
            self.report.add(where, _NOT_THERE)
            return
        for other in others[:MOST_ATTEMPTS]:
            if not isinstance(other, str) or other not in self.own:
                self.report.add(where, _NOT_THERE)
            elif _embeds(self.own[other]) != _embeds(self.own[name]):
                self.report.add(where, OTHER_MODE)
            else:
                self._append(self.targets[name], self.own[other][:MOST_ATTEMPTS])

    def _append(self, targets: list[Target], more: Sequence[Target]) -> None:
        there = {(target.upstream, target.model) for target in targets}
        for target in more:
            if (target.upstream, target.model) not in there and len(there) < MOST_ATTEMPTS:
                there.add((target.upstream, target.model))
                targets.append(target)
                self.has_any = True


def _embeds(targets: Sequence[Target]) -> bool:
    """Say whether a model is for embeddings; one that does not say what it is for is taken to be for text."""
    return any("embeddings" in target.serves for target in targets)
