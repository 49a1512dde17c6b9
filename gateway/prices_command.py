"""`sluice prices`: what tokens cost at providers, as the gateway knows it, and how its table is brought up to date."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from gateway.money.prices import described
from gateway.money.published import Harvest, harvest, installed
from gateway.money.table import FILE, BadTable, Book, Table, read, tariff_of, written
from gateway.money.tariff import NAMES
from gateway.options import STATE, StateOption
from gateway.state import State
from policies.durable import put

prices_app = typer.Typer(
    help="The table of providers' prices: look into it, bring it up to date.", no_args_is_help=True
)

OF_NOTE = frozenset({"openai", "anthropic", "gemini", "mistral", "deepseek", "xai", "cohere", "groq"})
MOST_TOLD = 40  # changed prices that are written out
LONGEST_WORD = 120
MOST_REMOVED = 0.2  # of the models; a source that lacks more is likely the wrong one
_RELEASE = re.compile(r"litellm ([0-9]{1,9}(?:\.[0-9]{1,9}){0,5})")


@prices_app.command()
def update(
    state: StateOption = STATE,
    file: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="litellm's file of prices. Default: the installed litellm's."),
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--table", metavar="FILE", help="Write there instead of into the state folder.")
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove models that are not published there. Without it they stay.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Take an older litellm's prices too, and remove however many models.")
    ] = False,
) -> None:
    """Take the prices that litellm publishes; workers follow within a second. Models it does not know stay."""
    source, name = _source(file)
    found = _harvested(source)
    old = Table(state).book if table is None else _old(table) or Table().book
    rows = found.rows if prune else {**old.rows, **found.rows}
    if not force:
        _refuse(old, name, rows)
    today = datetime.now(UTC).date().isoformat()
    where = _write(state, table, written(Book(today, _origin(name, old, prune=prune), rows)))
    for line in _told(old, rows, found):
        typer.echo(line)
    typer.echo(f"{len(found.rows):,} models' prices from {name} are in {where}, dated {today}.")


@prices_app.command()
def show(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="gpt-4o, or openai/gpt-4o.")],
    state: StateOption = STATE,
) -> None:
    """Show what models cost, in USD per million tokens, line by line."""
    table = Table(state)
    unknown = [name for name in models if not table.named(name)]
    for key in (key for name in models for key in table.named(name)):
        for line in _sheet(key, table.book):
            typer.echo(line)
    if unknown:
        typer.echo(f"No price is known for {', '.join(_word(name) for name in unknown)}.", err=True)
        raise typer.Exit(1)


@prices_app.command("list")
def list_(
    provider: Annotated[str, typer.Option(help="Only models of this provider.")] = "",
    state: StateOption = STATE,
) -> None:
    """List providers and how many of their models have a price; with --provider, its models."""
    table = Table(state)
    keys = list(table.keys(provider))
    if not keys:
        typer.echo(f"The table of {table.date} has no provider {_word(provider)}.", err=True)
        raise typer.Exit(1)
    rows: list[tuple[str, ...]]
    head: tuple[str, ...]
    if provider:
        names = ("input", "cached_input", "output")
        rows = [(_word(key), *(_amount(_line(table.book.rows[key], name)) for name in names)) for key in keys]
        head = ("USD per million tokens", *names)
    else:
        counts: dict[str, int] = {}
        for key in keys:
            counts[key.partition("/")[0]] = counts.get(key.partition("/")[0], 0) + 1
        rows = [(_word(name), f"{count:,}") for name, count in counts.items()]
        head = (f"table of {table.date}", "models")
    for line in _columns([head, *rows]):
        typer.echo(line)


# Where prices come from


def _source(file: Path | None) -> tuple[Path, str]:
    if file is not None:
        return file, file.name
    found = installed()
    if found is None:
        typer.echo("litellm is not installed here: pip install 'sluice-gateway[providers]', or name --from.", err=True)
        raise typer.Exit(1)
    return found[0], f"litellm {found[1]}"


def _harvested(source: Path) -> Harvest:
    try:
        document = orjson.loads(source.read_bytes())
    except OSError as error:
        raise _failed(f"{source} cannot be read: {error.strerror}.") from error
    except orjson.JSONDecodeError as error:
        raise _failed(f"{source} is not JSON: {error}.") from error
    found = harvest(document) if isinstance(document, dict) else Harvest()
    if not found.rows:
        raise _failed(f"{source} holds no price of a model; the table stays as it was.")
    return found


def _failed(why: str) -> typer.Exit:
    typer.echo(why, err=True)
    return typer.Exit(1)


def _refuse(old: Book, name: str, rows: Mapping[str, Any]) -> None:
    """Stop at what is likely a mistake: prices of the past, or a source that lacks much of what is known."""
    have, had = _release(name), _release(old.source)
    if have is not None and had is not None and have < had:
        raise _failed(
            f"{name} is older than the table in force, which is from {_word(old.source)}; the table stays as it was. "
            "--force takes it all the same."
        )
    removed = len(old.rows.keys() - rows.keys())
    if removed > MOST_REMOVED * len(old.rows):
        raise _failed(
            f"{name} lacks {removed:,} of {len(old.rows):,} models of the table in force; the table stays as it was. "
            "--force removes them all the same."
        )


def _release(source: str) -> tuple[int, ...] | None:
    """Which litellm a table is from; None where it is from none."""
    found = _RELEASE.search(source)
    return tuple(map(int, found[1].split("."))) if found else None


def _origin(name: str, old: Book, *, prune: bool) -> str:
    """What the new table says it is from: a file of no release does not hide which release the rest is from."""
    rest = _RELEASE.search(old.source)
    return name if prune or rest is None or _release(name) else f"{name[:LONGEST_WORD]}, the rest from {rest[0]}"


def _old(where: Path) -> Book | None:
    """What was there before, to be compared; a broken file is about to be mended."""
    try:
        return read(where)
    except (OSError, BadTable):
        return None


def _write(state: Path, table: Path | None, content: bytes) -> Path:
    """Write whole or not at all, as a gateway may start at any moment: into the state folder 0600, as all there is."""
    where = table or state / FILE
    try:
        if table is None:
            State(state).write(where, content)
        else:
            table.parent.mkdir(parents=True, exist_ok=True)
            put(table, content, 0o644)
    except OSError as error:
        raise _failed(f"{where} cannot be written: {error.strerror}.") from error
    return where


# What changed


def _told(old: Book, new: Mapping[str, Any], found: Harvest) -> Iterator[str]:
    changed = [key for key in sorted(new) if key in old.rows and old.rows[key] != new[key]]
    noted = [key for key in changed if key.partition("/")[0] in OF_NOTE]
    for key in noted[:MOST_TOLD]:
        yield f"  {_word(key)}: {_difference(old.rows[key], new[key])}"
    if len(noted) > MOST_TOLD:
        yield f"  and {len(noted) - MOST_TOLD} more"
    yield from _refusals(found.refused)
    added, removed = len(new.keys() - old.rows.keys()), len(old.rows.keys() - new.keys())
    kept = len(new.keys() - found.rows.keys())
    yield (
        f"{added:,} added, {len(changed):,} changed, {removed:,} removed, {kept:,} not published there and kept, "
        f"{len(found.refused):,} refused."
    )


def _difference(old: Any, new: Any) -> str:
    before = old if isinstance(old, dict) else {}
    told = [
        f"{name} {_amount(before.get(name))} -> {_amount(new.get(name))}"
        for name in NAMES
        if before.get(name) != new.get(name)
    ]
    others = [f"other {part}" for part in ("tiers", "steps") if before.get(part) != new.get(part)]
    return ", ".join([*told, *others])


def _refusals(refused: Mapping[str, str]) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for name, reason in refused.items():
        reasons.setdefault(reason, []).append(_word(name))
    for reason, names in reasons.items():
        yield f"Refused, as {_word(reason)}: {', '.join(names)}"


# How it is shown


def _sheet(key: str, book: Book) -> Iterator[str]:
    """One model's lines, with a column for each tier and length of prompt."""
    yield f"{_word(key)}, table of {book.date} from {_word(book.source)}, USD per million tokens"
    try:
        told = described(tariff_of(book.rows[key], key, book.date))
    except BadTable as error:
        yield f"  not used: {error}"
        return
    columns: list[tuple[str, dict[str, float]]] = []
    for tier, scale in (("standard", told), *told["tiers"].items()):
        columns.append((tier, scale["lines"]))
        columns.extend((f"{tier} above {step['above']:,}", step["lines"]) for step in scale["steps"])
    rows: list[tuple[str, ...]] = [("", *(name for name, _ in columns))]
    rows += [(f"  {name}", *(_amount(lines[name]) for _, lines in columns)) for name in NAMES]
    yield from _columns(rows)


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Words to the left, amounts to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        cells = (word.rjust(width) for word, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join((row[0].ljust(widths[0]), *cells)).rstrip()


def _line(row: Any, name: str) -> object:
    """A line as it stands in the table, where no hand has broken the row."""
    return row.get(name) if isinstance(row, dict) else None


def _amount(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, int | float) else "-"


def _word(text: str) -> str:
    """Somebody else's word, fit for a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)[:LONGEST_WORD]
