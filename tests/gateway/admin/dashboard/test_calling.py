"""Tests of gateway.admin.dashboard.calling: only what our page would post calls anything."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.admin.dashboard.calling import is_call

CALLBACKS = {
    "..a.x...b.y..": {
        "inputs": [{"id": "url", "property": "search"}, {"id": '{"do":"end","key":["ALL"]}', "property": "clicks"}],
        "state": [{"id": "zone", "property": "data"}],
    }
}


def posted(**changed: Any) -> bytes:
    """A body that calls, but for what is changed."""
    button = {"id": {"do": "end", "key": "k"}, "property": "clicks", "value": None}
    sent = {
        "output": "..a.x...b.y..",
        "outputs": [{"id": "a", "property": "x"}, {"id": "b", "property": "y"}],
        "inputs": [{"id": "url", "property": "search", "value": "?q=1"}, [button]],
        "changedPropIds": ["url.search"],
        "state": [{"id": "zone", "property": "data"}],
        **changed,
    }
    return json.dumps(sent).encode()


def test_what_the_page_posts() -> None:
    """A call has the inputs, state and outputs that its callback declared; values may be missing."""
    assert is_call(posted(), CALLBACKS)


@pytest.mark.parametrize(
    "changed",
    [
        {"output": "..c.z.."},
        {"output": ["..a.x...b.y.."]},
        {"outputs": {}},
        {"outputs": [{"id": "a", "property": "x"}]},
        {"outputs": [1, 2]},
        {"inputs": []},
        {"inputs": [{"id": "url", "property": "search", "value": []}, []]},
        {"inputs": [{"id": "other", "property": "search", "value": ""}, []]},
        {"inputs": [{"id": "url", "property": "search"}, {"id": "x"}]},
        {"inputs": [{"id": "url", "property": "search"}, [{"id": "x", "property": "clicks", "value": 1}]]},
        {"inputs": [{"id": "url", "property": "search"}, [{"id": {"do": 1}, "property": "clicks", "value": 1}]]},
        {"changedPropIds": "url.search"},
        {"changedPropIds": [1]},
        {"state": []},
        {"state": None},
    ],
)
def test_anything_else(changed: dict[str, Any]) -> None:
    """Is none."""
    assert not is_call(posted(**changed), CALLBACKS)
