"""A real gateway with some traffic behind it, and a real browser that has signed in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.chromium import Tab, tab, where
from tests.browser.upstream import BROKEN, upstream
from tests.running import Gateway, gateway

SHOTS = Path(__file__).parent / "shots"
HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
_POLICY = """\
version: 1
upstreams:
  paid: {{url: "http://127.0.0.1:{port}/v1", prices: {{"*": {{input: 1.25, cached_input: 0.125, output: 10}}}}}}
  broken: {{url: "http://127.0.0.1:{port}{broken}/v1", prices: {{"*": {{input: 1.25, output: 10}}}}}}
  riddle: {{url: "http://127.0.0.1:{port}/riddle/v1"}}
models:
  big: {{targets: [{{upstream: paid}}]}}
  shaky: {{targets: [{{upstream: broken}}, {{upstream: paid}}]}}
  riddle: {{targets: [{{upstream: riddle}}]}}
rules:
  - {{name: everything, cache: {{exact: true}}, record: {{content: true}}}}
"""


@dataclass(frozen=True)
class Stage:
    """A gateway with traffic, and the calls that tests look for."""

    gateway: Gateway
    policy: Path
    dear: str  # ids of calls
    hostile: str

    @property
    def url(self) -> str:
        """Where the dashboard is."""
        return f"http://127.0.0.1:{self.gateway.admin_port}"

    @property
    def token(self) -> str:
        """What opens it."""
        return (self.gateway.state / "admin.token").read_text().strip()


def chromium() -> str:
    """The browser; without it a test is skipped."""
    program = where()
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    return program


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A gateway that has answered a few calls of every kind."""
    chromium()
    folder = tmp_path_factory.mktemp("browser")
    policy = folder / "policy.yaml"
    with upstream() as port:
        policy.write_text(_POLICY.format(port=port, broken=BROKEN))
        with gateway(folder, policy) as running:
            yield Stage(running, policy, *_traffic(running))


def _traffic(running: Gateway) -> tuple[str, str]:
    """Calls that hit, miss, fail over and have no price; one that is dear and one that is hostile."""
    for number in range(12):
        running.ask("big", f"question {number % 8}", temperature=0, x_usage=[900, 120, 300, 0])
    running.ask("shaky", "another", x_usage=[500, 50, 0, 0])
    running.ask("riddle", "what does it cost?")
    dear = running.ask("big", "a long one", x_usage=[60_000, 9000, 0, 8000]).headers["x-request-id"]
    hostile = running.ask("big", HOSTILE, x_usage=[20, 10, 0, 0]).headers["x-request-id"]
    for each in (dear, hostile):
        running.record(each)
    return dear, hostile


@pytest.fixture(scope="session")
def signed_in(stage: Stage) -> Iterator[Tab]:
    """A browser that gave the token in the form; one for all tests, for each start takes a second."""
    with tab(chromium()) as page:
        page.open(stage.url)
        page.type("#token", stage.token)
        page.press("Enter")
        page.shows("Net saved")
        yield page


@pytest.fixture
def page(signed_in: Tab) -> Tab:
    """The same, as large as a desk's screen, light, with nothing said yet."""
    signed_in.resize(1280, 900)
    signed_in.prefer("light")
    signed_in.run("localStorage.removeItem('mantine-color-scheme-value')")
    signed_in.said.clear()
    signed_in.asked.clear()
    return signed_in


def text_of(value: str) -> str:
    """A text as JavaScript writes it."""
    return json.dumps(value)
