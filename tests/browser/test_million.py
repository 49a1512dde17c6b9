"""The dashboard over a million recorded calls: every sum that it shows is that of the rows. No time is asserted."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chromium import Tab, tab
from benchmarks.records import Recipe, seed
from tests.browser.conftest import SHOTS, chromium, text_of
from tests.running import Gateway, gateway

RECORDS = 1_000_000
DAYS = 29.5  # so that all of them lie within the 30 days of the page, whenever it is opened
HOUR = 3600
WAIT_SECONDS = 60.0  # a slow machine is slow, not wrong
# Nothing is called here; and no record goes because there are too many.
POLICY = """\
version: 1
upstreams: {none: {url: "http://127.0.0.1:9/v1"}}
models: {none: {targets: [{upstream: none}]}}
ledger: {records: 2000000}
"""
_SUMS = """
SELECT count(*), total(status >= 400 AND status <> 499), total(cache IN ('exact', 'stale', 'coalesced')),
       total(cost_usd IS NULL), total(cost_usd), total(saved_usd)
FROM calls WHERE at >= ? AND at < ?
"""


@dataclass(frozen=True)
class Filled:
    """A gateway whose ledger is full, and a browser that has signed in there."""

    running: Gateway
    page: Tab

    def open(self, search: str) -> None:
        """Look at the overview of this range."""
        self.page.open(f"http://127.0.0.1:{self.running.admin_port}/{search}")
        self.page.until("document.querySelectorAll('.recharts-bar-rectangle').length > 0", WAIT_SECONDS)

    def shown(self, name: str) -> str:
        """A sum as the page shows it, with every digit that it has."""
        find = f"one => one.querySelector('dt').firstChild.textContent.trim() === {text_of(name)}"
        found = f"[...document.querySelectorAll('.figure')].find({find})"
        return str(self.page.run(f"{found}.querySelector('dd').title || {found}.innerText"))

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What the ledger's rows say."""
        path = self.running.state / "ledger.sqlite"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            return db.execute(sql, values).fetchall()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """A million calls of the last thirty days, seeded once."""
    program = chromium()
    folder = tmp_path_factory.mktemp("million")
    seed(folder / "state" / "ledger.sqlite", Recipe(RECORDS, time.time(), DAYS))
    policy: Path = folder / "policy.yaml"
    policy.write_text(POLICY)
    with gateway(folder, policy) as running, tab(program) as page:
        page.resize(1280, 900)
        page.open(f"http://127.0.0.1:{running.admin_port}")
        page.type("#token", (running.state / "admin.token").read_text().strip())
        page.press("Enter")
        page.until("document.querySelector('main h1')", WAIT_SECONDS)
        yield Filled(running, page)


def test_thirty_days_are_all_calls(filled: Filled) -> None:
    """The overview of 30 days counts every call that there is, and its money is the sum of their money."""
    filled.open("?range=30d&live=off")
    assert filled.shown("Calls") == str(RECORDS)
    _is_sum_of_rows(filled, 0, time.time())
    filled.page.shot(SHOTS / "million.png")


def test_a_range_is_its_calls(filled: Filled) -> None:
    """Some whole hours in the midst of them are the calls that began then, no more and no less."""
    until = int(time.time()) // HOUR * HOUR - 30 * HOUR
    since = until - 100 * HOUR
    filled.open(f"?since={since}&until={until}&live=off")
    assert 0 < int(filled.shown("Calls")) < RECORDS
    _is_sum_of_rows(filled, since, until)


def test_the_dearest_call_of_all_is_found(filled: Filled) -> None:
    """Among a million calls the search for the dearest begins with the one that cost most, and leads to it."""
    ((dearest, usd),) = filled.rows("SELECT id, max(cost_usd) FROM calls")
    filled.page.open(f"http://127.0.0.1:{filled.running.admin_port}/requests?range=30d&order=dearest&live=off")
    first = filled.page.until("document.querySelector('.calls tbody a').getAttribute('href')", WAIT_SECONDS)
    assert dearest in first
    filled.page.click(".calls tbody a")
    filled.page.shows("Why it cost this", WAIT_SECONDS)
    assert filled.page.run(f"document.body.innerText.includes({text_of(dearest)})")
    assert float(filled.shown("Cost").removesuffix(" USD")) == pytest.approx(usd)


def _is_sum_of_rows(filled: Filled, since: float, until: float) -> None:
    """Hold what the page shows now against the rows of this time."""
    ((calls, errors, hits, unknown, cost, saved),) = filled.rows(_SUMS, since, until)
    assert filled.shown("Calls") == str(calls)
    for name, usd in (("Spent", cost), ("Net saved", saved)):
        assert float(filled.shown(name).removesuffix(" USD")) == pytest.approx(usd, rel=1e-9)
    assert f"{errors:,.0f} call" in filled.shown("Errors")
    assert f"{100 * hits / calls:.1f} %" in filled.shown("Hit rate")
    filled.page.shows(f"{unknown:,.0f} calls at unknown price.")
