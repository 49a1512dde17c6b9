"""`sluice keys`: issue keys, list them, revoke them; and the digest of a key for a policy file."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import SecretStr, TypeAdapter, ValidationError

from gateway.errors import GatewayError
from gateway.keys.changes import add, by_age
from gateway.keys.changes import revoke as revoking
from gateway.keys.record import IssuedKey, digest, issue, new_secret
from gateway.keys.registry import opened
from gateway.keys.store import Decision, Snapshot
from gateway.options import STATE, RedisOption, StateOption
from policies.scalars import LONGEST_KEY, KeySecret, Lifetime

_T = TypeVar("_T")
_LIFETIME: TypeAdapter[float] = TypeAdapter(Lifetime)
_SECRET: TypeAdapter[SecretStr] = TypeAdapter(KeySecret)
COLUMNS = ("name", "key", "tenant", "team", "tags", "models", "created", "expires", "state")

keys_app = typer.Typer(help="Keys that applications show: issue, list, revoke.", no_args_is_help=True)


def _lifetime(text: str) -> float:
    try:
        return _LIFETIME.validate_python(text)
    except ValidationError as error:
        raise typer.BadParameter('write "12h", "30d" or a number of seconds, at most 366 days') from error


@keys_app.command()
def create(
    name: Annotated[str, typer.Argument(help="The key's name in lists and records; no other living key has it.")],
    tenant: Annotated[str, typer.Option(help="Whose calls these are. Tenants never share an answer.")],
    team: Annotated[str | None, typer.Option(help="The team within the tenant that its calls are counted for.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag that its calls bear; may be given again.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A glob of models it may use; may be given again. Without any: all.")
    ] = None,
    expires: Annotated[
        float | None, typer.Option(parser=_lifetime, metavar="AGE", help="When it ends: 12h, 30d. Without: never.")
    ] = None,
    state: StateOption = STATE,
    redis_url: RedisOption = "",
) -> None:
    """Issue a key. It is printed now and never again; only its SHA-256 is kept."""
    secret, now = new_secret(), time.time()
    try:
        key = issue(
            secret,
            now,
            name=name,
            tenant=tenant,
            team=team,
            tags=tuple(tag or ()),
            models=tuple(model or ()),
            lifetime=expires,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from error
    _done(_change(state, redis_url, add(key, now)))
    typer.echo(f"Key '{name}' of tenant '{tenant}'. This is the only time it is shown:", err=True)
    typer.echo(secret)


@keys_app.command("list")
def list_keys(
    state: StateOption = STATE,
    redis_url: RedisOption = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON; times are Unix seconds.")] = False,
) -> None:
    """List the issued keys, those that expired or were revoked too. The policy file's own are not among them."""
    found = _done(_load(state, redis_url))
    if found.trouble:
        typer.echo(f"{found.trouble}.", err=True)
    now = time.time()
    keys = by_age(found.records.values())
    if as_json:
        typer.echo(
            json.dumps([{**key.model_dump(mode="json", exclude={"hash"}), "state": key.state(now)} for key in keys])
        )
    elif keys:
        typer.echo(_table([COLUMNS, *(_row(key, now) for key in keys)]))
    else:
        typer.echo("No keys have been issued.")


@keys_app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The key's name.")],
    state: StateOption = STATE,
    redis_url: RedisOption = "",
) -> None:
    """Revoke a key, for good. Every worker refuses it within about two seconds; calls under way end by themselves."""
    _done(_change(state, redis_url, revoking(name, time.time())))
    typer.echo(f"Key '{name}' is revoked.")


@keys_app.command("hash")
def hash_key() -> None:
    """Read a key from standard input, or ask for it unseen, and print its digest for `hash:` in a policy file."""
    shown = typer.prompt("Key", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read(LONGEST_KEY + 3)
    try:
        secret = _SECRET.validate_python(shown.rstrip("\r\n"))
    except ValidationError as error:  # its text would quote the key
        told = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
        typer.echo(f"This is no key: {told}.", err=True)
        raise typer.Exit(1) from None
    typer.echo(digest(secret.get_secret_value()))


async def _change(state: Path, redis_url: str, decide: Decision) -> Snapshot:
    async with opened(state, redis_url) as store:
        return await store.change(decide)


async def _load(state: Path, redis_url: str) -> Snapshot:
    async with opened(state, redis_url) as store:
        return await store.load()


def _done(work: Coroutine[Any, Any, _T]) -> _T:
    """The outcome, or exit status 1 with the reason."""
    try:
        return asyncio.run(work)
    except GatewayError as error:
        typer.echo(f"{error.message.rstrip('.')}.", err=True)
        raise typer.Exit(1) from error


def _row(key: IssuedKey, now: float) -> tuple[str, ...]:
    return (
        key.name,
        f"{key.prefix}..." if key.prefix else "",
        key.tenant,
        key.team or "",
        ",".join(key.tags),
        ",".join(key.models) or "all",
        _day(key.created),
        _day(key.expires) if key.expires is not None else "never",
        key.state(now),
    )


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%MZ")


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
