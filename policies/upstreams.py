"""Upstreams: where calls are answered, and when one is left alone for a while."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from policies.money import Machine, Price
from policies.part import Part
from policies.scalars import Address, Glob, HeaderName, HeaderValue, Name, Seconds, Secret, Share

BUNDLED = ("sluice-tiny", "sluice-small", "all-minilm-l6-v2")
BUNDLED_PREFIX = "bundled:"


class Timeouts(Part):
    """How long one upstream may keep a call waiting."""

    connect: Seconds = Field(default=2.0, description="Longest wait for a connection, TLS included.")
    first_byte: Seconds = Field(
        default=60.0, description="Longest wait for the first byte of a stream, once the request is sent."
    )
    answer: Seconds = Field(
        default=300.0,
        description="Longest wait for a plain answer, which comes whole: its first byte is nearly its last.",
    )
    idle: Seconds = Field(default=60.0, description="Longest silence between two pieces of an answer that has begun.")


class Breaker(Part):
    """When an upstream is left alone: after too many failures or slow answers, for a while, until a probe succeeds."""

    window: int = Field(default=20, ge=1, le=10_000, description="How many of the latest calls are looked at.")
    failures: Share = Field(
        default=0.5, description="Share of failed calls in the window at which the upstream is left alone."
    )
    slow: Seconds | None = Field(
        default=None, description="A first byte later than this counts as slow. Without it no answer does."
    )
    slow_share: Share = Field(
        default=0.8, description="Share of slow calls in the window at which the upstream is left alone."
    )
    open: Seconds = Field(default=10.0, description="How long the upstream is left alone before it is tried again.")
    probes: int = Field(
        default=2, ge=1, le=100, description="How many trial calls must succeed before the upstream is trusted again."
    )


def _provider(value: str) -> str:
    """Refuse what cannot be a provider's name in litellm."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,60}", value):
        raise ValueError("not a provider's name, such as anthropic, bedrock or vertex_ai")
    return value


def _gguf(value: str) -> str:
    """Refuse a bundled model that does not exist; files are looked for by the loader."""
    if not value.isprintable() or not value:
        raise ValueError("not the path of a file")
    if value.startswith(BUNDLED_PREFIX) and value.removeprefix(BUNDLED_PREFIX) not in BUNDLED:
        raise ValueError(f"no such bundled model; there are {', '.join(BUNDLED_PREFIX + name for name in BUNDLED)}")
    return value


_KINDS = ("url", "provider", "engine")
_ONLY_FOR = {
    "gguf": ("engine",),
    "embeddings": ("engine",),
    "context": ("engine",),
    "slots": ("engine",),
    "base": ("provider",),
    "key": ("url", "provider"),
    "headers": ("url", "provider"),
    "stream_usage": ("url",),
    "ca": ("url",),
    "price_list": ("url", "provider"),
    "max_connections": ("url",),
}


class Upstream(Part):
    """One place that answers calls: a server by URL, a provider through litellm, or an engine of our own."""

    url: Address | None = Field(
        default=None,
        description="Base address of a server that speaks OpenAI's format, /v1 included. "
        "No user, password, query or fragment.",
    )
    provider: Annotated[str, AfterValidator(_provider)] | None = Field(
        default=None,
        description="A provider with another format, by its name in the litellm library (extra `providers`).",
    )
    engine: Literal["llama.cpp"] | None = Field(
        default=None, description="An engine that the gateway starts and looks after by itself."
    )
    gguf: Annotated[str, AfterValidator(_gguf)] | None = Field(
        default=None,
        description="Weights of the engine: bundled:sluice-tiny, bundled:sluice-small, bundled:all-minilm-l6-v2, "
        "or a file, relative to the policy file.",
    )
    embeddings: bool = Field(default=False, description="The engine serves embeddings instead of text.")
    context: int = Field(
        default=8192, ge=128, le=10_000_000, description="Context of each call in the engine, in tokens."
    )
    slots: int = Field(default=4, ge=1, le=1024, description="How many calls the engine works on at once.")
    base: Address | None = Field(default=None, description="Another base address for the provider than litellm's own.")
    key: Secret | None = Field(default=None, description="Key sent to the upstream. Only ever ${ENV_NAME}.")
    headers: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict, description="Further headers sent to the upstream. Each value holds a ${ENV_NAME}."
    )
    timeouts: Timeouts = Field(default_factory=Timeouts, description="How long this upstream may keep a call waiting.")
    breaker: Breaker = Field(default_factory=Breaker, description="When this upstream is left alone for a while.")
    accept_models: list[Glob] = Field(
        default_factory=list,
        description="Globs of model names that an answer may bear besides the one asked for. "
        "An answer by any other model counts as failed.",
    )
    stream_usage: bool = Field(
        default=True, description="Whether the server may be asked for token counts at the end of a stream."
    )
    ca: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="PEM file of a private certificate authority, relative to the policy file."
    )
    max_connections: int = Field(default=1024, ge=1, le=65_535, description="Most connections held open to the server.")
    prices: dict[Glob, Price] = Field(
        default_factory=dict,
        description="Prices by glob of the upstream's own model names, in USD per million tokens; the first that fits "
        "counts. Without one the price table is asked.",
    )
    price_list: Name | None = Field(
        default=None,
        description="Whose prices in the price table count, such as openai. Default: the provider, or who is known "
        "to serve at this host; a server of your own has none.",
    )
    machine: Machine | None = Field(
        default=None, description="The machine that answers here, if it is your own: its cost replaces prices."
    )

    @property
    def kind(self) -> str:
        """Which of the three this is: "url", "provider" or "engine"."""
        return next(kind for kind in _KINDS if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        """Refuse an upstream of no kind or of two, and settings that its kind would silently ignore."""
        kinds = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"give exactly one of url, provider and engine, not {' and '.join(kinds) or 'none'}")
        for name in sorted(self.model_fields_set):
            if kinds[0] not in _ONLY_FOR.get(name, _KINDS) and getattr(self, name) is not None:
                raise ValueError(f"{name} has no meaning for an upstream given by {kinds[0]}")
        if self.engine and not self.gguf:
            raise ValueError("an engine needs its weights: gguf")
        if self.machine and (self.prices or self.price_list):
            raise ValueError("give machine or prices, not both: a call has one price")
        self._refuse_doubled_headers()
        return self

    def _refuse_doubled_headers(self) -> None:
        """Refuse headers of which only one would be sent: the case of their names does not tell them apart."""
        names = [name.lower() for name in self.headers]
        if len(set(names)) < len(names):
            raise ValueError("two headers of one name; upper and lower case are the same")
        if self.key and "authorization" in names:
            raise ValueError("give key or the header Authorization, not both")

    def __hash__(self) -> int:
        """Agree with equality, so that tools can be kept by their configuration; pydantic cannot hash the headers."""
        return hash((self.url, self.provider, self.engine, self.gguf, self.base, self.key))


class Target(Part):
    """One place that may answer a model's calls."""

    upstream: Name = Field(description="Name of an upstream.")
    model: Name | None = Field(
        default=None, description="Name by which the upstream knows the model. Default: the name of the model's entry."
    )
