"""One worker's reloads, without its server; `test_serve.py` runs whole processes."""

from __future__ import annotations

from pathlib import Path

from gateway.settings import Settings
from gateway.worker import Worker

ONE = "upstreams:\n  u: {url: 'http://127.0.0.1:9/v1'}\nmodels:\n  m: {targets: [{upstream: u}]}\n"


async def worker(folder: Path) -> Worker:
    """A worker whose first policy is in force."""
    (folder / "policy.yaml").write_text(ONE)
    made = Worker(Settings(policy=folder / "policy.yaml", state=folder / "state"), 0, {})
    await made._runtime.load(made._read_policy())
    return made


async def test_edits(tmp_path: Path) -> None:
    """A good edit comes into force; a bad one is kept out and remembered until the file is good again."""
    made, file = await worker(tmp_path), tmp_path / "policy.yaml"
    first = made._told()
    assert (first["upstreams"], first["reloads_ok"], first["refusal"]) == ({"u": 0}, 0, "")
    file.write_text(ONE.replace("u:", "v:").replace("upstream: u", "upstream: v"))
    await made._reload()
    assert (made._told()["upstreams"], made._told()["reloads_ok"]) == ({"v": 0}, 1)
    file.write_text("models: 1\n")
    await made._reload()
    told = made._told()
    assert (told["upstreams"], told["reloads_refused"], told["policy"] != first["policy"]) == ({"v": 0}, 1, True)
    assert "policy.yaml:1" in told["refusal"]
    file.unlink()
    await made._reload()
    assert made._told()["reloads_refused"] == 2
    file.write_text(ONE)
    await made._reload()
    assert (made._told()["policy"], made._told()["refusal"]) == (first["policy"], "")


async def test_an_undone_edit(tmp_path: Path) -> None:
    """When a bad edit is undone nothing is loaded anew, and nothing is amiss."""
    made, file = await worker(tmp_path), tmp_path / "policy.yaml"
    before = made._runtime.pipeline
    file.write_text("models: 1\n")
    await made._reload()
    file.write_text(ONE)
    await made._reload()
    assert made._runtime.pipeline is before
    assert made._told()["refusal"] == ""


async def test_an_unusable_certificate(tmp_path: Path) -> None:
    """A reload that fails after the file was read keeps the old policy too."""
    made, file = await worker(tmp_path), tmp_path / "policy.yaml"
    before = made._runtime.pipeline
    (tmp_path / "ca.pem").write_text("nothing\n")
    file.write_text(ONE.replace("http:", "https:").replace("/v1'", "/v1', ca: ca.pem"))
    await made._reload()
    assert made._runtime.pipeline is before
    assert made._told()["reloads_refused"] == 1
