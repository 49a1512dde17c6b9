"""`sluice ledger` and `sluice profile`: what the ledger holds, for other programs and at a glance."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from pydantic import TypeAdapter, ValidationError

from gateway.ledger import Filters, LedgerReader, LedgerUnavailable
from gateway.ledger.profile import By
from gateway.options import STATE, StateOption
from gateway.state import State
from policies.scalars import Lifetime

ledger_app = typer.Typer(help="The ledger: what it holds of every call.", no_args_is_help=True)

DAY = 86_400.0
_AGE: TypeAdapter[float] = TypeAdapter(Lifetime)
_NAMES = (
    "calls",
    "tok/s",
    "TTFT p50/p95/p99 ms",
    "total p50/p95/p99 ms",
    "$/M tokens",
    "context p50/p95/max",
    "at once",
)


class Format(StrEnum):
    """How records are written."""

    csv = "csv"
    jsonl = "jsonl"


class Flow(StrEnum):
    """What a flow of calls has in common."""

    model = "model"
    tenant = "tenant"
    team = "team"
    key = "key"
    tag = "tag"
    upstream = "upstream"


def moment(text: str) -> float:
    """Unix time of "24h" (so long ago), of an ISO 8601 date or time (UTC unless it says otherwise), or of a number.

    Raises typer.BadParameter for anything else.
    """
    if text.replace(".", "", 1).isdecimal() and float(text) <= 1e11:  # Unix time, not an age: ages bear a unit
        return float(text)
    try:
        return time.time() - _AGE.validate_python(text)
    except ValidationError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter('write "24h", "7d", "2027-01-31", "2027-01-31T08:00" or a Unix time') from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


SinceOption = Annotated[
    float | None, typer.Option(parser=moment, metavar="TIME", help="Only calls from then on: 24h, 7d, 2027-01-31.")
]
UntilOption = Annotated[float | None, typer.Option(parser=moment, metavar="TIME", help="Only calls before then.")]


@ledger_app.command()
def export(
    state: StateOption = STATE,
    form: Annotated[Format, typer.Option("--format", help="How to write them.")] = Format.csv,
    since: SinceOption = None,
    until: UntilOption = None,
    out: Annotated[Path | None, typer.Option(help="Where to; standard output without it.")] = None,
    story: Annotated[bool, typer.Option("--story", help="With each call's story; JSON lines only.")] = False,
) -> None:
    """Write every call of the ledger, the oldest first, as CSV or as JSON lines. No prompts, no answers."""
    if story and form is Format.csv:
        raise typer.BadParameter("--story wants --format jsonl")
    reader = LedgerReader(State(state).ledger, seconds=60.0)
    try:
        _write(out, reader.export(form.value, Filters(since=since, until=until), with_story=story))
    except (LedgerUnavailable, OSError) as error:
        raise _failure(error) from error


def profile(
    state: StateOption = STATE,
    since: SinceOption = None,
    until: UntilOption = None,
    by: Annotated[Flow, typer.Option(help="What tells flows apart.")] = Flow.model,
) -> None:
    """How each flow of calls behaves: tokens a second, TTFT and tail, price, contexts, how many at once."""
    end = time.time() if until is None else until
    start = end - DAY if since is None else since
    try:
        typer.echo(profile_table(LedgerReader(State(state).ledger, seconds=60.0), start, end, by.value))
    except LedgerUnavailable as error:
        raise _failure(error) from error


def profile_table(reader: LedgerReader, since: float, until: float, by: By) -> str:
    """The profile as a text table, a flow a line. Raises LedgerUnavailable."""
    flows = reader.profile(since, until, by)
    if not flows:
        return "The ledger has no calls of that time."
    lines = [(by, *_NAMES), *(_line(flow) for flow in flows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    told = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
    share = flows[0]["sampled"]
    return "\n".join(told if share == 1 else [*told, f"from {share:.1%} of the calls, evenly spread"])


def _line(flow: dict[str, Any]) -> tuple[str, ...]:
    context, together = flow["context_tokens"], flow["concurrency"]
    unknown = f" ({flow['unknown']} unknown)" if flow["unknown"] else ""
    price = flow["usd_per_million_tokens"]
    return (
        _printable(flow["flow"]),
        f"{flow['calls']:,}",
        "-" if flow["output_tokens_per_s"] is None else f"{flow['output_tokens_per_s']:.1f}",
        _numbers(flow["ttft_ms"]),
        _numbers(flow["total_ms"]),
        ("unknown" if price is None else f"{price:.4f}") + unknown,
        _numbers(context),
        f"{together['mean']:.2f}, at most {together['peak']}",
    )


def _printable(name: str) -> str:
    """A client may have chosen it: no line ends and no colours of its own on an operator's screen."""
    return "".join(c if c.isprintable() else "?" for c in name)[:40] or "-"


def _numbers(found: dict[str, float] | None) -> str:
    return "-" if found is None else " / ".join(f"{value:.0f}" for value in found.values())


def _write(out: Path | None, pieces: Iterable[bytes]) -> None:
    opened: Any = nullcontext(sys.stdout.buffer) if out is None else out.open("wb")
    file: BinaryIO
    with opened as file:
        for piece in pieces:
            file.write(piece)
        file.flush()


def _failure(error: Exception) -> typer.Exit:
    typer.echo(f"The ledger could not be read or written: {error}", err=True)
    return typer.Exit(1)
