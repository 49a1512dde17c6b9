"""What people do on the pages, in real Chromium: they make keys, mend the policy and ask why something cost so much."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from benchmarks.chromium import Tab
from tests.browser.conftest import Stage, text_of

HEADING = "document.querySelector('main h1').textContent"
IDLE = "!document.documentElement.hasAttribute('data-asking')"
ROWS = "document.querySelectorAll('.calls tbody tr').length"


@pytest.fixture
def file_mended(stage: Stage) -> Iterator[str]:
    """The policy's text as it is in force, which stands in the file again afterwards."""
    good = stage.policy.read_text()
    yield good
    stage.policy.write_text(good)


def value(field: str) -> str:
    """JavaScript that reads one field of the form."""
    return f"document.getElementById({text_of('new-' + field)}).value"


def test_a_renewal_leaves_the_key_form_alone(stage: Stage, page: Tab) -> None:
    """A key that was meant for one model was once issued for all: a tick had emptied the field."""
    page.open(f"{stage.url}/keys")
    for field, text in (
        ("name", "narrow"),
        ("tenant", "acme"),
        ("models", "gpt-[5"),
        ("tags", "a, b"),
        ("expires", "2d"),
    ):
        page.type(f"#new-{field}", text)
    page.asked.clear()
    page.run("document.getElementById('renew').click()")
    page.until(f"{IDLE} && true")
    time.sleep(0.5)
    assert [url for url in page.asked if "_dash-update-component" in url]
    assert page.run(value("models")) == "gpt-[5"
    page.press("Enter")  # in the last field
    page.shows("Not done.")
    page.shows("no name fits 'gpt-[5'")
    assert [page.run(value(field)) for field in ("name", "models", "tags")] == ["narrow", "gpt-[5", "a, b"]
    page.type("#new-models", "gpt-5")
    page.until("document.querySelector('#new-models').getAttribute('value') === 'gpt-5'")  # the page knows it too
    page.press("Enter")
    secret = page.until("document.getElementById('secret').textContent")
    assert secret.startswith("sk-sluice-")
    assert page.run("location.pathname") == "/keys"
    row = "[...document.querySelectorAll('#page tbody tr')].find(r => r.innerText.includes('narrow')).innerText"
    page.until(f"{row} !== ''")
    for part in ("gpt-5", "a, b", "issued", "living"):
        assert part in page.run(row)
    assert page.run("document.querySelector('#told button').innerText").startswith("Copy")


def test_what_is_in_force_is_put_back_over_a_broken_file(stage: Stage, page: Tab, file_mended: str) -> None:
    """The page shows what the edit changed, and its Restore mends the file and says so."""
    page.open(f"{stage.url}/policy")
    page.shows("in force")
    stage.policy.write_text(file_mended.replace("rules:", "rulez:"))
    page.shows("The file is not what is in force")
    page.shows("+rulez:")
    page.click("#page table button")
    page.shows("stands in the policy file")
    page.until("!document.body.innerText.includes('The file is not what is in force')")
    assert stage.policy.read_text() == file_mended


def test_what_is_in_force_is_put_back_where_the_file_is_gone(stage: Stage, page: Tab, file_mended: str) -> None:
    """A file that was deleted comes back."""
    page.open(f"{stage.url}/policy")
    stage.policy.unlink()
    page.shows("The file cannot be shown.")
    page.click("#page table button")
    page.shows("stands in the policy file")
    assert stage.policy.read_text() == file_mended


def test_a_version_is_named_and_shown(stage: Stage, page: Tab) -> None:
    """By its name it is found again; a name that no version has is told of, with the rest of the page there."""
    page.open(f"{stage.url}/policy")
    version = page.until("document.querySelector('#page tbody .mono').textContent")
    page.type("#name-version", version)
    page.type("#name-name", "as tested")
    page.until("document.querySelector('#name-name').getAttribute('value') === 'as tested'")  # the page knows it too
    page.press("Enter")
    page.shows("is named as tested")
    page.open(f"{stage.url}/policy?newer=as%20tested")
    page.shows("Version as tested")
    page.shows("upstreams:")
    page.open(f"{stage.url}/policy?newer=nobody")
    page.shows("'nobody'")
    page.shows("History")


def test_a_filter_of_the_sums_is_seen_and_taken_away(stage: Stage, page: Tab) -> None:
    """A link that was sent with a filter shows it; one click shows all."""
    page.open(f"{stage.url}/?model=riddle")
    page.shows("Only calls of")
    page.click("a[aria-label='Take the filter model riddle away']")
    page.until("location.search === ''")
    page.until("!document.body.innerText.includes('Only calls of')")


def test_a_call_that_failed_over(stage: Stage, page: Tab) -> None:
    """The list shows that it was asked twice, and its page what each attempt cost and why no cache helped."""
    page.open(f"{stage.url}/requests?model=shaky")
    page.until(f"{ROWS} === 1")
    assert page.run("document.querySelector('.calls tbody .badge.warn').textContent") == "2"
    page.click(".calls tbody a")
    page.shows("2 upstreams were asked; failed: broken (http_500).")
    page.shows("The caches were passed by")


def test_upstreams_tell_their_calls(stage: Stage, page: Tab) -> None:
    """Calls, errors and what they cost stand by each upstream, the one that never answers included."""
    page.open(f"{stage.url}/upstreams")
    page.shows("Share of errors")
    page.click("#page a[href*='upstream=paid']")
    page.until(f"{HEADING} === 'Requests'")
    page.until(f"{ROWS} > 1")
