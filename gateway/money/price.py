"""The only pricing function: what a call costs, or would cost, whoever answers it."""

from __future__ import annotations

from math import inf

from gateway.money.machine import Machine
from gateway.money.tariff import Tariff
from gateway.trace import Extra


def price(
    priced: Tariff | Machine | None,
    uncached: float,
    cached: float,
    output: float,
    now: float,
    *,
    reasoning: float = 0,
    extra: Extra | None = None,
    seconds: float | None = None,
) -> float | None:
    """USD of one call; None where its price is not known, which is never 0.

    `uncached` are prompt tokens not read from a prefix cache (written ones, sound and pictures included), `output` all
    tokens of the answer (reasoning, sound and pictures included), of which `extra` tells what has prices of its own.
    `seconds`, of a machine of one's own, is its time that fell to a call which has ended; without it the price is a
    prediction: $/hour x (prefill seconds + share of decode seconds) at the load of `now`, seconds of a monotonic clock.
    """
    if type(priced) is Tariff:
        if extra is not None:
            return _rare(priced, uncached, cached, output, reasoning, extra)
        lines = priced.standard.at(uncached + cached)
        usd = lines.request + max(uncached, 0.0) * lines.input + cached * lines.cached_input + output * lines.output
        return usd + min(reasoning, output) * (lines.reasoning - lines.output) if reasoning > 0 else usd
    if isinstance(priced, Machine):
        taken = seconds if seconds is not None else priced.seconds(uncached, output)
        return None if taken is None else priced.usd(taken, now)
    # Nobody told us a price, but the upstream did. A 0 from there may mean that it does not know either.
    return extra.usd if extra is not None and extra.usd is not None and 0 < extra.usd < inf else None


def _rare(priced: Tariff, uncached: float, cached: float, output: float, reasoning: float, extra: Extra) -> float:
    """The price of a call that used what few calls use. Parts are never more than the whole they are of."""
    if extra.usd is not None and 0 <= extra.usd < inf:
        return extra.usd
    lines = priced.scale(extra.tier).at(uncached + cached)
    usd = lines.request + max(cached, 0.0) * lines.cached_input
    usd += _split(
        uncached,
        lines.input,
        (extra.cache_write_1h, lines.cache_write_1h),
        (extra.cache_write, lines.cache_write),
        (extra.audio_input, lines.audio_input),
        (extra.image_input, lines.image_input),
    )
    return usd + _split(
        output,
        lines.output,
        (extra.audio_output, lines.audio_output),
        (extra.image_output, lines.image_output),
        (reasoning, lines.reasoning),
    )


def _split(whole: float, line: float, *parts: tuple[float, float]) -> float:
    """USD of so many tokens at `line`, less those parts of them that have a line of their own."""
    left, usd = max(whole, 0.0), 0.0
    for tokens, own_line in parts:
        taken = min(max(tokens, 0.0), left)
        left -= taken
        usd += taken * own_line
    return usd + left * line
