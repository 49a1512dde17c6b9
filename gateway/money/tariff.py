"""What an upstream asks for: the lines of one model at one provider, in USD per token.

Which line holds, where a tier of service and a long prompt come together:

* A line that a tier or a step does not give is the standard one (of a step: that of the step below it), but for two
  that follow their like: see `_over`.
* A line that both give is the step's, times what the tier makes of the standard line, as providers reckon it; unless
  the two together have a line of their own.
* A line that nobody gives costs what its kind costs: a cached token as an uncached one, a token of reasoning as any
  token of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from policies import money

MILLION = 1e6
Given = Mapping[str, float]  # lines by name, in USD per million tokens (`request`: USD), those that are given


@dataclass(frozen=True, slots=True)
class Lines:
    """USD per token of each kind, and per request; every one is filled in."""

    input: float
    cached_input: float
    cache_write: float
    cache_write_1h: float
    output: float
    reasoning: float
    audio_input: float
    audio_output: float
    image_input: float
    image_output: float
    request: float


NAMES = tuple(Lines.__slots__)


@dataclass(frozen=True, slots=True)
class Scale:
    """The lines of one tier of service: those of ordinary prompts, and those of prompts of more than so many tokens."""

    lines: Lines
    steps: tuple[tuple[float, Lines], ...] = ()  # (prompt tokens above which they hold, lines), the longest first

    def at(self, prompt: float) -> Lines:
        """The lines for a prompt of so many tokens."""
        for above, lines in self.steps:
            if prompt > above:
                return lines
        return self.lines


@dataclass(frozen=True, slots=True)
class LongPrompt:
    """The given lines of prompts above some length, and those of tiers there."""

    above: float
    given: Given
    tiers: Mapping[str, Given] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tariff:
    """What one model costs at one upstream."""

    standard: Scale
    source: str  # "policy" or "table DATE provider/model"
    tiers: Mapping[str, Scale] = field(default_factory=dict, hash=False)
    caches_prefixes: bool = False  # the provider caches prompt prefixes unasked, and charges less for them

    @property
    def lines(self) -> Lines:
        """The standard lines of prompts that are not long."""
        return self.standard.lines

    def scale(self, tier: str) -> Scale:
        """The lines of a tier of service; those of an unknown one are the standard ones."""
        return self.tiers.get(tier, self.standard)


def of_price(price: money.Price, *, caches_unasked: bool = True) -> Tariff:
    """The tariff that a policy states. `caches_unasked`: whether its provider needs no asking to cache prefixes."""
    steps = [LongPrompt(step.above, given(step)) for step in price.steps]
    tiers: dict[str, Given] = {name: given(lines) for name, lines in price.tiers.items()}
    return tariff(given(price), "policy", steps, tiers, caches_unasked=caches_unasked)


def given(lines: money.Lines) -> dict[str, float]:
    """The lines that a part of the policy states."""
    return {name: value for name in NAMES if (value := getattr(lines, name)) is not None}


def tariff(
    base: Given,
    source: str,
    steps: Sequence[LongPrompt] = (),
    tiers: Mapping[str, Given] | None = None,
    *,
    caches_unasked: bool = True,
) -> Tariff:
    """A tariff from the lines that are given, `input` among them."""
    tiers = tiers or {}
    named = sorted({*tiers, *(name for step in steps for name in step.tiers)})
    standard = _scale(base, steps)
    caches = caches_unasked and standard.lines.cached_input < standard.lines.input
    return Tariff(standard, source, {name: _scale(base, steps, name, tiers.get(name, {})) for name in named}, caches)


def _scale(base: Given, steps: Sequence[LongPrompt], tier: str = "", differing: Given | None = None) -> Scale:
    differing = differing or {}
    lines = _over(base, differing)
    found: list[tuple[float, Lines]] = []
    reached: Given = {}
    for step in sorted(steps, key=lambda step: step.above):
        reached = {**reached, **step.given}
        long = {name: value * _factor(name, base, differing) for name, value in reached.items()}
        found.insert(0, (step.above, _filled(_over(_over(lines, long), step.tiers.get(tier, {})))))
    return Scale(_filled(lines), tuple(found))


def _factor(name: str, base: Given, differing: Given) -> float:
    """What a tier makes of a standard line."""
    return differing[name] / base[name] if name in differing and base.get(name) else 1.0


def _over(lower: Given, upper: Given) -> Given:
    """The lines of both, those of `upper` first.

    Two that `upper` does not give follow what it does give: a cached token is not dearer than one that is not cached,
    and the cache's hour changes as the cache's usual time does.
    """
    lines = {**lower, **upper}
    if "cache_write" in upper and "cache_write_1h" in lower and "cache_write_1h" not in upper:
        lines["cache_write_1h"] *= upper["cache_write"] / lower["cache_write"] if lower.get("cache_write") else 1.0
    if "input" in upper and "cached_input" in lower and "cached_input" not in upper:
        lines["cached_input"] = min(lines["cached_input"], lines["input"])
    return lines


def _filled(lines: Given) -> Lines:
    """Every line, in USD per token."""
    each = {name: value / MILLION for name, value in lines.items() if name != "request"}
    input, output = each["input"], each.get("output", 0.0)  # noqa: A001 - the field's own word
    write = each.get("cache_write", input)
    return Lines(
        input=input,
        cached_input=each.get("cached_input", input),
        cache_write=write,
        cache_write_1h=each.get("cache_write_1h", write),
        output=output,
        reasoning=each.get("reasoning", output),
        audio_input=each.get("audio_input", input),
        audio_output=each.get("audio_output", output),
        image_input=each.get("image_input", input),
        image_output=each.get("image_output", output),
        request=lines.get("request", 0.0),
    )
