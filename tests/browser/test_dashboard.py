"""The dashboard as people use it: real Chromium, the real gateway, real calls."""

from __future__ import annotations

import signal
import time

from benchmarks.chromium import Tab, tab
from tests.browser.conftest import HOSTILE, SHOTS, Stage, chromium, text_of

HEADING = "document.querySelector('main h1').textContent"
PATHS = ("/", "/requests", "/requests/{dear}", "/upstreams", "/policy", "/profile", "/keys")
OVERFLOW = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def test_the_form_lets_in_who_has_the_token(stage: Stage) -> None:
    """Without it every page leads to the form; a wrong token is told of; the right one leads where one wanted to go."""
    with tab(chromium()) as page:
        page.open(f"{stage.url}/requests?order=dearest")
        page.shows("Admin token")
        page.type("#token", "guess")
        page.press("Enter")
        page.shows("This is not the token.")
        page.type("#token", stage.token)
        page.press("Enter")
        page.until(f"{HEADING} === 'Requests'")
        assert page.run("location.pathname + location.search") == "/requests?order=dearest"
        assert page.run("document.cookie") == ""  # a script cannot read it


def test_overview(stage: Stage, page: Tab) -> None:
    """The first page shows what was spent and saved, and calls at unknown price, with its figures already in it."""
    page.open(stage.url)
    for text in ("Spent", "Net saved", "Exact cache", "1 call at unknown price", "paid", "riddle"):
        page.shows(text)
    page.until("document.querySelectorAll('.recharts-bar-rectangle').length > 0")
    assert not [url for url in page.asked if "_dash-update-component" in url]
    page.shot(SHOTS / "overview.png")
    page.shot(SHOTS / "overview-whole.png", is_whole=True)


def test_nothing_comes_from_elsewhere(stage: Stage, page: Tab) -> None:
    """Everything that every page loads is ours, and the browser's policy refuses nothing of it."""
    for path in PATHS:
        page.open(stage.url + path.format(dear=stage.dear))
        page.until(HEADING)
        page.until("!document.documentElement.hasAttribute('data-asking')")
    assert [url for url in page.asked if not url.startswith((stage.url, "data:"))] == []
    assert page.said == []


def test_from_the_sums_to_why_one_call_was_dear(stage: Stage, page: Tab) -> None:
    """From the overview to the dearest call and its reasons, by clicking only."""
    page.open(stage.url)
    page.click("#pages a[href='/requests']")
    page.until(f"{HEADING} === 'Requests'")
    page.click("a[href*='order=dearest']")
    page.until("document.querySelector('a[href*=\"order=dearest\"][aria-current]')")
    page.until(f"document.querySelector('.calls tbody a').href.includes({text_of(stage.dear)})")
    page.click(".calls tbody a")
    page.shows("Why it cost this")
    for text in ("8,000 tokens at $10 a million", "60,000 tokens at $1.25 a million", "$0.165"):
        page.shows(text)
    page.shot(SHOTS / "request.png")
    page.shot(SHOTS / "request-whole.png", is_whole=True)


def test_filters_are_in_the_address(stage: Stage, page: Tab) -> None:
    """What one filters by stands in the URL, from where the same page comes again; Back goes back."""
    page.open(f"{stage.url}/requests")
    page.type("input[name=model]", "riddle")
    page.press("Enter")
    page.until("location.search.includes('model=riddle')")
    page.until("document.querySelectorAll('.calls tbody tr').length === 1")
    page.open(page.run("location.href"))
    page.until("document.querySelectorAll('.calls tbody tr').length === 1")
    assert page.run("document.querySelector('input[name=model]').value") == "riddle"
    page.run("history.back()")
    page.until("document.querySelectorAll('.calls tbody tr').length > 1")


def test_unknown_prices_lead_to_their_calls(stage: Stage, page: Tab) -> None:
    """The notice on the overview leads to exactly those calls, whose cost is unknown and never 0."""
    page.open(stage.url)
    page.click(".notice a[href*='unknown=1']")
    page.until("document.querySelectorAll('.calls tbody tr').length === 1")
    page.shows("unknown")
    page.click(".calls tbody a")
    page.shows("This call's price is unknown.")


def test_a_prompt_is_text(stage: Stage, page: Tab) -> None:
    """Markup in a recorded prompt and answer is shown as it was written, and does nothing."""
    page.open(f"{stage.url}/requests/{stage.hostile}")
    page.shows("Request and answer")
    shown = page.run("[...document.querySelectorAll('pre.code')].map(e => e.textContent)")
    assert any(HOSTILE in text.replace('\\"', '"') for text in shown)
    assert page.run("document.querySelectorAll('#page img, #page script').length") == 0
    assert page.run("document.title") == "One call · Sluice"


def test_dark_follows_the_system_and_the_switch_is_remembered(stage: Stage, page: Tab) -> None:
    """A dark system gets a dark page at once; the switch makes it light, after a reload too."""
    scheme = "document.documentElement.getAttribute('data-mantine-color-scheme')"
    page.prefer("dark")
    page.open(stage.url)
    page.shows("Net saved")
    assert page.run(scheme) == "dark"
    page.shot(SHOTS / "overview-dark.png")
    page.click("#colors")
    page.until(f"{scheme} === 'light'")
    page.open(f"{stage.url}/requests")
    page.shows("Tokens in")
    assert page.run(scheme) == "light"


def test_phone(stage: Stage, page: Tab) -> None:
    """On a screen of 390 pixels no page scrolls sideways."""
    page.resize(390, 844)
    for path in PATHS:
        page.open(stage.url + path.format(dear=stage.dear))
        page.until(HEADING)
        page.until("document.querySelectorAll('main .card, main .notice').length > 0")
        assert not page.run(OVERFLOW), path
        page.shot(SHOTS / f"phone{path.format(dear='dear').replace('/', '-')}.png")


def test_the_keyboard_is_enough(stage: Stage, page: Tab) -> None:
    """From the top of the page to one call with Tab and Enter; the focus is seen, then on the new heading."""
    page.open(f"{stage.url}/requests?order=dearest")
    page.until("document.querySelector('.calls tbody a')")
    page.run("document.activeElement.blur()")
    for _ in range(60):
        page.press("Tab")
        if page.run("document.activeElement.closest('.calls tbody') !== null"):
            break
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.press("Enter")
    page.shows("Why it cost this")
    page.until("document.activeElement.tagName === 'H1'")


def test_for_a_screen_reader(stage: Stage, page: Tab) -> None:
    """There are landmarks, one main heading, headed tables, named fields and charts with their figures as a table."""
    page.open(stage.url)
    page.shows("Net saved")
    for selector in ("header", "nav", "main", "[role=status][aria-live=polite]", "figure.chart details table"):
        assert page.run(f"document.querySelectorAll({text_of(selector)}).length") > 0, selector
    assert page.run("document.querySelectorAll('h1').length") == 1
    assert page.run("[...document.querySelectorAll('th')].filter(th => !th.scope).length") == 0
    assert page.run("document.getElementById('said').textContent").startswith("16 calls in 1 hour")
    page.open(f"{stage.url}/requests")
    page.shows("Tokens in")
    nameless = "[...document.querySelectorAll('form input:not([type=hidden])')].filter(i => !i.labels.length).length"
    assert page.run(nameless) == 0


def test_live(stage: Stage, page: Tab) -> None:
    """A call that is made while somebody looks appears by itself; where it is paused, it does not."""
    page.open(f"{stage.url}/requests?model=big")
    page.until("document.querySelectorAll('.calls tbody tr').length > 0")
    seen = page.run("document.querySelectorAll('.calls tbody tr').length")
    stage.gateway.ask("big", "one more", x_usage=[10, 10, 0, 0])
    page.until(f"document.querySelectorAll('.calls tbody tr').length > {seen}")
    page.click(".live")
    page.shows("Paused")
    assert page.run("document.querySelector('[data-period]').dataset.period") == ""


def test_a_renewal_leaves_the_reader_where_he_is(stage: Stage, page: Tab) -> None:
    """What was opened stays open, what was typed stays typed, and the focus stays, while figures are renewed."""
    page.open(f"{stage.url}/requests")
    page.type("input[name=tenant]", "half a na")
    page.run("document.querySelector('details.more').open = true")
    page.asked.clear()
    page.run("document.getElementById('renew').click()")
    page.run("document.querySelector('input[name=tenant]').focus()")
    page.until("!document.documentElement.hasAttribute('data-asking')")
    time.sleep(0.5)
    assert [url for url in page.asked if "_dash-update-component" in url]
    assert page.run("document.querySelector('input[name=tenant]').value") == "half a na"
    assert page.run("document.activeElement.name") == "tenant"
    assert page.run("document.querySelector('details.more').open")


def test_a_dead_ledger_is_told_and_comes_back(stage: Stage, page: Tab) -> None:
    """While the ledger cannot be read the page says so in the figures' place, and recovers by itself."""
    ledger = stage.gateway.state / "ledger.sqlite"
    ledger.chmod(0o600)
    aside = ledger.with_name("aside.sqlite")
    ledger.rename(aside)
    try:
        page.open(stage.url)
        page.shows("This cannot be shown now.")
        page.shot(SHOTS / "ledger-dead.png")
    finally:
        if not ledger.exists():
            aside.rename(ledger)
    page.shows("Net saved")


def test_a_worker_that_hangs_is_told_and_comes_back(stage: Stage, page: Tab) -> None:
    """While a worker writes nothing the overview says so, and no more once it does."""
    page.open(stage.url)
    page.shows("Net saved")
    stage.gateway.signal_workers(signal.SIGSTOP)
    try:
        page.shows("Worker 0 is gone.", 60)
    finally:
        stage.gateway.signal_workers(signal.SIGCONT)
    page.until("!document.body.innerText.includes('Worker 0 is gone.')", 40)


def test_a_refused_edit_is_told_with_its_line(stage: Stage, page: Tab) -> None:
    """The policy page shows the refusal with file and line, and no more once the file is mended."""
    good = stage.policy.read_text()
    stage.policy.write_text(good.replace("rules:", "rulez:"))
    try:
        page.open(f"{stage.url}/policy")
        page.shows("The last edit was refused")
        page.shows("policy.yaml:10")
        page.shot(SHOTS / "policy-refused.png")
    finally:
        stage.policy.write_text(good)
    page.until("!document.body.innerText.includes('The last edit was refused')")


def test_a_key_is_made_shown_once_and_revoked(stage: Stage, page: Tab) -> None:
    """A new key stands on the page until one goes elsewhere; revoking asks first."""
    page.open(f"{stage.url}/keys")
    page.type("#new-name", "job")
    page.type("#new-tenant", "acme")
    page.click("#make")
    secret = page.until("document.getElementById('secret').textContent")
    assert secret.startswith("sk-sluice-")
    page.shows("living")
    page.dialogs.clear()
    page.click(".scroll table button")
    page.shows("revoked")
    assert len(page.dialogs) == 1
    page.click("#pages a[href='/']")
    page.shows("Net saved")
    assert secret not in page.run("document.documentElement.outerHTML")


def test_signing_out(stage: Stage) -> None:
    """After it the same browser is led to the form again."""
    with tab(chromium()) as page:
        page.open(stage.url)
        page.type("#token", stage.token)
        page.press("Enter")
        page.shows("Net saved")
        page.click("form.leave button")
        page.shows("Admin token")
        page.open(f"{stage.url}/policy")
        page.shows("Admin token")
