"""Docs held to the code: every command in them runs, every example loads, every metric is named."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from gateway.cli import app
from policies.loader import load
from tests.running import REPOSITORY, Gateway

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of one language on a page."""
    return [text for found, text in BLOCK.findall(page.read_text()) if found == language]


def commands(page: Path, word: str) -> list[str]:
    """The shell blocks of a page that begin with a word."""
    return [text for text in blocks(page, "sh") if text.startswith(word)]


README_CALLS = commands(REPOSITORY / "README.md", "curl")


@pytest.mark.parametrize("number", range(len(README_CALLS)))
def test_readme_calls_work(served: Gateway, number: int) -> None:
    """Every `curl` of the README works when pasted."""
    line = README_CALLS[number].replace("127.0.0.1:8080", f"127.0.0.1:{served.port}")
    line = line.replace("127.0.0.1:8081", f"127.0.0.1:{served.admin_port}")
    line = line.replace(".sluice/", f"{served.state}/").replace("curl -s", "curl -sf")
    run = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, f"{line}\n{run.stdout}{run.stderr}"


def test_readme_python_works(served: Gateway) -> None:
    """The README's Python example works when pasted."""
    (example,) = blocks(REPOSITORY / "README.md", "python")
    example = example.replace("127.0.0.1:8080", f"127.0.0.1:{served.port}")
    run = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert "2 5 9" in run.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sluice_commands_work(page: Path, served: Gateway, tmp_path: Path) -> None:
    """Every `sluice` command that neither serves nor measures for minutes works when pasted, one after the other."""
    state = tmp_path / ".sluice"
    state.mkdir()
    for file in served.state.glob("*.sqlite*"):  # as where a gateway has served
        shutil.copy(file, state)
    (tmp_path / "policies").symlink_to(REPOSITORY / "policies")
    (tmp_path / "call.json").write_text('{"model": "sluice-small", "messages": [{"role": "user", "content": "Hi"}]}')
    for line in sluice_lines(page):
        command = [sys.executable, "-m", "gateway.cli", *shlex.split(line, comments=True)[1:]]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert run.returncode == 0, f"{line}\n{run.stderr}"


def sluice_lines(page: Path) -> list[str]:
    """The lines of a page that call `sluice`, but for those that serve, measure or ask for what only a reader has."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    others = ("sluice serve", "sluice bench", "VERSION", "FILE")
    return [line for line in lines if line.startswith(".venv/bin/sluice") and not any(word in line for word in others)]


def test_readme_policy_loads(tmp_path: Path) -> None:
    """The README's policy is one."""
    env = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MY_APP_KEY"), "a-secret-of-many-letters")
    for number, example in enumerate(blocks(REPOSITORY / "README.md", "yaml")):
        path = tmp_path / f"{number}.yaml"
        path.write_text(example)
        assert load(path, env).policy.models


def test_readme_names_no_placeholder() -> None:
    """The README shows real output: no placeholder is left in it."""
    assert not re.findall(r"^[A-Z]+_[A-Z]+$|^OVERHEAD$|^EXPLAIN$|^CHECK$", (REPOSITORY / "README.md").read_text(), re.M)


def test_every_command_is_documented() -> None:
    """Some page names every command."""
    text = "".join(page.read_text() for page in PAGES)
    assert not [name for name in names(app, "sluice") if name not in text]


def names(group: typer.Typer, before: str) -> list[str]:
    """Every command of a group, as it is called."""
    found = [command.name or getattr(command.callback, "__name__", "") for command in group.registered_commands]
    inner = [
        names(each.typer_instance, f"{before} {each.name}") for each in group.registered_groups if each.typer_instance
    ]
    return [f"{before} {name}" for name in found] + [name for each in inner for name in each]


def test_pages_link_to_what_exists() -> None:
    """Every relative link on every page leads somewhere."""
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_nothing_tells_of_a_machine() -> None:
    """No page, script or module carries a path of somebody's machine."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    suspects = ("/" + "work/", "/" + "root/", "/home" + "/user")
    for name in tracked.stdout.split("\0"):
        path = REPOSITORY / name
        if name and path.is_file() and path.suffix in {".py", ".md", ".sh", ".yaml", ".toml", ".lock", ".json", ""}:
            text = path.read_text(errors="replace")
            assert not [word for word in suspects if word in text and os.sep in word], name
