"""Tests of how gateways are found and started."""

from __future__ import annotations

from pathlib import Path

from benchmarks.targets import LITELLM_CACHED, OURS, UNCACHED, Site, gateways


def _install(home: Path, program: str, info: str) -> None:
    (home / "bin").mkdir(parents=True)
    (home / "bin" / program).touch()
    (home / "lib" / "python3.11" / "site-packages" / info).mkdir(parents=True)


def test_a_peer_is_found_in_its_own_environment(tmp_path: Path) -> None:
    """A router under the peer folder is used, and its version read without running it."""
    _install(tmp_path / "sglang-router", "sglang-router", "sglang_router-9.8.7.dist-info")
    found = {gateway.name: gateway for gateway in gateways(tmp_path)}["sglang-router"]
    assert found.program == tmp_path / "sglang-router" / "bin" / "sglang-router"
    assert found.version == "9.8.7"


def test_a_missing_peer_says_how_to_install_it(tmp_path: Path) -> None:
    """The line can be pasted; it puts the peer in an environment of its own."""
    found = {gateway.name: gateway for gateway in gateways(tmp_path)}["vllm-router"]
    if found.program is None:
        assert found.install.endswith("pip install 'vllm-router'")
    assert str(tmp_path) in found.install


def test_every_gateway_is_told_its_ports_and_its_upstream(tmp_path: Path) -> None:
    """Each command line or file names the port to serve and the one upstream; the key is in no command line."""
    for gateway in gateways(tmp_path):
        folder = tmp_path / f"site-{gateway.name}"
        folder.mkdir()
        launch = gateway.launch(Path("/program"), Site(7001, 7002, 7003, folder, "sk-secret-key-of-the-bench"))
        told = " ".join([*launch.argv, *(path.read_text() for path in folder.iterdir())])
        assert "7001" in told, gateway.name
        assert "7002" in told, gateway.name
        assert "sk-secret" not in told, gateway.name


def test_caches_are_on_and_off_as_the_names_say(tmp_path: Path) -> None:
    """Ours has its cache by default, LiteLLM's is in memory when asked for; the variants differ in nothing else."""
    said = {}
    for gateway in (g for g in gateways(tmp_path) if g.family in {OURS, "litellm"}):
        gateway.launch(Path("/x"), Site(1, 2, 3, tmp_path, "k"))
        said[gateway.name] = (tmp_path / ("policy.yaml" if gateway.family == OURS else "litellm.yaml")).read_text()
    assert "rules" not in said[OURS]
    assert "cache: {exact: false, coalesce: false}" in said[UNCACHED]
    assert "cache" not in said["litellm"]
    assert "cache: true, cache_params: {type: local}" in said[LITELLM_CACHED]


def test_only_gateways_with_a_cache_are_measured_with_hits(tmp_path: Path) -> None:
    """Routers and nginx have none; a variant stands where its cache matters."""
    parts = {gateway.name: gateway.part for gateway in gateways(tmp_path)}
    assert {name for name, part in parts.items() if part != "misses"} == {OURS, LITELLM_CACHED}
    assert parts[OURS] == "both"


def test_breakers_are_off_before_a_faulty_upstream(tmp_path: Path) -> None:
    """An open breaker would hide from the soak all that it is there to see."""
    launches = {g.name: g.launch(Path("/x"), Site(1, 2, 3, tmp_path, "k", faulty=True)) for g in gateways(tmp_path)}
    assert "--disable-circuit-breaker" in launches["sglang-router"].argv
    assert "breaker" in (tmp_path / "policy.yaml").read_text()
