"""`sluice policy`: the versions that were in force, and policies made of other gateways' configurations."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway.options import STATE, PolicyOption, StateOption
from gateway.settings import SHIPPED_POLICY
from policies.difference import difference
from policies.document import UnreadableError, read_text
from policies.history import History, HistoryError
from policies.importers.litellm import CannotImport, Imported, convert
from policies.loader import PolicyError, load_text
from policies.schema import json_schema
from policies.shown import shown

policy_app = typer.Typer(
    help="The policy: versions that were in force, put back or compared; its schema; imports.", no_args_is_help=True
)
import_app = typer.Typer(help="Make a policy of another gateway's configuration.", no_args_is_help=True)
policy_app.add_typer(import_app, name="import")

VersionArgument = Annotated[str, typer.Argument(help="A version, or the name of one.")]
HISTORY = "policies"  # in the state folder
THE_FILE = "the file"


@policy_app.command("list")
def list_versions(
    state: StateOption = STATE,
    most: Annotated[int, typer.Option(help="Most lines, the newest first.", min=1)] = 50,
) -> None:
    """List when which version came into force, newest first; * is the one in force."""
    try:
        versions = History(state / HISTORY).list()
    except HistoryError as error:
        raise _refused(str(error)) from error
    for each in versions[:most]:
        mark = "*" if each.is_in_force else " "
        typer.echo(f"{mark} {each.version}  {_when(each.at)}  {each.bytes:>9,} bytes  {each.name}".rstrip())
    if not versions:
        typer.echo(f"No version is kept in {state / HISTORY}: no gateway has put a policy in force there.")
    elif len(versions) > most:
        typer.echo(f"and {len(versions) - most:,} more; --most tells how many to list")


@policy_app.command()
def show(version: VersionArgument, state: StateOption = STATE) -> None:
    """Print a version as its file was, `${ENV_NAME}` unresolved."""
    typer.echo(_text(History(state / HISTORY), version), nl=False)


@policy_app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A version, or the name of one.")],
    b: Annotated[str | None, typer.Argument(metavar="[B]", help="Another. Without it, the policy file.")] = None,
    state: StateOption = STATE,
    policy: PolicyOption = SHIPPED_POLICY,
) -> None:
    """Print how B differs from A; without B, how the policy file as it stands does."""
    history = History(state / HISTORY)
    old = _text(history, a)
    new = _file(policy) if b is None else _text(history, b)
    typer.echo(difference(shown(old), shown(new), a, b or str(policy)), nl=False)


@policy_app.command()
def name(
    version: VersionArgument,
    name: Annotated[str, typer.Argument(help="Its name from now on; '' takes the name away.")],
    state: StateOption = STATE,
) -> None:
    """Give a version a name. Versions with a name are never dropped."""
    history = History(state / HISTORY)
    try:
        found = history.find(version)
        history.name(found, name)
    except (HistoryError, OSError) as error:
        raise _refused(str(error)) from error
    typer.echo(f"{found} is named {name}." if name else f"{found} has no name.")


@policy_app.command()
def restore(
    version: VersionArgument,
    state: StateOption = STATE,
    policy: PolicyOption = SHIPPED_POLICY,
    gguf: Annotated[list[Path] | None, typer.Option(help="As given to `sluice serve`.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Write a version into the policy file; a gateway that serves it follows within a second.

    A version that does not load in this environment is refused. What stands in the file is kept.
    """
    history = History(state / HISTORY)
    text = _text(history, version)
    try:
        load_text(text, policy, os.environ, gguf or ())
    except PolicyError as error:
        raise _refused(f"This version does not load here, so the policy file stays as it is:\n{error}") from error
    if not yes:
        typer.echo(difference(shown(_file(policy)) if policy.exists() else "", shown(text), str(policy), version))
        typer.confirm(f"Write this into {policy}?", abort=True)
    try:
        kept = history.restore(history.find(version), policy)
    except (HistoryError, OSError) as error:
        raise _refused(f"The policy file stays as it is: {error}.") from error
    typer.echo(f"{policy} is version {version} again." + (f" What stood there is kept in {kept}." if kept else ""))


@policy_app.command()
def schema() -> None:
    """Print the JSON Schema of a policy file, by which editors complete and check it."""
    typer.echo(json.dumps(json_schema(), indent=2))


@import_app.command()
def litellm(
    file: Annotated[Path, typer.Argument(help="LiteLLM's config.yaml.")],
    out: Annotated[Path | None, typer.Option(help="Write the policy there; nothing is overwritten.")] = None,
) -> None:
    """Make a policy of a LiteLLM proxy's config.yaml; what could not be carried over is listed on standard error."""
    try:
        made = convert(read_text(file))
    except UnreadableError as error:
        raise _refused(f"{file}:{error.line}: {error.message}") from error
    except CannotImport as error:
        raise _refused(f"{file}: {error}") from error
    if out is None:
        typer.echo(made.text, nl=False)
    else:
        _write_new(out, made.text)
    _tell(made, out)


def _tell(made: Imported, out: Path | None) -> None:
    """What is different, and what to do next, beside the policy."""
    if made.notes:
        typer.echo(f"\nNot carried over as it stood ({len(made.notes)}):", err=True)
    for note in made.notes:
        typer.echo(f"  {note}", err=True)
    if made.variables:
        typer.echo(f"\nSet in the gateway's environment: {', '.join(made.variables)}", err=True)
    if out is not None:
        typer.echo(f"\nWritten to {out}. Now: sluice check {out}", err=True)


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    except FileExistsError as error:
        raise _refused(f"{path} is there already; give another with --out, or move it away.") from error
    except OSError as error:
        raise _refused(f"{path} cannot be written: {error.strerror}.") from error


def _text(history: History, said: str) -> str:
    """The text of a version or of a name, or exit status 1."""
    try:
        return history.text(history.find(said))
    except HistoryError as error:
        raise _refused(f"{said}: {error}; `sluice policy list` tells which are.") from error


def _file(path: Path) -> str:
    try:
        return read_text(path)
    except UnreadableError as error:
        raise _refused(f"{path}:{error.line}: {error.message}") from error


def _when(at: float) -> str:
    """A time in UTC; the number itself where a clock went mad."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{at:.0f}"


def _refused(why: str) -> typer.Exit:
    typer.echo(why, err=True)
    return typer.Exit(1)
