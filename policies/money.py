"""Money in the policy: what tokens cost at a provider, what a machine of one's own costs, and what is recorded."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from policies.part import Part
from policies.scalars import Lifetime

MOST_USD = 1e6  # a price above this is a slip of the pen
Usd = Annotated[float, Field(ge=0, le=MOST_USD, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class Lines(Part):
    """What a provider asks for, in USD per million tokens. A line that is not given costs what its kind costs."""

    input: Usd | None = Field(default=None, description="Prompt tokens.")
    cached_input: Usd | None = Field(
        default=None, description="Prompt tokens read from the provider's prefix cache. Default: `input`."
    )
    cache_write: Usd | None = Field(
        default=None, description="Prompt tokens written to the prefix cache. Default: `input`."
    )
    cache_write_1h: Usd | None = Field(default=None, description="The same, kept for an hour. Default: `cache_write`.")
    output: Usd | None = Field(default=None, description="Tokens of the answer. Default: 0, as embeddings have none.")
    reasoning: Usd | None = Field(default=None, description="Tokens of reasoning in the answer. Default: `output`.")
    audio_input: Usd | None = Field(default=None, description="Prompt tokens of sound. Default: `input`.")
    audio_output: Usd | None = Field(default=None, description="Tokens of spoken answers. Default: `output`.")
    image_input: Usd | None = Field(default=None, description="Prompt tokens of pictures. Default: `input`.")
    image_output: Usd | None = Field(default=None, description="Tokens of pictures made. Default: `output`.")
    request: Usd | None = Field(default=None, description="USD for the call itself, not per token. Default: 0.")


class Step(Lines):
    """Lines for calls with a long prompt."""

    above: int = Field(ge=1, le=10**9, description="Prompt tokens above which these lines hold for the whole call.")


class Price(Lines):
    """The lines of one model at one upstream, with those of service tiers and of long prompts."""

    tiers: dict[Literal["batch", "flex", "priority"], Lines] = Field(
        default_factory=dict, description="Lines that differ in a service tier, by its name: batch, flex, priority."
    )
    steps: list[Step] = Field(
        default_factory=list, max_length=10, description="Lines that differ where the prompt is long."
    )

    @model_validator(mode="after")
    def _has_input(self) -> Self:
        """Refuse a price that says nothing."""
        if self.input is None:
            raise ValueError("a price needs its line for input")
        return self


class Machine(Part):
    """What a machine of one's own costs, which answers an upstream's calls."""

    usd_per_hour: Annotated[float, Field(gt=0, le=MOST_USD, allow_inf_nan=False)] = Field(
        description="What the machine costs an hour, in USD."
    )
    account: Literal["marginal", "amortized"] = Field(
        default="marginal",
        description="Whether calls bear only the time in which they keep the machine busy, or its idle time too.",
    )
    prefill: Rate | None = Field(
        default=None, description="Prompt tokens it reads a second. Without it this is learned from its answers."
    )
    decode: Rate | None = Field(
        default=None,
        description="Tokens it writes a second for one call. Without it this is learned from its answers.",
    )


class Ledger(Part):
    """What is recorded of calls, and for how long."""

    retention: Lifetime = Field(default=30 * 86_400.0, description="How long the record of each call is kept.")
    records: int = Field(
        default=1_000_000,
        ge=1000,
        le=1_000_000_000,
        description="Most records kept. The sums stay when records go.",
    )
    sums: Lifetime = Field(default=366 * 86_400.0, description="How long the sums by hour are kept.")
    gateway_usd_per_hour: Usd = Field(
        default=0.05,
        description="What the gateway's own machine costs an hour, in USD; each call's time in it is "
        "taken off what the call saved.",
    )


class Record(Part):
    """What of a call is written down besides names, counts and times."""

    content: bool = Field(
        default=False,
        description="Whether requests and answers are kept in the ledger, for whoever has the admin token. "
        "Never in the log.",
    )
    longest: int = Field(
        default=16_384, ge=1, le=1_000_000, description="Most bytes kept of each request and of each answer."
    )
