"""The dashboard as people use it: real Chromium, the real gateway, real calls."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

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


FIRST_CALL = "document.querySelector('.calls tbody a')"
AT_REST = "!document.documentElement.hasAttribute('data-asking')"


def _is_drawn_anew(stage: Stage, page: Tab) -> None:
    """Make a call, and wait until the body of the page, which was marked, has been replaced."""
    page.run("document.getElementById('page').firstElementChild.dataset.old = '1'; true")
    stage.gateway.ask("big", "one that is new", x_usage=[10, 10, 0, 0])
    page.until("!document.querySelector('#page > [data-old]')", 30)


def test_a_new_body_leaves_the_reader_where_he_is(stage: Stage, page: Tab) -> None:
    """The focus stays on the same call, what was opened stays open, what was scrolled stays where it was."""
    page.resize(500, 500)
    page.open(f"{stage.url}/requests")
    page.until(FIRST_CALL)
    wanted = page.run(f"{FIRST_CALL}.focus(), {FIRST_CALL}.getAttribute('href')")
    page.run("document.querySelector('#page .scroll').scrollLeft = 120; window.scrollTo(0, 90); true")
    _is_drawn_anew(stage, page)
    assert page.run("document.activeElement.getAttribute('href')") == wanted
    assert page.run("window.scrollY") == 90
    page.open(stage.url)
    page.until("document.querySelector('#page details summary')")
    page.run("document.querySelector('#page details').open = true; document.querySelector('#page summary').focus()")
    _is_drawn_anew(stage, page)
    assert page.run("document.querySelector('#page details').open")
    assert page.run("document.activeElement.tagName") == "SUMMARY"


def test_a_body_that_is_as_it_was_is_not_drawn_anew(stage: Stage, page: Tab) -> None:
    """While nothing happens the very same elements stay on the screen, though the page is asked for."""
    page.open(f"{stage.url}/requests")
    page.until(FIRST_CALL)
    page.click("#renew")
    page.until(AT_REST)
    page.run("document.getElementById('page').firstElementChild.dataset.old = '1'; true")
    page.asked.clear()
    page.click("#renew")
    page.until(AT_REST)
    time.sleep(0.3)
    page.run("1")
    assert [url for url in page.asked if "_dash-update-component" in url]
    assert page.run("document.querySelectorAll('#page > [data-old]').length") == 1


def test_nothing_is_renewed_while_somebody_writes(stage: Stage, page: Tab) -> None:
    """A field on the page's body that has the focus, or anything in it, is left alone until it is empty again."""
    page.open(f"{stage.url}/requests")
    page.until(FIRST_CALL)
    page.run("document.getElementById('page').append(document.createElement('input')); true")
    page.type("#page input", "half a na")
    page.run("document.activeElement.blur(); true")
    page.until("document.documentElement.hasAttribute('data-held')")
    page.run("document.getElementById('page').firstElementChild.dataset.old = '1'; true")
    stage.gateway.ask("big", "while somebody writes", x_usage=[10, 10, 0, 0])
    time.sleep(6)
    assert page.run("document.querySelectorAll('#page > [data-old]').length") == 1
    page.run("document.querySelector('#page input').remove(); true")
    page.until("!document.querySelector('#page > [data-old]')", 30)


def test_a_custom_time_is_the_same_everywhere(stage: Stage, page: Tab) -> None:
    """What one sends is written into the address as Unix seconds; the page, its links and its export mean just that."""
    page.order("Emulation.setTimezoneOverride", timezoneId="Asia/Tokyo")
    try:
        page.open(f"{stage.url}/requests")
        page.shows("Times in Asia/Tokyo")
        page.run("document.querySelector('details.custom').open = true; true")
        fields = {"since": "2027-01-15T09:00", "until": "2027-01-15T10:30"}
        for name, value in fields.items():
            setter = "Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set"
            field = f"document.querySelector('form.range input[name={name}]')"
            page.run(f"{setter}.call({field}, '{value}'), {field}.dispatchEvent(new Event('input', {{bubbles: true}}))")
        page.click("form.range button")
        page.until("location.search === '?since=1799971200&until=1799976600'")
        page.shows("2027-01-15 09:00 to 2027-01-15 10:30")
        export = page.run("document.querySelector('a[download]').getAttribute('href')")
        assert export.endswith("?since=1799971200&until=1799976600")
        page.click("#pages a[href^='/profile']")
        page.shows("2027-01-15 09:00 to 2027-01-15 10:30")
        assert page.run("location.search") == "?since=1799971200&until=1799976600"
    finally:
        page.order("Emulation.setTimezoneOverride", timezoneId="")


def test_an_admin_process_that_hangs_is_told_and_comes_back(stage: Stage, page: Tab) -> None:
    """While it answers nothing the page says so, keeps what it shows, and is renewed once it answers again."""
    page.open(f"{stage.url}/requests")
    page.until(FIRST_CALL)
    is_told = "!document.getElementById('lost').hidden"
    admin = _admin_process(stage)
    os.kill(admin, signal.SIGSTOP)
    try:
        page.until(is_told, 40)
        assert page.run(f"{FIRST_CALL} !== null")
    finally:
        os.kill(admin, signal.SIGCONT)
    page.until("document.getElementById('lost').hidden", 40)


def _admin_process(stage: Stage) -> int:
    """The process that serves the dashboard, a child of the gateway's."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"gateway.admin" in command and str(stage.gateway.state).encode() in command:
            return int(folder.name)
    raise AssertionError("no admin process")


_CONTRAST = """(() => {
  const light = (c) => c.map((v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    if (!e.offsetParent || e.closest(".unseen, .skip")) continue;
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    let below = e, back = [255, 255, 255];
    for (; below; below = below.parentElement) {
      const c = parts(getComputedStyle(below).backgroundColor);
      if (c.length < 4 || c[3] > .99) { back = c; break; }
    }
    const [a, b] = [light(parts(getComputedStyle(e).color).slice(0, 3)), light(back.slice(0, 3))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) found.push(`${e.tagName}.${e.className} ${ratio.toFixed(2)} ${e.textContent.slice(0, 30)}`);
  }
  return found;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(stage: Stage, page: Tab, scheme: str) -> None:
    """Its contrast with what is below it is 4.5 to 1 or more, on every page."""
    page.prefer(scheme)
    for path in PATHS:
        page.open(stage.url + path.format(dear=stage.dear))
        page.until("document.querySelectorAll('main .card, main .notice').length > 0")
        page.until(AT_REST)
        assert page.run(_CONTRAST) == [], path


def test_a_finger_hits_everything(stage: Stage, page: Tab) -> None:
    """On a phone every link, button and field is 24 pixels wide and high, or more."""
    page.resize(390, 844)
    small = """[...document.querySelectorAll('a, button, input, summary')]
      .filter((e) => e.offsetParent && !e.closest('.unseen, .skip'))
      .map((e) => [e.getBoundingClientRect(), e])
      .filter(([box]) => Math.min(box.width, box.height) < 23.9)
      .map(([box, e]) => `${e.tagName}.${e.className} ${box.width}x${box.height} ${e.textContent.slice(0, 30)}`)"""
    for path in PATHS:
        page.open(stage.url + path.format(dear=stage.dear))
        page.until("document.querySelectorAll('main .card, main .notice').length > 0")
        page.until(AT_REST)
        assert page.run(small) == [], path


def test_what_a_call_cost_is_seen_on_a_phone(stage: Stage, page: Tab) -> None:
    """When, which model, how it ended and what it cost stand side by side, without scrolling."""
    page.resize(390, 844)
    page.open(f"{stage.url}/requests")
    page.until(FIRST_CALL)
    heads = "[...document.querySelectorAll('.calls thead th')].filter((e) => e.offsetParent)"
    shown = page.run(f"{heads}.map((e) => [e.textContent, e.getBoundingClientRect().right])")
    assert [name for name, _ in shown] == ["Began", "Model", "Outcome", "Time", "Cost"]
    assert max(right for _, right in shown) <= 390


def test_an_unknown_path_leads_home(stage: Stage, page: Tab) -> None:
    """It is a page with a link, not a program's answer."""
    page.open(f"{stage.url}/nowhere")
    page.shows("There is no such page.")
    page.click("a[href='/']")
    page.shows("Net saved")


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
    page.click(".scroll tbody button")
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
