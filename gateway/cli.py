"""The command `sluice`."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Annotated

import typer

from gateway.cache_command import cache_app
from gateway.explain import Asked
from gateway.explain import explain as explain_call
from gateway.keys_command import keys_app
from gateway.ledger_command import ledger_app, profile
from gateway.logs import Format, set_up
from gateway.options import STATE, PolicyOption, RedisOption, StateOption
from gateway.policy_command import policy_app
from gateway.prices_command import prices_app
from gateway.serve import CannotServe, Serve
from gateway.settings import SHIPPED_POLICY, Settings
from policies.loader import PolicyError, load
from policies.model import ENDPOINTS

app = typer.Typer(
    name="sluice",
    help="An OpenAI-compatible gateway that makes LLM applications cheaper without making them worse.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bench_app = typer.Typer(help="Our own benchmarks, each with peers and controls.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")
app.add_typer(cache_app, name="cache")
app.add_typer(policy_app, name="policy")
app.add_typer(ledger_app, name="ledger")
app.add_typer(prices_app, name="prices")
app.command()(profile)
app.add_typer(keys_app, name="keys")


@app.command()
def serve(
    policy: PolicyOption = SHIPPED_POLICY,
    host: Annotated[str, typer.Option(envvar="SLUICE_HOST", help="Address of the data plane.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="SLUICE_PORT", help="Port of the data plane.", min=1, max=65535)] = 8080,
    admin_host: Annotated[
        str, typer.Option(envvar="SLUICE_ADMIN_HOST", help="Address of the admin plane.")
    ] = "127.0.0.1",
    admin_port: Annotated[
        int, typer.Option(envvar="SLUICE_ADMIN_PORT", help="Port of the admin plane.", min=1, max=65535)
    ] = 8081,
    state: Annotated[
        Path, typer.Option(envvar="SLUICE_STATE", help="Folder for the ledger, the admin token and the engines' files.")
    ] = Path(".sluice"),
    workers: Annotated[
        int, typer.Option(envvar="SLUICE_WORKERS", help="Data workers. More than one need --redis-url.", min=1, max=256)
    ] = 1,
    redis_url: Annotated[
        str, typer.Option(envvar="SLUICE_REDIS_URL", help="Redis that workers and machines share.")
    ] = "",
    gguf: Annotated[
        list[Path] | None, typer.Option(help="A model of yours in GGUF, served by llama.cpp under its file's name.")
    ] = None,
    drain: Annotated[
        float, typer.Option(envvar="SLUICE_DRAIN", help="Seconds that calls under way get at the end.", min=0)
    ] = 30.0,
    log_format: Annotated[
        Format, typer.Option(envvar="SLUICE_LOG_FORMAT", help="Log lines for people, or as JSON.")
    ] = Format.TEXT,
    log_calls: Annotated[
        bool, typer.Option("--log-calls", envvar="SLUICE_LOG_CALLS", help="A log line for each call that has ended.")
    ] = False,
) -> None:
    """Serve: the data plane for applications, the admin plane for operations, and the engines the policy asks for."""
    set_up("serve", log_format)
    settings = Settings(
        host,
        port,
        admin_host,
        admin_port,
        policy,
        state,
        workers,
        redis_url,
        tuple(gguf or ()),
        drain,
        log_format,
        log_calls,
    )
    try:
        Serve(settings, os.environ, typer.echo).run()
    except (PolicyError, CannotServe) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The policy file to check.")] = SHIPPED_POLICY,
) -> None:
    """Check a policy file: every problem with its file and line; exit status 1 if there is one."""
    try:
        loaded = load(file, os.environ)
    except PolicyError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    for doubt in loaded.doubts:
        typer.echo(f"{doubt} (not refused)", err=True)
    policy = loaded.policy
    typer.echo(
        f"{file}: good. Version {loaded.version}: {len(policy.upstreams)} upstreams, {len(policy.models)} models, "
        f"{len(policy.keys)} keys, {len(policy.rules)} rules."
    )


@app.command()
def explain(
    model: Annotated[str, typer.Argument(help="The model a call would name.")],
    tenant: Annotated[str, typer.Option(help="The tenant that would call.")] = "local",
    endpoint: Annotated[str, typer.Option(help=f"One of {', '.join(ENDPOINTS)}.")] = "chat",
    policy: PolicyOption = SHIPPED_POLICY,
    body: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(help="The call's JSON, - for standard input: is an answer to it kept, or to one like it?"),
    ] = None,
    namespace: Annotated[str, typer.Option(help="With --body: the namespace that the call would name.")] = "",
    state: StateOption = STATE,
    redis_url: RedisOption = "",
) -> None:
    """Print the layers a call would pass, in order, and why."""
    asked = None if body is None else Asked(body.read(), namespace, state)
    try:
        loaded = load(policy, os.environ)
        typer.echo(explain_call(loaded, model, tenant, endpoint, asked, redis_url))
    except (PolicyError, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


@bench_app.command(
    "overhead", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def bench_overhead(context: typer.Context) -> None:
    """What the gateway adds to a call, beside the direct call and those peers that are installed."""
    _bench("benchmarks.overhead", context.args)


@bench_app.command(
    "cache", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def bench_cache(context: typer.Context) -> None:
    """The cache library by itself: keys, lookups among a million entries, byte bounds, what is worth keeping."""
    _bench("benchmarks.cache", context.args)


@bench_app.command(
    "flight", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def bench_flight(context: typer.Context) -> None:
    """Equal calls at once over real gateways, and what calls wait for when their Redis falls silent or dies."""
    _bench("benchmarks.flight", context.args)


@bench_app.command(
    "ledger", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def bench_ledger(context: typer.Context) -> None:
    """What recording every call costs; with --pages, how long pages take over a million records."""
    _bench("benchmarks.ledger", context.args)


@bench_app.command(
    "dashboard", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def bench_dashboard(context: typer.Context) -> None:
    """How soon the dashboard's pages are there over a million records, and what reading them does to calls."""
    _bench("benchmarks.dashboard", context.args)


@bench_app.command(
    "soak", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def bench_soak(context: typer.Context) -> None:
    """200,000 mixed calls: does memory stay flat, is nothing left behind?"""
    _bench("benchmarks.soak", context.args)


@bench_app.command(
    "start", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def bench_start(context: typer.Context) -> None:
    """From the command to the first answer, and a worker's memory."""
    _bench("benchmarks.start", context.args)


def _bench(module: str, arguments: list[str]) -> None:
    """Benchmarks bring libraries of their own, so they are imported only when asked for."""
    raise typer.Exit(importlib.import_module(module).main(arguments) or 0)


if __name__ == "__main__":
    app()
