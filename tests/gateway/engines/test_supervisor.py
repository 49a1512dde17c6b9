"""The supervisor's decisions, with processes and a clock of the tests' own."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.engines.endpoint import Endpoint, read_endpoint, write_endpoint
from gateway.engines.files import EngineFiles
from gateway.engines.spec import EngineSpec
from gateway.engines.supervisor import Supervisor

CHAT = EngineSpec("chat", Path("/models/chat.gguf"))
OTHER = EngineSpec("other", Path("/models/other.gguf"))


@dataclass
class FakeChild:
    """A process that ends when the test says so."""

    pid: int
    exit: int | None = None
    deaf: bool = False
    signals: list[str] = field(default_factory=list)

    def poll(self) -> int | None:
        return self.exit

    def wait(self, timeout: float | None = None) -> int:
        if self.exit is None:
            raise subprocess.TimeoutExpired("engine", timeout or 0.0)
        return self.exit

    def terminate(self) -> None:
        self.signals.append("TERM")
        self.exit = self.exit if self.deaf else -15

    def kill(self) -> None:
        self.signals.append("KILL")
        self.exit = -9


class House:
    """A supervisor with a clock and a launch that the test turns by hand."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.now = 1000.0
        self.children: list[FakeChild] = []
        self.broken = False
        self.supervisor = Supervisor(state, launch=self.launch, clock=lambda: self.now)

    def launch(self, spec: EngineSpec) -> FakeChild:
        if self.broken:
            raise OSError("no more processes")
        self.children.append(FakeChild(pid=100 + len(self.children)))
        return self.children[-1]

    def ready(self, spec: EngineSpec = CHAT) -> None:
        """Have the newest process say that it is ready."""
        endpoint = Endpoint(port=4000, pid=self.children[-1].pid, api_key="k", model=spec.name)
        write_endpoint(EngineFiles(self.state, spec.key).endpoint, endpoint)
        self.supervisor.tick()

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.supervisor.tick()

    def crash(self, code: int = -11) -> None:
        self.children[-1].exit = code
        self.supervisor.tick()

    def states(self) -> dict[str, str]:
        return {status.name: status.state for status in self.supervisor.status()}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_wanted_engine_is_started_and_becomes_ready(house: House) -> None:
    """It is starting until its own process has published an endpoint."""
    house.supervisor.want([CHAT])
    assert house.states() == {"chat": "starting"}
    house.ready()
    assert house.states() == {"chat": "ready"}


def test_the_endpoint_of_an_earlier_run_makes_nothing_ready(house: House) -> None:
    """A supervisor that was killed leaves endpoint files behind; another process may have that port now."""
    old = Endpoint(port=4000, pid=7, api_key="k", model="chat")
    write_endpoint(EngineFiles(house.state, CHAT.key).endpoint, old)
    house.supervisor.want([CHAT])
    assert read_endpoint(house.state, CHAT) is None
    assert house.states() == {"chat": "starting"}


def test_equal_engines_are_started_once(house: House) -> None:
    """Two upstreams that ask for the same model in the same way share one process."""
    house.supervisor.want([CHAT, EngineSpec("chat", Path("/models/chat.gguf"))])
    assert len(house.children) == 1


def test_wanting_the_same_again_restarts_nothing(house: House) -> None:
    """A reload of the policy does not disturb the engines it keeps."""
    house.supervisor.want([CHAT])
    house.supervisor.want([CHAT, OTHER])
    assert [child.signals for child in house.children] == [[], []]


def test_an_engine_no_longer_wanted_is_stopped(house: House) -> None:
    """It is asked to end, and its endpoint is withdrawn at once."""
    house.supervisor.want([CHAT])
    house.ready()
    house.supervisor.want([])
    assert house.children[0].signals == ["TERM"]
    assert read_endpoint(house.state, CHAT) is None
    assert house.supervisor.status() == []


def test_a_stopped_engine_that_does_not_end_is_killed(house: House) -> None:
    """After five seconds asking is over."""
    house.supervisor.want([CHAT])
    house.children[0].deaf = True
    house.supervisor.want([])
    house.after(4.9)
    assert house.children[0].signals == ["TERM"]
    house.after(0.2)
    assert house.children[0].signals == ["TERM", "KILL"]


def test_an_engine_that_is_wanted_again_keeps_its_new_endpoint(house: House) -> None:
    """The end of its first process does not withdraw what the second one published."""
    house.supervisor.want([CHAT])
    house.children[0].deaf = True
    house.supervisor.want([])
    house.supervisor.want([CHAT])
    house.ready()
    house.children[0].exit = -9
    house.supervisor.tick()
    assert house.states() == {"chat": "ready"}
    assert read_endpoint(house.state, CHAT) is not None


def test_a_crashed_engine_waits_twice_as_long_each_time(house: House) -> None:
    """The delays before restarts are 0.5 s, 1 s, 2 s … and never more than 30 s."""
    house.supervisor.want([CHAT])
    for delay in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        started = len(house.children)
        house.ready()
        house.crash()
        house.after(delay - 0.01)
        assert len(house.children) == started
        house.after(0.02)
        assert len(house.children) == started + 1


def test_a_crash_withdraws_the_endpoint(house: House) -> None:
    """No call is sent to a port that may be another program's by now."""
    house.supervisor.want([CHAT])
    house.ready()
    house.crash()
    assert read_endpoint(house.state, CHAT) is None
    assert house.states() == {"chat": "restarting"}


def test_a_minute_of_health_forgets_the_failures(house: House) -> None:
    """An engine that crashes once a day is back after half a second each time."""
    house.supervisor.want([CHAT])
    for _ in range(4):
        house.ready()
        house.crash()
        house.after(30.0)
    house.ready()
    house.after(61.0)
    house.crash()
    house.after(0.51)
    assert house.states() == {"chat": "restarting"}
    assert house.supervisor.status()[0].pid == house.children[-1].pid


def test_an_engine_that_never_gets_ready_has_failed(house: House) -> None:
    """Three ends in a row before it was ready are told from a crash, and it is still tried again."""
    house.supervisor.want([CHAT])
    for _ in range(3):
        house.crash(1)
        house.after(30.0)
    assert house.states() == {"chat": "failed"}
    assert house.supervisor.status()[0].last_exit == 1
    house.ready()
    assert house.states() == {"chat": "ready"}


def test_a_process_that_cannot_be_started_is_tried_again(house: House) -> None:
    """No memory for a new process is not the end of the supervisor."""
    house.broken = True
    house.supervisor.want([CHAT])
    assert house.states() == {"chat": "restarting"}
    house.broken = False
    house.after(0.6)
    assert len(house.children) == 1


def test_restarts_and_exits_are_counted(house: House) -> None:
    """The status names the new pid, how often it was started again, and how it last ended."""
    house.supervisor.want([CHAT])
    house.ready()
    house.crash(-9)
    house.after(1.0)
    status = house.supervisor.status()[0]
    assert (status.pid, status.restarts, status.last_exit) == (101, 1, -9)


def test_the_status_lies_in_a_private_file(house: House) -> None:
    """The admin plane reads engines.json; only the owner may."""
    house.supervisor.want([CHAT, OTHER])
    path = house.state / "engines.json"
    names = [engine["name"] for engine in json.loads(path.read_bytes())["engines"]]
    assert names == ["chat", "other"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_stopping_kills_what_does_not_end(house: House) -> None:
    """At the end nothing is left running."""
    house.supervisor.want([CHAT, OTHER])
    house.children[0].deaf = True
    house.supervisor.stop(timeout=0.0)
    assert house.children[0].signals == ["TERM", "KILL"]
    assert house.children[1].signals == ["TERM"]
    assert json.loads((house.state / "engines.json").read_bytes()) == {"engines": []}


def test_a_status_that_cannot_be_written_stops_nothing(house: House) -> None:
    """A state directory that is gone or full costs the admin plane its view, not the engines."""
    (house.state / "engines.json").mkdir()
    house.supervisor.want([CHAT])
    house.ready()
    assert house.states() == {"chat": "ready"}
