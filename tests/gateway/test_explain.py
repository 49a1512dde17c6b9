"""Explain: the layers of a call without making it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.explain import explain
from policies.loader import load

TEXT = "upstreams:\n  u: {url: 'http://127.0.0.1:9/v1'}\nmodels:\n  m: {targets: [{upstream: u}], serves: [chat]}\n"


def test_explain(tmp_path: Path) -> None:
    """What is printed names the policy, the rule, each layer and the upstream; nobody is asked anything."""
    path = tmp_path / "policy.yaml"
    path.write_text(TEXT)
    loaded = load(path, {})
    told = explain(loaded, "m", "local", "chat")
    assert loaded.version in told
    assert str(path) in told
    assert "rule   default" in told
    refused = (("x", "chat", "There are: m"), ("m", "embeddings", "serves chat"), ("m", "x", "no endpoint"))
    for model, endpoint, why in refused:
        with pytest.raises(ValueError, match=why):
            explain(loaded, model, "local", endpoint)
