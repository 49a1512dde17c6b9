"""What calls are sent to: breakers, engines of our own, and the prices in force."""

from __future__ import annotations

from collections.abc import Sequence

from dash import html

from gateway.admin.dashboard import figures as f
from gateway.admin.dashboard.address import View
from gateway.admin.dashboard.data import Json
from gateway.admin.dashboard.pages import traffic
from gateway.admin.dashboard.parts import Column, Part, Tone, amount, badge, card, link, notice, table

_STATES: dict[str, Tone] = {"closed": "good", "half-open": "warn", "open": "bad"}
_ENGINE: dict[str, Tone] = {"ready": "good", "failed": "bad", "restarting": "warn", "starting": "warn"}
_LINES = ("input", "cached_input", "cache_write", "output", "reasoning")


def upstreams(
    view: View, told: Json, prices: list[Json], sums: Json | None = None, failed: Sequence[Json] = ()
) -> Part:
    """The page over what the workers wrote and the prices of the policy; with the ledger's sums and last faults."""
    unknown = [price for price in prices if price["kind"] == "unknown"]
    return [
        *gone(view, told["workers"]),
        *([_unknown(unknown)] if unknown else []),
        _breakers(view, told["upstreams"]),
        *([traffic.traffic(view, told["upstreams"], sums, failed)] if sums else []),
        _prices([price for price in prices if price.get("lines")]),
        _machines([price for price in prices if price.get("machine")]),
        _engines(told["engines"]),
    ]


def gone(view: View, workers: list[Json]) -> list[Part]:
    """A word on each worker that stopped writing without a goodbye."""
    return [
        notice(
            f"Worker {worker['worker']} is gone.",
            f"Seen last {f.moment(worker['seen'], view.zone)}.",
            "bad",
            is_alert=True,
        )
        for worker in workers
        if not worker["alive"]
    ]


def said(told: Json, prices: list[Json]) -> str:
    """The page in one sentence."""
    open_ = [name for name, state in told["upstreams"].items() if state["state"] != "closed"]
    unknown = sum(price["kind"] == "unknown" for price in prices)
    return f"{f.plural(len(told['upstreams']), 'upstream')}, {len(open_)} not well; {unknown} unknown prices."


def _unknown(prices: list[Json]) -> Part:
    names = ", ".join(f"{price['model']} at {price['upstream']}" for price in prices)
    text = (
        f"{names}. Calls to them go through, and their cost is unknown. Add prices to the upstream in the policy, a "
        "machine if it is your own, or run sluice prices update."
    )
    return notice(f"{f.plural(len(prices), 'price')} unknown:", text, "warn")


def _breakers(view: View, found: Json) -> Part:
    workers = sorted(
        {worker for told in found.values() for worker in told["workers"]}, key=lambda name: (len(name), name)
    )
    columns = (
        Column("Upstream"),
        Column("Breaker", help="closed: calls go there. open: it failed too often and is left alone for a while. "
               "half-open: that while is over, and a single call tries whether it is well again; if it is, the breaker "
               "closes, else it opens anew. Until then the other calls pass it over."),
        *(Column(f"Worker {worker}") for worker in workers),
    )  # fmt: skip
    rows = [
        [
            link(name, view.page_link("/requests", upstream=name)),
            _state(told["state"]),
            *(_state(told["workers"].get(worker, "")) for worker in workers),
        ]
        for name, told in found.items()
    ]
    return card("Upstreams", table("Circuit breakers by worker", columns, rows, empty="No worker lives."))


def _state(name: str) -> Part:
    return badge(name, _STATES.get(name, "")) if name else f.NONE


def _where(price: Json) -> str:
    source, date = price["source"], price.get("date")
    return f"{source}, {date}" if date and date not in source else source


def _prices(prices: list[Json]) -> Part:
    columns = (
        Column("Model"),
        Column("Upstream"),
        *(Column(name.replace("_", " ").capitalize(), is_number=True) for name in _LINES),
        Column("Also"),
        Column("From"),
    )
    rows = [
        [
            price["model"],
            price["upstream"],
            *(_line(price["lines"].get(name)) for name in _LINES),
            _also(price),
            _where(price),
        ]
        for price in prices
    ]
    about = "What providers ask for, in USD for a million tokens."
    return card(
        "Prices, USD per million tokens",
        table("Prices in force", columns, rows, empty="No provider's price is in force."),
        about=about,
    )


def _line(usd: float | None) -> str:
    return f.NONE if usd is None else f.rate(usd)


def _also(price: Json) -> str:
    steps = [f"above {f.count(step['above'])} tokens" for step in price.get("steps") or []]
    return ", ".join([*(price.get("tiers") or {}), *steps]) or f.NONE


def _machines(prices: list[Json]) -> Part:
    columns = (
        Column("Model"),
        Column("Upstream"),
        Column("USD an hour", is_number=True),
        Column(
            "Account", help="marginal: calls bear the time they keep the machine busy. amortized: its idle time too."
        ),
        Column("Utilization", is_number=True, help="The share of time in which it worked on calls."),
        Column("Reads, tokens/s", is_number=True),
        Column("Writes, tokens/s", is_number=True),
    )
    rows = [_machine(price, price["machine"]) for price in prices]
    return card(
        "Machines of your own",
        table("Machines and what they cost", columns, rows, empty="The policy names no machine of your own."),
    )


def _machine(price: Json, machine: Json) -> list[Part]:
    used = machine.get("utilization")
    learned = machine.get("learned") or {}
    rates = [
        f.NONE if machine.get(name) is None else f.count(machine[name]) + (" learned" if learned.get(name) else "")
        for name in ("prefill", "decode")
    ]
    return [
        price["model"],
        price["upstream"],
        amount(machine["usd_per_hour"]),
        machine["account"],
        f.NONE if used is None else f.share(used, 1),
        *rates,
    ]


def _engines(found: Json | None) -> Part:
    engines = (found or {}).get("engines", [])
    columns = (
        Column("Engine"),
        Column("State"),
        Column("Process", is_number=True),
        Column("Restarts", is_number=True),
        Column("Last exit"),
    )
    rows = [
        [
            engine["name"],
            badge(engine["state"], _ENGINE.get(engine["state"], "")),
            str(engine["pid"] or f.NONE),
            f.count(engine["restarts"]),
            f.NONE if engine.get("last_exit") is None else str(engine["last_exit"]),
        ]
        for engine in engines
    ]
    empty = html.Span("The gateway runs no engine of its own.")
    body = table("Engines", columns, rows) if rows else html.P(empty, className="empty")
    return card("Engines", body, about="Servers of models that the gateway itself starts and keeps alive.")
