"""LiteLLM's config.yaml in; the text of a policy out, and a list of what could not be carried over.

Nothing of their file that may be a secret reaches the policy or a note: keys and headers become `${NAME}`, and notes
name places, never values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from policies.document import UnreadableError, parse
from policies.errors import PolicyError
from policies.expand import expand
from policies.importers.entries import STAND_IN, Target, Upstreams, duration, is_name
from policies.importers.fallbacks import MOST_ATTEMPTS, Fallbacks
from policies.importers.foreign import ForeignError, Value, read
from policies.importers.reasons import ENVIRONMENT, GENERAL, IN_ORDER, KEYS, LITELLM, NO_SETTING, REDIS, ROUTER
from policies.importers.report import (
    CannotImport,
    Names,
    Note,
    Report,
    below,
    is_true,
    listed,
    literal,
    mapping,
    number,
    references,
    word,
)
from policies.loader import load_text
from policies.scalars import LONGEST_DURATION, LONGEST_LIFETIME

__all__ = ["CannotImport", "Imported", "Note", "convert"]

RETENTION = 7 * 86_400.0  # seconds; a policy's default
MOST_TARGETS = 6000  # a policy of more is refused for its length; this is known before it is written
_HEAD = [
    "# Made of a LiteLLM config.yaml by `sluice policy import litellm`. Look it over: the list of what could not be",
    "# carried over says what is different here.",
]


@dataclass(frozen=True, slots=True)
class Imported:
    """A policy made of another gateway's configuration; `variables` must be set for it to load."""

    text: str
    notes: Sequence[Note]
    variables: Sequence[str]


def convert(text: str) -> Imported:
    """The policy that a LiteLLM configuration comes to. Raises CannotImport."""
    try:
        config = read(text)
    except ForeignError as error:
        raise CannotImport(str(error)) from error
    report = Report(Names(references(text)))
    policy = _Found(config, report).policy()
    if not policy["models"]:
        raise CannotImport("\n".join(["nothing in model_list could be carried over", *map(str, report.notes)]))
    if sum(len(model["targets"]) for model in policy["models"].values()) > MOST_TARGETS:
        raise CannotImport(f"its models and their fallbacks come to more than {MOST_TARGETS:,} targets")
    written, variables = _written(policy)
    return Imported(written, report.notes, variables)


class _Found:
    """One configuration, section by section."""

    def __init__(self, config: Mapping[str, Value], report: Report) -> None:
        self._config = config
        self._report = report
        self._router = mapping(config.get("router_settings"))
        self._litellm = mapping(config.get("litellm_settings"))
        self._upstreams = Upstreams(report)
        self._targets: dict[str, list[Target]] = {}
        self._has_fallbacks = False
        self._own: dict[str, list[Target]] = {}  # without those of fallbacks

    def policy(self) -> dict[str, Any]:
        """The policy as plain values."""
        self._read_models()
        self._own = {name: list(targets) for name, targets in self._targets.items()}
        fallbacks = Fallbacks(self._report, self._own, self._targets)
        for where, section in (("router_settings", self._router), ("litellm_settings", self._litellm)):
            fallbacks.read(where, section)
        self._has_fallbacks = fallbacks.has_any
        self._read_aliases()
        rule = self._rule()
        self._note_the_rest()
        policy: dict[str, Any] = {"version": 1, "upstreams": self._upstreams.found}
        policy["models"] = {name: _model(name, targets, self._own[name]) for name, targets in self._targets.items()}
        retention = rule.pop("retention", None)
        if rule:
            policy["rules"] = [{"name": "imported", **rule}]
        if retention:
            policy["cache"] = {"retention": retention}
        return policy

    def _read_models(self) -> None:
        for number_, each in enumerate(listed(self._config.get("model_list"))):
            where, entry = f"model_list[{number_}]", mapping(each)
            name = word(entry.get("model_name"))
            if name is not None and "*" in name:
                self._report.add(where, "Sluice serves models by their names, not by wildcards: write each out")
            elif name is None or not is_name(name) or "${" in name:
                self._report.add(where, "model_name is no name that a policy can hold, so this entry is left out")
            elif (target := self._upstreams.target(where, entry)) is not None:
                self._add(where, name, target)
            self._report.add_all(where, entry, {"model_name", "litellm_params", "model_info"}, {}, NO_SETTING)

    def _add(self, where: str, name: str, target: Target) -> None:
        targets = self._targets.setdefault(name, [])
        if any((target.upstream, target.model) == (other.upstream, other.model) for other in targets):
            self._report.add(where, "the same target stands in an entry before")
            return
        targets.append(target)
        if len(targets) == 2:
            self._report.add(where, IN_ORDER)

    def _read_aliases(self) -> None:
        for alias, meant in mapping(self._router.get("model_group_alias")).items():
            name = word(mapping(meant).get("model")) if isinstance(meant, dict) else word(meant)
            if name in self._targets and is_name(alias) and "${" not in alias and alias not in self._targets:
                self._targets[alias], self._own[alias] = list(self._targets[name]), self._own[name]
            else:
                self._report.add(
                    below("router_settings.model_group_alias", alias), "not an alias of a model carried over"
                )

    def _rule(self) -> dict[str, Any]:
        """What applies to every call; `retention` among it belongs elsewhere."""
        rule: dict[str, Any] = {}
        if total := self._first(
            "timeouts.total", ("router_settings", "timeout"), ("litellm_settings", "request_timeout")
        ):
            rule["timeouts"] = {"total": total}
        if attempts := self._attempts():
            rule["retry"] = {"attempts": attempts}
        return {**rule, **self._cache()}

    def _first(self, meaning: str, *places: tuple[str, str]) -> str | None:
        """The first of several durations that their file gives."""
        for section, key in places:
            given = mapping(self._config.get(section)).get(key)
            if given is not None:
                seconds = duration(number(given), LONGEST_DURATION)
                if seconds is None:
                    self._report.add(below(section, key), f"not a number of seconds that `{meaning}` may have")
                return seconds
        return None

    def _attempts(self) -> int | None:
        """Most upstreams asked for a call: the first, each retry, and every fallback there is."""
        for section in ("router_settings", "litellm_settings"):
            given = mapping(self._config.get(section)).get("num_retries")
            retries = number(given)
            if given is not None and retries is None:
                self._report.add(f"{section}.num_retries", "not a number")
            elif retries is not None:
                longest = max((len(targets) for targets in self._targets.values()), default=1)
                least = longest if self._has_fallbacks else 1
                return min(MOST_ATTEMPTS, max(int(min(retries, MOST_ATTEMPTS)) + 1, least))
        return None

    def _cache(self) -> dict[str, Any]:
        """The rule's cache: whoever had one there had it for calls that sample too."""
        params = mapping(self._litellm.get("cache_params"))
        where = "litellm_settings.cache_params"
        if not is_true(self._litellm.get("cache")):
            self._report.add(
                "litellm_settings.cache",
                "off there; Sluice answers equal calls at temperature 0 from its cache unless a rule says "
                "`cache: {exact: false, coalesce: false}`",
            )
            self._report.add_all(where, params, (), {}, "no cache is on there")
            return {}
        self._note_cache(where, params)
        cache: dict[str, Any] = {"sampling": "any"}
        found: dict[str, Any] = {"cache": cache}
        if (given := params.get("ttl")) is not None:
            seconds = number(given)
            ttl = duration(seconds, LONGEST_LIFETIME)
            if ttl is None:
                self._report.add(below(where, "ttl"), "not a number of seconds that an answer may be kept")
            else:
                cache["ttl"] = ttl
                found |= {"retention": ttl} if (seconds or 0) > RETENTION else {}
        return found

    def _note_cache(self, where: str, params: Mapping[str, Value]) -> None:
        kind = (word(params.get("type")) or "local").lower()
        reasons = {
            **dict.fromkeys(("host", "port", "password", "url", "redis_startup_nodes", "ssl"), REDIS),
            "type": REDIS
            if kind == "redis"
            else "answers are kept in memory and on disk; only equal calls are answered",
            "namespace": "tenants never share an answer; callers divide further by x-sluice-namespace",
            "mode": "callers opt out by `Cache-Control: no-cache`",
        }
        self._report.add_all(where, params, {"ttl", "type"} if kind == "local" else {"ttl"}, reasons, NO_SETTING)

    def _note_the_rest(self) -> None:
        add_all = self._report.add_all
        strategy = word(self._router.get("routing_strategy"))
        if strategy is not None and strategy != "simple-shuffle":
            self._report.add("router_settings.routing_strategy", IN_ORDER)
        router = {"fallbacks", "default_fallbacks", "num_retries", "timeout", "model_group_alias", "routing_strategy"}
        litellm = {"fallbacks", "default_fallbacks", "num_retries", "request_timeout", "cache", "cache_params"}
        add_all("router_settings", self._router, router, ROUTER, NO_SETTING)
        add_all("litellm_settings", self._litellm, litellm, LITELLM, NO_SETTING)
        add_all("general_settings", mapping(self._config.get("general_settings")), (), GENERAL, NO_SETTING)
        if "master_key" not in mapping(self._config.get("general_settings")):
            self._report.add("general_settings.master_key", f"without keys only this machine is served; {KEYS}")
        add_all("environment_variables", mapping(self._config.get("environment_variables")), (), {}, ENVIRONMENT)
        sections = {"model_list", "router_settings", "litellm_settings", "general_settings", "environment_variables"}
        reasons = {"include": "files that it includes are not read; import each"}
        add_all("", self._config, sections, reasons, NO_SETTING)


def _model(name: str, targets: Sequence[Target], own: Sequence[Target]) -> dict[str, Any]:
    """One model of the policy, which serves what its `own` entries say."""
    listed_ = [
        {"upstream": target.upstream, **({} if target.model == name else {"model": literal(target.model)})}
        for target in targets
    ]
    said = [target.serves for target in own]
    serves = [each for each in ("chat", "completions", "embeddings") if any(each in served for served in said)]
    return {"targets": listed_, **({"serves": serves} if serves and all(said) else {})}


class _Dumper(yaml.SafeDumper):
    """Writes what stands in two places twice: a policy has no aliases."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - yaml's shape of it
        """Never."""
        return True


def _written(policy: Mapping[str, Any]) -> tuple[str, Sequence[str]]:
    """The policy's text, and the variables that must be set for it to load. Raises CannotImport."""
    body = yaml.dump(policy, Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=True)
    try:
        named = dict.fromkeys(re.findall(r"\$\{(\w+)\}", body), STAND_IN)
        used, _ = expand(parse(body)[0], named)
        load_text(body, Path("policy.yaml"), used, is_installed=lambda _: True)
    except (PolicyError, UnreadableError) as error:
        raise CannotImport(f"the policy that it came to does not load:\n{error}") from error
    head = [*_HEAD, f"# Needs in the environment: {', '.join(sorted(used))}"] if used else _HEAD
    return "\n".join([*head, "", body]), sorted(used)
