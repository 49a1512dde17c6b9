"""`sluice cache`: what the store of answers holds, and how it is made to forget."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError

from caching.errors import StoreUnavailable
from caching.stores import Purged, Selection
from gateway.admin.caches import opened, where
from gateway.options import STATE, RedisOption, StateOption
from policies.scalars import Lifetime

_T = TypeVar("_T")
_AGE: TypeAdapter[float] = TypeAdapter(Lifetime)

cache_app = typer.Typer(help="The cache: what it holds, and how to make it forget.", no_args_is_help=True)


def _age(text: str) -> float:
    try:
        return _AGE.validate_python(text)
    except ValidationError as error:
        raise typer.BadParameter('write "90s", "10m", "12h", "7d" or a number of seconds') from error


@cache_app.command()
def status(state: StateOption = STATE, redis_url: RedisOption = "") -> None:
    """Say how many answers the store holds, and how many bytes they take."""
    place = where(state, redis_url)
    entries, size = _asked(_usage(state, redis_url), place)
    typer.echo(f"{place}: {_amount(entries, size)}")


@cache_app.command()
def purge(
    state: StateOption = STATE,
    redis_url: RedisOption = "",
    tenant: Annotated[str | None, typer.Option(help="Only answers made for this tenant.")] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Only answers of this namespace; '' is where calls are that named none.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Only answers that bear this tag.")] = None,
    older_than: Annotated[
        float | None, typer.Option(parser=_age, metavar="AGE", help="Only answers made longer ago: 90s, 10m, 12h, 7d.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every answer of every tenant.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; say what would be.")] = False,
) -> None:
    """Remove answers. Several options select what has all of them; workers' memory follows within a second or so."""
    selection = Selection(tenant, namespace, tag, older_than)
    if everything == (selection != Selection()):
        raise typer.BadParameter("name --tenant, --namespace, --tag or --older-than, or else say --all")
    place = where(state, redis_url)
    purged = _asked(_purge(state, redis_url, selection, dry_run=dry_run), place)
    would = "would be removed from" if dry_run else "removed from"
    typer.echo(f"{_amount(purged.entries, purged.bytes)} {would} {place}")


async def _usage(state: Path, redis_url: str) -> tuple[int, int]:
    async with opened(state, redis_url) as store:
        return await store.usage()


async def _purge(state: Path, redis_url: str, selection: Selection, *, dry_run: bool) -> Purged:
    async with opened(state, redis_url, purging=not dry_run) as store:
        return await store.purge(selection, dry_run=dry_run)


def _asked(question: Coroutine[Any, Any, _T], place: str) -> _T:
    """The answer, or exit status 1 with the reason."""
    try:
        return asyncio.run(question)
    except StoreUnavailable as error:
        typer.echo(f"The cache at {place} cannot be had: {error}.", err=True)
        raise typer.Exit(1) from error


def _amount(entries: int, size: int) -> str:
    return f"{entries:,} {'entry' if entries == 1 else 'entries'}, {_size(size)}"


def _size(number: float) -> str:
    """Bytes in the largest unit of which there is one."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.4g} {unit}"
        number /= 1000
    return f"{number:.4g} GB"
