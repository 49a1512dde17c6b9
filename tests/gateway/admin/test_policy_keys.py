"""Tests of gateway.admin.policy_keys: the policy's keys as the file changes, well or badly."""

from __future__ import annotations

from pathlib import Path

from gateway.admin.policy_keys import PolicyKeys
from policies.loader import LoadedPolicy, load_text

HEAD = "upstreams: {up: {url: 'http://127.0.0.1:8000/v1'}}\nmodels: {m: {targets: [{upstream: up}]}}\n"
KEY = "keys: [{name: %s, tenant: acme, key: '${APP_KEY}'}]\n"


class Plane:
    """A policy file, and how often it was read."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "policy.yaml"
        self.read = 0
        self.keys = PolicyKeys(self.file, self._check)

    def names(self) -> list[str]:
        """Who has a key in the policy."""
        return [key.name for key in self.keys()]

    def write(self, text: str) -> None:
        """Swap the file."""
        (self.file.parent / "new").write_text(text)
        (self.file.parent / "new").replace(self.file)

    def _check(self, text: str) -> LoadedPolicy:
        self.read += 1
        return load_text(text, self.file, {"APP_KEY": "0123456789abcdef"})


def test_they_follow_the_file(tmp_path: Path) -> None:
    """An edit is noticed at the next look; what has not changed is read once."""
    plane = Plane(tmp_path)
    assert plane.names() == []
    plane.write(HEAD + KEY % "app")
    assert [plane.names() for _ in range(3)] == [["app"]] * 3
    plane.write(HEAD + KEY % "other")
    assert plane.names() == ["other"]
    assert plane.read == 2


def test_a_bad_edit_changes_nothing(tmp_path: Path) -> None:
    """While the file is no policy, or away, the last good one counts, as it does for the workers."""
    plane = Plane(tmp_path)
    plane.write(HEAD + KEY % "app")
    for bad in (HEAD + "keys: 5\n", "\t", HEAD + (KEY % "app").replace("APP_KEY", "NO_SUCH")):
        plane.write(bad)
        plane.names()
    plane.write(HEAD + KEY % "app")
    assert plane.names() == ["app"]
    plane.write("models: {}\n")
    assert plane.names() == ["app"]
    plane.file.unlink()
    assert plane.names() == ["app"]
    plane.write(HEAD)
    assert plane.names() == []
