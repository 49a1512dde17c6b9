"""One entry of LiteLLM's model_list: where its calls are answered, by which name, at which price."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from policies.costs import MOST_GLOBS
from policies.importers.foreign import Value
from policies.importers.providers import OPENAI, OPENAI_LIKE, WELL_KNOWN, provider_and_model
from policies.importers.reasons import NO_SETTING
from policies.importers.report import Names, Report, below, mapping, number, references, word
from policies.scalars import LONGEST_DURATION, REFERENCE, Name, has_glob
from policies.upstreams import Upstream

STAND_IN = "http://stand-in.example/v1"  # for a variable, while what holds it is checked: good as address and as key
_NO_KEYS = frozenset({"", "dummy", "empty", "fake", "fake-key", "fake_key", "na", "no-key", "none", "not-needed"})
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_SERVES = {"chat": ("chat", "completions"), "completion": ("chat", "completions"), "embedding": ("embeddings",)}
_LINES = {
    "input_cost_per_token": "input",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
    "output_cost_per_token": "output",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
}
_READ = frozenset({"model", "custom_llm_provider", "api_base", "base_url", "api_key", "extra_headers", "headers",
                   "timeout", "stream_timeout", *_LINES})  # fmt: skip
_LIMIT = "Sluice has no limits by key or deployment yet"
_SENT = "defaults for fields of requests are not carried over; clients send them"
_REASONS = {
    **dict.fromkeys(("rpm", "tpm", "max_parallel_requests", "max_budget", "budget_duration"), _LIMIT),
    **dict.fromkeys(("temperature", "max_tokens", "top_p", "seed", "stop", "extra_body", "response_format"), _SENT),
    "weight": "targets are asked in order, not by weight",
    "order": "targets are asked in the order in which they stand",
    "tags": "a call names a model, not a deployment by its tags",
    "max_retries": "retries are counted for the whole call, by a rule",
    "api_version": "set AZURE_API_VERSION in the gateway's environment",
    "aws_access_key_id": "set AWS_ACCESS_KEY_ID in the gateway's environment",
    "aws_secret_access_key": "set AWS_SECRET_ACCESS_KEY in the gateway's environment",
    "aws_session_token": "set AWS_SESSION_TOKEN in the gateway's environment",
    "aws_region_name": "set AWS_REGION_NAME in the gateway's environment",
    "vertex_project": "set VERTEXAI_PROJECT in the gateway's environment",
    "vertex_location": "set VERTEXAI_LOCATION in the gateway's environment",
    "vertex_credentials": "set GOOGLE_APPLICATION_CREDENTIALS in the gateway's environment",
    "organization": "add the header OpenAI-Organization to the upstream, its value from the environment",
}
_OTHER_NAME = "an answer under another model's name counts as failed; if the server has its own, give `accept_models`"
_INFORMS = "this says something about the model that a policy has no place for"
_INFO_REASONS = {"base_model": "prices are looked up by the name the upstream is asked for; give them under `prices`"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where one entry is answered, and what it serves; `serves` is empty where the entry does not say."""

    upstream: str
    model: str
    serves: tuple[str, ...]


@dataclass(slots=True)
class Upstreams:
    """The upstreams of the policy to be; entries that say the same share one."""

    report: Report
    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    _names: dict[tuple[object, ...], str] = field(default_factory=dict)
    _taken: Names = field(default_factory=lambda: Names(set()))

    def target(self, where: str, entry: Mapping[str, Value]) -> Target | None:
        """Where an entry of model_list is answered; None, with a note, where that cannot be carried over."""
        params, info = mapping(entry.get("litellm_params")), mapping(entry.get("model_info"))
        here = below(where, "litellm_params")
        provider, model = provider_and_model(word(params.get("model")) or "", word(params.get("custom_llm_provider")))
        mode = word(info.get("mode"))
        if problem := _refusal(provider, model, mode):
            self.report.add(below(here, "model"), problem)
            return None
        name = self._upstream(here, provider, params)
        if name is None:
            return None
        self._price(where, name, model, {**mapping(entry.get("model_info")), **params})
        self.report.add_all(here, params, _READ, _REASONS, NO_SETTING)
        self.report.add_all(below(where, "model_info"), info, {"mode", *_LINES}, _INFO_REASONS, _INFORMS)
        return Target(name, model, _SERVES[mode] if mode else ())

    def _upstream(self, where: str, provider: str, params: Mapping[str, Value]) -> str | None:
        """The name of the upstream that these parameters describe."""
        base = word(params.get("api_base")) or word(params.get("base_url"))
        key = word(params.get("api_key"))
        headers = {**mapping(params.get("headers")), **mapping(params.get("extra_headers"))}
        patience = self._patience(where, params)
        seen = (provider, base, key, tuple(sorted((k, str(v)) for k, v in headers.items())), tuple(patience.items()))
        if seen in self._names:
            return self._names[seen]
        name = self._new_name(provider, base)
        fields = self._place(where, provider, base)
        if fields is None:
            return None
        if secret := self._key(where, name, key, needs_one=fields.get("url") == OPENAI):
            fields["key"] = secret
        if sent := self._headers(where, name, headers):
            fields["headers"] = sent
        if patience:
            fields["timeouts"] = patience
        if problem := _misfit(fields):
            self.report.add(where, f"{problem}, so this entry is left out")
            return None
        if "url" in fields and base:
            self.report.add(where, _OTHER_NAME)
        if "provider" in fields and provider not in WELL_KNOWN:
            self.report.add(below(where, "model"), "see that the litellm library knows this provider")
        self.found[name] = fields
        self._names[seen] = name
        return name

    def _place(self, where: str, provider: str, base: str | None) -> dict[str, Any] | None:
        """What says where the upstream is."""
        if provider not in OPENAI_LIKE:
            return {"provider": provider, **({"base": self.report.text(base)} if base else {})}
        if base is None and provider not in ("openai", "text-completion-openai"):
            self.report.add(where, "a server needs its api_base, so this entry is left out")
            return None
        url = self.report.text(base) if base else OPENAI
        if base and "${" not in url and not urlsplit_path(url):
            self.report.add(
                below(where, "api_base"), "the address has no path; add /v1 if the server has its API there"
            )
        return {"url": url}

    def _key(self, where: str, name: str, key: str | None, *, needs_one: bool) -> str | None:
        """The key as a reference. One that is written out never leaves this function."""
        if key is None:
            return self.report.reference("os.environ/OPENAI_API_KEY") if needs_one else None
        if key.strip().lower() in _NO_KEYS:
            self.report.add(below(where, "api_key"), "this is no key, so none is sent")
            return None
        if reference := self.report.reference(key):
            return reference
        return self._suggested(below(where, "api_key"), f"{name}_API_KEY")

    def _headers(self, where: str, name: str, headers: Mapping[str, Value]) -> dict[str, str]:
        """Headers to send; values come from the environment only."""
        sent: dict[str, str] = {}
        for header, value in headers.items():
            here = below(below(where, "extra_headers"), header)
            text = word(value)
            if text is None or "${" in header:
                self.report.add(here, "not a header")
            else:
                sent[header] = self.report.reference(text) or self._suggested(here, f"{name}_{header}")
        return sent

    def _suggested(self, where: str, name: str) -> str:
        """A reference in place of a secret that stands written out in their file."""
        variable = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")[:100]
        variable = self.report.variables.unique(f"_{variable}" if variable[:1].isdigit() else variable, "_")
        self.report.add(
            where, f"written out in the file, where it should not stand: set {variable} in the gateway's environment"
        )
        return f"${{{variable}}}"

    def _patience(self, where: str, params: Mapping[str, Value]) -> dict[str, str]:
        """Timeouts of the upstream."""
        found: dict[str, str] = {}
        for theirs, ours in (("stream_timeout", "first_byte"), ("timeout", "answer")):
            if theirs in params:
                seconds = duration(number(params[theirs]), LONGEST_DURATION)
                if seconds is None:
                    self.report.add(below(where, theirs), "not a number of seconds that an upstream may take")
                else:
                    found[ours] = seconds
        return found

    def _price(self, where: str, upstream: str, model: str, costs: Mapping[str, Value]) -> None:
        """Put a price on the upstream, if the entry has one."""
        given = {theirs: costs[theirs] for theirs in _LINES if costs.get(theirs) is not None}
        if not given:
            return
        here = below(where, "input_cost_per_token")
        lines = {_LINES[theirs]: _per_million(value) for theirs, value in given.items()}
        pattern = glob.escape(model)
        if "input" not in lines or None in lines.values():
            self.report.add(here, "a price needs its input line, and every line a number of USD from 0 to 1 a token")
            return
        if "${" in pattern or not is_name(pattern):
            self.report.add(here, "no price can be given under this name of a model")
            return
        prices = self.found[upstream].setdefault("prices", {})
        if has_glob(pattern) and sum(map(has_glob, prices)) >= MOST_GLOBS and pattern not in prices:
            self.report.add(here, f"an upstream has at most {MOST_GLOBS} prices of names with a sign of a glob")
            return
        if prices.setdefault(pattern, lines) != lines:
            self.report.add(here, "the same model at the same upstream has another price in an entry before")

    def _new_name(self, provider: str, base: str | None) -> str:
        """A name that says where it is, and is no other upstream's."""
        stem = re.sub(r"[^a-z0-9]+", "-", (_host(base) or provider).lower()).strip("-")[:60]
        return self._taken.unique(stem or "upstream", "-")


def duration(seconds: float | None, most: float) -> str | None:
    """Seconds as a policy writes them; None for what is no such duration."""
    return f"{seconds:.10g}s" if seconds is not None and 0.001 <= seconds <= most else None


def is_name(text: str) -> bool:
    """Say whether this can be a model's name in a policy."""
    try:
        return bool(_NAME.validate_python(text))
    except ValidationError:
        return False


def urlsplit_path(url: str) -> str:
    """The path of an address, without its last slash; "" also for what is no address."""
    try:
        return urlsplit(url).path.rstrip("/")
    except ValueError:
        return ""


def _refusal(provider: str, model: str, mode: str | None) -> str | None:
    """Why an entry cannot be carried over."""
    if not model:
        return "there is no model, so this entry is left out"
    if "*" in model or "*" in provider:
        return "Sluice serves models by their names, not by wildcards: write each out"
    if not provider:
        return "no provider stands before the name, so this entry is left out; write it as PROVIDER/NAME"
    if "os.environ" in provider or not is_name(model):
        return "this is no name that a policy can hold, so this entry is left out"
    if mode is not None and mode not in _SERVES:
        return "Sluice serves chat, completions and embeddings, and this is none of them"
    return None


def _misfit(fields: Mapping[str, Any]) -> str | None:
    """What keeps these fields from being an upstream, in words that hold no value of them."""
    try:
        Upstream.model_validate(_stood_in(fields))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = next((str(part) for part in first["loc"] if part in ("url", "base", "headers", "provider")), "")
        message = first["msg"].removeprefix("Value error, ")  # ours, or pydantic's own; neither repeats a value
        return f"{place}: {message}" if place else message
    return None


def _stood_in(value: Any) -> Any:
    """Fields with something plain in place of each reference."""
    if isinstance(value, dict):
        return {name: _stood_in(each) for name, each in value.items()}
    return re.sub(REFERENCE, STAND_IN, value) if isinstance(value, str) else value


def _per_million(value: Value) -> float | None:
    """USD a token as USD a million tokens."""
    cost = number(value)
    return float(f"{cost * 1e6:.10g}") if cost is not None and cost <= 1 else None


def _host(base: str | None) -> str | None:
    """What to call a server: its host and port, or the variable that its address stands in."""
    if base is None:
        return None
    if found := references(base):
        return min(found)
    try:
        parts = urlsplit(base)
        return f"{parts.hostname}-{parts.port}" if parts.port else parts.hostname
    except ValueError:
        return None
