"""The report of `overhead` as tables in a terminal."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from benchmarks.report import AGAIN, SATURATED, CellReport, Report, carried
from benchmarks.statistics import Estimate
from benchmarks.targets import DIRECT

_CROWDED = 0.1  # of a gateway's core taken by other programs


def show(report: Report, console: Console) -> None:
    """Print everything."""
    machine = report.machine
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores; gateway on {machine['gateway_cores']}, "
        f"load and upstream on {machine['load_cores']}; Python {machine['python']}, Linux {machine['kernel']}",
        highlight=False,
    )
    console.print(", ".join(f"{name} {version}" for name, version in report.versions.items()), highlight=False)
    for name, install in report.missing.items():
        console.print(f"{name} is not installed: {install}", highlight=False, markup=False)
    for name, why in report.failed.items():
        console.print(f"{name} was not measured: {why.splitlines()[0]}", highlight=False, markup=False)
    console.print("Each figure: mean of repetitions ± half its 95 % interval. `+`: added to the direct call.")
    console.print(
        "Exact misses: all calls differ; `sluice` has its cache on by default, `sluice (cache off)` passes them on.\n"
        "Exact hits: all calls are equal and were asked before; targets without a cache are left out.\n"
    )
    for cell in report.cells:
        console.print(_figures(cell))
        console.print(_ratios(cell))
        for remark in _remarks(cell):
            console.print(f"  ! {remark}", highlight=False, markup=False)
        console.print()
    _summary(report, console)


def _figures(cell: CellReport) -> Table:
    streamed, paced = cell.cell.kind != "plain", cell.cell.kind == "paced"
    sort = "exact hits" if cell.cell.hit else "exact misses"
    table = Table(title=f"{cell.cell.name} ({sort})", title_justify="left", title_style="bold")
    table.add_column("target")
    headings = ["req/s", "CPU µs", "+p50 µs", "+p99 µs"]
    headings += ["+first p50 µs", "+first p99 µs"] * streamed + ["+chunk p50 µs", "+chunk p99 µs"] * paced
    for heading in [*headings, "PSS MB", "busy", *["to upstream"] * cell.cell.hit]:
        table.add_column(heading, justify="right")
    names = ["rps", "cpu_us", "p50_us", "p99_us"]
    names += ["first_p50_us", "first_p99_us"] * streamed + ["delay_p50_us", "delay_p99_us"] * paced
    for target in cell.measures:
        table.add_row(*_row(cell, target, [*names, "memory_mb"]))
    return table


def _row(cell: CellReport, target: str, names: list[str]) -> list[str]:
    if not cell.valid(target):
        return [target, f"no figure: {cell.errors(target) or 'no answer within the window'}"]
    figures = cell.figures(target)
    shown = [figures.get(f"added_{name}", figures.get(name)) for name in names]
    bare = "" if f"added_{names[2]}" in figures else "(whole) "
    busy = f"{cell.peak(target, lambda m: m.gateway_busy):.0%}/{cell.peak(target, lambda m: m.load_busy):.0%}"
    share = f"{cell.peak(target, lambda m: m.upstream_share):.1%}"
    return [f"{target} {bare}".rstrip(), *map(_plus_minus, shown), busy, *[share] * cell.cell.hit]


def _ratios(cell: CellReport) -> Table:
    table = Table(title="ratios (95 % interval)", title_justify="left", show_header=True)
    table.add_column("")
    names = ["rps", "cpu_us", "added_p50_us", "added_p99_us", "added_first_p50_us", "added_delay_p99_us", "memory_mb"]
    for heading in ("req/s", "CPU", "+p50", "+p99", "+first p50", "+chunk p99", "PSS"):
        table.add_column(heading, justify="right")
    for ours, theirs in cell.pairs():
        ratios = cell.ratios(ours, theirs)
        label = f"{ours} / {theirs}" if not ours.endswith(AGAIN) else f"noise floor: {theirs} / itself"
        table.add_row(label, *(_interval(ratios.get(name)) for name in names))
    return table


def _remarks(cell: CellReport) -> list[str]:
    remarks: list[str] = []
    for target in cell.measures:
        if target != DIRECT and cell.peak(target, lambda m: m.load_busy) > SATURATED:
            remarks.append(f"{target}: the load side was saturated; it may be faster than shown")
        share = cell.peak(target, lambda m: m.others_busy)
        if not target.startswith(DIRECT) and share > _CROWDED:
            remarks.append(f"{target}: other programs took {share:.0%} of its core")
    return remarks


def _summary(report: Report, console: Console) -> None:
    paced = [cell for cell in report.cells if cell.cell.kind == "paced" and cell.cell.size == "1.7k"]
    for target in paced[0].measures if paced else ():
        most = carried(paced, target)
        if target != DIRECT and not target.endswith(AGAIN):
            streams = most.cell.connections if most else 0
            console.print(f"{target} carries {streams} of the paced streams tried (added p99 a chunk ≤ 5 ms)")
    for goal in report.goals():
        sign = "≥" if goal.higher_is_better else "≤"
        console.print(
            f"goal: {goal.what} {sign} {goal.bound:g}: {_interval(goal.measured)} {goal.verdict}", highlight=False
        )


def _plus_minus(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    reach = (estimate.high - estimate.low) / 2
    return _number(estimate.value) + (f" ±{_number(reach)}" if math.isfinite(reach) else "")


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    if not math.isfinite(estimate.high):
        return f"{estimate.value:.3g}"
    return f"{estimate.value:.3g} ({estimate.low:.3g} to {estimate.high:.3g})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
