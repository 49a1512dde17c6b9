"""The whole policy language as frozen pydantic models, each field with its default and its meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from policies.caching import Cache, RuleCache
from policies.money import Ledger, Lines, Machine, Price, Record, Step
from policies.part import Part
from policies.scalars import Bytes, Glob, HeaderName, KeyHash, KeySecret, Name, Portion, Seconds
from policies.upstreams import BUNDLED, BUNDLED_PREFIX, Breaker, Target, Timeouts, Upstream

__all__ = [
    "BUNDLED",
    "BUNDLED_PREFIX",
    "ENDPOINTS",
    "LOCAL_TENANT",
    "Breaker",
    "Cache",
    "Endpoint",
    "Key",
    "Ledger",
    "Limits",
    "Lines",
    "Machine",
    "Match",
    "Model",
    "Part",
    "Policy",
    "Price",
    "Record",
    "Retry",
    "Rule",
    "RuleCache",
    "RuleTimeouts",
    "Step",
    "Target",
    "Timeouts",
    "Upstream",
]

Endpoint = Literal["chat", "completions", "embeddings"]
ENDPOINTS: tuple[Endpoint, ...] = ("chat", "completions", "embeddings")
LOCAL_TENANT = "local"  # whoever calls over loopback while no key exists


class Model(Part):
    """A name that clients may ask for, and who answers it."""

    targets: list[Target] = Field(
        min_length=1, description="Who answers, in order: the next is asked when one fails before its first byte."
    )
    serves: list[Endpoint] = Field(
        default_factory=lambda: list(ENDPOINTS), min_length=1, description="What the model may be asked for."
    )
    baseline: Name | None = Field(
        default=None,
        description="The model of this file that would have been asked without the gateway: by its price savings are "
        "measured. Default: this one, at its first target.",
    )


class Key(Part):
    """A key that a client shows, and the tenant it stands for."""

    name: Name = Field(description="Name of the key in logs and records; the key itself is never shown.")
    key: KeySecret | None = Field(default=None, description="The key, 16 characters or more. Only ever ${ENV_NAME}.")
    hash: KeyHash | None = Field(
        default=None,
        description="Instead of the key its digest, as `sluice keys hash` prints it.",
    )
    tenant: Name = Field(description="Whose calls these are. Tenants never share an answer.")
    team: Name | None = Field(default=None, description="The team within the tenant that its calls are counted for.")
    tags: list[Name] = Field(default_factory=list, max_length=20, description="Tags that its calls bear.")
    models: list[Glob] = Field(
        default_factory=list, description="Globs of the models this key may use. Empty: all of them."
    )

    @model_validator(mode="after")
    def _is_one_key(self) -> Self:
        """Refuse a key given twice or not at all."""
        if (self.key is None) == (self.hash is None):
            raise ValueError("give exactly one of key and hash")
        return self


class Match(Part):
    """Which calls a rule is for. What is not given matches every call."""

    model: Glob | None = Field(default=None, description="Glob of model names, as the client asked.")
    tenant: Glob | None = Field(default=None, description="Glob of tenants.")
    endpoint: Endpoint | None = Field(default=None, description="What is asked for.")
    tag: Glob | None = Field(default=None, description="Glob of tags: one that the call or its key bears must fit.")
    header: dict[HeaderName, Glob] = Field(
        default_factory=dict,
        max_length=20,
        description="Globs by name of a request header, each of which must fit. A header is the caller's own word.",
    )

    @property
    def asks_the_call(self) -> bool:
        """Say whether more than model, tenant and endpoint decides."""
        return self.tag is not None or bool(self.header)

    def fits(
        self,
        model: str,
        tenant: str,
        endpoint: str,
        tags: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> bool:
        """Say whether a call is meant. Names of `headers` are in lower case."""
        return (
            (self.model is None or fnmatchcase(model, self.model))
            and (self.tenant is None or fnmatchcase(tenant, self.tenant))
            and self.endpoint in (None, endpoint)
            and (self.tag is None or any(fnmatchcase(tag, self.tag) for tag in tags))
            and all(_bears(headers or {}, name, glob) for name, glob in self.header.items())
        )


def _bears(headers: Mapping[str, str], name: str, glob: str) -> bool:
    value = headers.get(name.lower())
    return value is not None and fnmatchcase(value, glob)


class RuleTimeouts(Part):
    """How long a whole call may take."""

    total: Seconds = Field(
        default=600.0,
        description="Longest time for the whole call, over all upstreams asked. A client may ask for less.",
    )


class Retry(Part):
    """How often another upstream is asked when one fails."""

    attempts: int = Field(default=3, ge=1, le=100, description="Most upstreams asked for one call, the first included.")
    budget: float = Field(
        default=0.1,
        ge=0,
        le=100,
        description="Times per success that an upstream may be asked again: retries must not multiply an outage.",
    )


class Rule(Part):
    """What applies to some calls. The first rule that fits is the one that applies."""

    name: Name = Field(description="Name of the rule in records.")
    match: Match = Field(default_factory=Match, description="Which calls the rule is for. Empty: every call.")
    timeouts: RuleTimeouts = Field(default_factory=RuleTimeouts, description="How long a whole call may take.")
    retry: Retry = Field(default_factory=Retry, description="How often another upstream is asked.")
    cache: RuleCache = Field(
        default_factory=RuleCache, description="Which calls are answered from answers already made or under way."
    )
    holdout: Portion = Field(
        default=0.0,
        description="Share of calls that pass untouched by whatever saves, so that savings can be measured against "
        "them.",
    )
    record: Record = Field(default_factory=Record, description="What of a call is written down besides counts.")


class Limits(Part):
    """What a request may weigh."""

    body: Bytes = Field(default=32_000_000, description='Longest request body: "512KB", "32MB", "32MiB" or bytes.')
    messages: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="Most messages in one chat request. Without it there is no limit."
    )


def _version(value: int) -> int:
    """Refuse a file written for another version of the language."""
    if value != 1:
        raise ValueError("the only version is 1")
    return value


_DEFAULT_RULE = Rule(name="default")


class Policy(Part):
    """Everything that a policy file says."""

    version: Annotated[int, AfterValidator(_version), WithJsonSchema({"const": 1})] = Field(
        default=1, description="Version of the policy language."
    )
    upstreams: dict[Name, Upstream] = Field(default_factory=dict, description="Places that answer calls, by name.")
    models: dict[Name, Model] = Field(default_factory=dict, description="Names that clients may ask for.")
    keys: list[Key] = Field(
        default_factory=list, description="Keys that clients show. Without any, only this machine is served."
    )
    rules: list[Rule] = Field(
        default_factory=list, description="What applies to which calls; the first rule that fits applies."
    )
    limits: Limits = Field(default_factory=Limits, description="What a request may weigh.")
    cache: Cache = Field(default_factory=Cache, description="What the stores of answers may use.")
    ledger: Ledger = Field(default_factory=Ledger, description="What is recorded of calls, and for how long.")

    def rule_for(
        self,
        model: str,
        tenant: str,
        endpoint: str,
        tags: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Rule:
        """The first rule that fits the call, or one named "default" with every default."""
        fitting = (rule for rule in self.rules if rule.match.fits(model, tenant, endpoint, tags, headers))
        return next(fitting, _DEFAULT_RULE)
