"""When the dashboard's pages are there to be read, in a real Chromium that has never been here before.

A page is there when its figures stand in it, all of the first screen's, and have been painted: not its frame, and not
an empty chart. The page itself takes the time, on its own clock, which begins when the browser starts to go there
(`performance.timeOrigin`, redirects after the form included); so the delay of whoever drives the browser is not in it.
"""

from __future__ import annotations

import json
import statistics as plain
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb, inf

from benchmarks.chromium import Tab, tab
from benchmarks.statistics import Estimate

WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Page:
    """A page, what of it must be painted to be useful (CSS selectors of which each finds something), and how many."""

    name: str
    path: str
    figures: tuple[str, ...]


# `.figures .value` are the sums; `.recharts-bar-rectangle` a chart's bars, which are drawn last.
_OVERVIEW = (".figures .value", ".recharts-bar-rectangle")
OVERVIEWS = tuple(
    Page(f"overview, {name}", f"/?range={short}", _OVERVIEW)
    for short, name in (("24h", "24 h"), ("7d", "7 d"), ("30d", "30 d"))
)
REQUESTS = Page("requests, 30 d", "/requests?range=30d", (".calls tbody tr",))


def one_call(id: str) -> Page:  # noqa: A002 - the record's name for it
    """The page of this call."""
    return Page("one call", f"/requests/{id}", (".figures .value", "section.card"))


@dataclass(frozen=True, slots=True)
class Painted:
    """Milliseconds from the start of a navigation until the frame in which the figures stood was painted."""

    first: float  # of a browser that keeps nothing yet
    again: float  # of the same browser, the second time


# A frame's callback runs before it is painted, and a message posted there is handled after. Bars may be without height.
_WATCH = """
(() => {
  const wanted = %s;
  const stands = (all) => [...document.querySelectorAll(all)].some((one) => one.getBoundingClientRect().height > 0);
  let asked = false;
  const look = () => {
    asked = false;
    if (!wanted.every(stands)) return;
    watch.disconnect();
    const after = new MessageChannel();
    after.port1.onmessage = () => { window.painted = performance.now(); };
    after.port2.postMessage(0);
  };
  const watch = new MutationObserver(() => {
    if (!asked) requestAnimationFrame(look);
    asked = true;
  });
  watch.observe(document, { subtree: true, childList: true, characterData: true });
})();
"""


def visit(program: str, base: str, token: str, page: Page) -> Painted:
    """Sign in with a new browser, which leads to this page, and go there once more."""
    with tab(program) as browser:
        browser.resize(1280, 900)
        browser.first_run(_WATCH % json.dumps(page.figures))
        browser.open(base + page.path)
        browser.type("#token", token)
        browser.press("Enter")
        first = _painted(browser)
        browser.run("window.painted = 0")
        browser.open(base + page.path)
        return Painted(first, _painted(browser))


def _painted(browser: Tab) -> float:
    return float(browser.until("window.painted", WAIT_S))


def visits(
    program: str, base: str, token: str, pages: Sequence[Page], repetitions: int
) -> Iterator[tuple[str, Painted]]:
    """Visit all pages, again and again, each time with a browser of its own."""
    for _ in range(repetitions):
        for page in pages:
            yield page.name, visit(program, base, token, page)


def median(values: Sequence[float]) -> Estimate:
    """Estimate the median from the order of the values, whatever they are distributed like; infinities below six."""
    ordered, n = sorted(values), len(values)
    outside, cut = 0.0, 0  # chance that the median lies outside, if `cut` values are left out at each end
    while cut < n // 2 and (more := outside + 2 * comb(n, cut) / 2**n) <= 0.05:
        outside, cut = more, cut + 1
    low, high = (ordered[cut - 1], ordered[n - cut]) if cut else (-inf, inf)
    return Estimate(plain.median(ordered), low, high, n)
