"""Numbers, times and names as people read them: the same format everywhere, and `unknown` where nobody knows."""

from __future__ import annotations

import math
from datetime import datetime, tzinfo

UNKNOWN = "unknown"
NONE = "-"
LEAST = 1e-5  # USD; of an amount below it only the tooltip tells the digits


def usd(value: float | None) -> str:
    """Dollars with three digits that count at the least, and cents from a dollar on; "unknown" is never 0."""
    if value is None:
        return UNKNOWN
    sign, amount = ("-" if value < 0 else ""), float(f"{abs(value):.3g}") if abs(value) < 1 else abs(value)
    if not amount:
        return "$0"
    if amount < LEAST:
        return f"{sign}<${LEAST:.5f}"
    if amount >= 1:
        return f"{sign}${amount:,.{0 if amount >= 1000 else 2}f}"
    return f"{sign}${amount:.{2 - math.floor(math.log10(amount))}f}"


def is_worth_telling(value: float | None) -> bool:
    """Whether an amount is large enough to be told with its digits."""
    return value is not None and abs(value) >= LEAST


def exact_usd(value: float | None) -> str:
    """Dollars with every digit that matters, for a tooltip."""
    if value is None:
        return UNKNOWN
    return f"{value:.15f}".rstrip("0").rstrip(".") + " USD"


def rate(usd_per_million: float) -> str:
    """A price, as a price list writes it."""
    return f"${usd_per_million:.10g}"


def count(value: float | None) -> str:
    """A whole number with separators, shortened from a million on."""
    if value is None:
        return NONE
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:.2f} {letter}"
    return f"{value:,.0f}"


def duration(ms: float | None) -> str:
    """Milliseconds as people say them."""
    if ms is None:
        return NONE
    if ms < 1:
        return f"{ms:.2f} ms"
    if ms < 10:
        return f"{ms:.1f} ms"
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.2f} s"
    return f"{int(ms // 60_000)} min {int(ms % 60_000 // 1000)} s"


def span(seconds: float) -> str:
    """A length of time in its largest whole unit."""
    for size, name in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            number = round(seconds / size)
            return f"{number} {name}{'' if number == 1 else 's'}"
    return "0 seconds"


def share(part: float, whole: float) -> str:
    """A part of a whole in per cent."""
    if not whole:
        return NONE
    percent = 100 * part / whole
    if 0 < abs(percent) < 0.1:
        return "<0.1 %"
    return f"{percent:.1f} %"


def size(count_of_bytes: float | None) -> str:
    """Bytes."""
    if count_of_bytes is None:
        return NONE
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count_of_bytes >= unit:
            return f"{count_of_bytes / unit:.1f} {name}"
    return f"{count_of_bytes:.0f} B"


def moment(at: float, zone: tzinfo) -> str:
    """A Unix time to the second; what no calendar holds is shown as it is."""
    try:
        return datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return str(at)


def clock(at: float, now: float, zone: tzinfo) -> str:
    """A Unix time of today without its date, and another with it."""
    text = moment(at, zone)
    return text[11:] if text[:10] == moment(now, zone)[:10] else text


def tick(at: float, seconds: float, zone: tzinfo) -> str:
    """A Unix time on the axis of a chart whose whole length is `seconds`."""
    form = "%H:%M:%S" if seconds < 1800 else "%H:%M" if seconds <= 90_000 else "%b %d %H:%M"
    return datetime.fromtimestamp(at, zone).strftime(form)


def plural(number: float, one: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"
