"""From what a policy says of an upstream to what serves it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from gateway.engines.spec import EngineSpec
from gateway.upstreams.catalog import _engine_wire, _wire, needs_providers, open_station
from gateway.upstreams.http import Origin, Pool
from gateway.upstreams.openai import OpenAIUpstream
from policies.model import Breaker, Timeouts, Upstream
from routing.breaker import State

ORIGIN = Origin.parse("http://a:1/v1")


def test_wire() -> None:
    """Key, headers and timeouts of the policy are what is sent and kept to."""
    upstream = Upstream(
        url="http://a:1/v1",
        key=SecretStr("sk-0123456789"),
        headers={"X-Team": SecretStr("blue")},
        timeouts=Timeouts(connect=1, first_byte=2, answer=3, idle=4),
        accept_models=["a*"],
    )
    wire = _wire(upstream, ORIGIN)
    assert dict(wire.headers) == {"x-team": "blue", "authorization": "Bearer sk-0123456789"}
    assert (wire.connect, wire.first_byte, wire.answer, wire.idle) == (1, 2, 3, 4)
    assert wire.accept_models == ("a*",)
    assert "sk-0123456789" in wire.secrets


def test_a_secret_behind_its_scheme_is_one() -> None:
    """Of `Authorization: Bearer abc` a server may quote the last part alone; it is a secret too."""
    upstream = Upstream(url="http://a/v1", headers={"Authorization": SecretStr("Bearer abcdefgh12345")})
    assert {"Bearer abcdefgh12345", "abcdefgh12345"} <= set(_wire(upstream, ORIGIN).secrets)
    assert "Bearer" not in _wire(upstream, ORIGIN).secrets


def test_an_engine_answers_by_its_own_name() -> None:
    """An engine serves one model under one name, which is accepted whatever the policy calls it."""
    upstream = Upstream(engine="llama.cpp", gguf="x.gguf")
    wire = _engine_wire(upstream, EngineSpec("x", Path("x.gguf")))
    assert wire.accept_models == ("x",)
    assert wire.origin.path == "/v1"


def test_stations(tmp_path: Path) -> None:
    """A server by URL gets a pool; each upstream has a breaker as the policy says."""
    by_url = open_station("u", Upstream(url="http://a/v1", breaker=Breaker(window=5, open=3)), None, tmp_path, tmp_path)
    engine = Upstream(engine="llama.cpp", gguf="x.gguf")
    by_engine = open_station("e", engine, EngineSpec("x", Path("x.gguf")), tmp_path, tmp_path)
    assert isinstance(by_url.handler, OpenAIUpstream)
    assert isinstance(by_url.handler._requests, Pool)
    for _ in range(5):
        by_url.breaker.failed(0)
    assert (by_url.breaker.state(2.9), by_url.breaker.state(3)) == (State.OPEN, State.HALF_OPEN)
    by_url.close()
    by_engine.close()


def test_an_unusable_authority(tmp_path: Path) -> None:
    """A `ca` file that is none is an error when the policy loads, not at the first call."""
    (tmp_path / "bad.pem").write_text("nothing\n")
    for name, error in (("bad.pem", ssl.SSLError), ("missing.pem", OSError)):
        with pytest.raises(error):
            open_station("u", Upstream(url="https://a/v1", ca=name), None, tmp_path, tmp_path)
    trustme.CA().cert_pem.write_to_path(tmp_path / "good.pem")
    open_station("u", Upstream(url="https://a/v1", ca="good.pem"), None, tmp_path, tmp_path).close()


def test_providers_are_imported_only_when_named() -> None:
    """Only a policy that names a provider needs the library."""
    url, provider = Upstream(url="http://a/v1"), Upstream(provider="anthropic")
    assert not needs_providers({"a": url})
    assert needs_providers({"a": url, "b": provider})
