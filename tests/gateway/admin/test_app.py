"""Tests of gateway.admin.app: what an operator gets from each route, and what everybody else does not."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Route

from gateway.admin.app import create_app
from gateway.admin.guard import OPEN
from gateway.ledger import Journal
from gateway.ledger.taking import Taking
from gateway.metrics import Status
from gateway.state import State
from gateway.trace import MISS
from tests.gateway.admin.answers import entry, keep, kept
from tests.gateway.ledger.traces import answered, hit, refused

TOKEN = "token-of-the-test"
POLICY = """\
upstreams:
  openai: {url: https://api.openai.com/v1, key: ${OPENAI_API_KEY}}
  wrong: {url: https://example.com/v1, key: sk-written-out}
keys:
  - {name: app, key: "sk written out", tenant: acme}
"""


def status() -> Status:
    """A worker in the middle of things."""
    return {
        "in_flight": 1,
        "upstreams": {"local": 2},
        "policy": "v7",
        "reloads_refused": 1,
        "refusal": "p.yaml:3: no",
        "cache": {"entries": 3, "bytes": 999},
    }


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    """The admin plane over a state directory in which one worker has recorded five calls."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    state = State(tmp_path / "state")
    journal = Journal(state, status=status)
    now = time.time()
    journal.add(hit("req_0", at=now))
    for i in range(1, 4):
        journal.add(answered(f"req_{i}", at=now, cache=MISS))
    old = refused("bad")
    old.at = now - 2 * 86400
    journal.add(old)
    journal.tick()
    journal.close()
    taking = Taking(state)
    taking.turn()
    taking.close()
    return create_app(state, tmp_path / "policy.yaml", TOKEN)


@pytest.fixture
async def admin(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client that bears the token."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://admin", headers=headers) as client:
        yield client


async def test_every_route_asks_for_the_token(app: FastAPI) -> None:
    """No route answers a stranger, whatever the method; nothing is mounted that is no plain route."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin") as stranger:
        for route in app.routes:
            assert isinstance(route, Route)
            path = route.path.replace("{id}", "req_1").replace("{version}", "x")
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
                answer = await stranger.request(method, path)
                assert answer.status_code == 401 or path in OPEN, f"{method} {path}"
        for path in ("/docs", "/redoc", "/openapi.json", "/nowhere"):
            assert (await stranger.get(path)).status_code == 401


async def test_only_healthz_is_open() -> None:
    """The list of open paths is this one and grows only on purpose."""
    assert set(OPEN) == {"/healthz"}


async def test_fastapis_own_pages_are_off(admin: httpx.AsyncClient) -> None:
    """They would load scripts from elsewhere."""
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert (await admin.get(path)).status_code == 404


async def test_requests_in_pages(admin: httpx.AsyncClient) -> None:
    """The newest first; `before` leads to the next page and is null after the last."""
    first = (await admin.get("/api/requests", params={"limit": 3})).json()
    assert [r["id"] for r in first["requests"]] == ["bad", "req_3", "req_2"]
    second = (await admin.get("/api/requests", params={"limit": 3, "before": first["before"]})).json()
    assert [r["id"] for r in second["requests"]] == ["req_1", "req_0"]
    assert second["before"] is None


async def test_requests_by_filter(admin: httpx.AsyncClient) -> None:
    """A filter leaves the calls that fit."""
    found = (await admin.get("/api/requests", params={"outcome": "model_not_found"})).json()["requests"]
    assert [r["id"] for r in found] == ["bad"]
    found = (await admin.get("/api/requests", params={"cache": "exact"})).json()["requests"]
    assert [(r["id"], r["age_s"], r["saved_tokens"]) for r in found] == [("req_0", 30, 120)]


async def test_one_request_with_its_story(admin: httpx.AsyncClient) -> None:
    """A call is shown with every upstream asked."""
    found = (await admin.get("/api/requests/req_2")).json()
    assert found["story"]["attempts"][0]["upstream"] == "local"
    assert found["overhead_ms"] == 15.0


async def test_an_unknown_request_is_404(admin: httpx.AsyncClient) -> None:
    """In OpenAI's envelope."""
    answer = await admin.get("/api/requests/nobody")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "request_not_found"


async def test_stats_of_the_last_day(admin: httpx.AsyncClient) -> None:
    """Without `since` the last day is summed; the older call is not in it."""
    found = (await admin.get("/api/stats")).json()
    assert found["calls"] == 4
    assert found["latency_ms"]["overhead"]["p50"] == 15.0
    assert (await admin.get("/api/stats", params={"since": 0})).json()["calls"] == 5


async def test_the_policy_and_its_last_refusal(admin: httpx.AsyncClient) -> None:
    """Version by worker, the file's text with names for keys, and the refused edit."""
    found = (await admin.get("/api/policy")).json()
    assert found["workers"][0]["version"] == "v7"
    assert found["workers"][0]["refusal"] == "p.yaml:3: no"
    assert "key: ${OPENAI_API_KEY}" in found["text"]
    assert "written" not in found["text"], "a key that somebody wrote out is not shown"
    assert "tenant: acme" in found["text"]


async def test_a_policy_file_that_is_gone_is_told(app: FastAPI, admin: httpx.AsyncClient, tmp_path: Path) -> None:
    """The workers' part of the answer is there all the same, and no path is shown."""
    (tmp_path / "policy.yaml").unlink()
    found = (await admin.get("/api/policy")).json()
    assert found["text"] is None
    assert found["error"] == "The policy file cannot be read: No such file or directory."
    assert len(found["workers"]) == 1


async def test_upstreams_of_workers_that_live(app: FastAPI, admin: httpx.AsyncClient, tmp_path: Path) -> None:
    """Breakers and engines in one answer."""
    State(tmp_path / "state").write(tmp_path / "state" / "engines.json", b'{"small": {"state": "serving"}}')
    found = (await admin.get("/api/upstreams")).json()
    assert found["upstreams"] == {"local": {"state": "open", "workers": {"0": "open"}}}
    assert found["engines"] == {"small": {"state": "serving"}}


async def test_metrics_are_prometheus(admin: httpx.AsyncClient) -> None:
    """The page has its content type and the calls."""
    answer = await admin.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'sluice_calls_total{endpoint="chat",model="small",' in answer.text


async def test_the_page_needs_nothing_from_elsewhere(admin: httpx.AsyncClient, app: FastAPI) -> None:
    """It is HTML without scripts or outside addresses, and names every route."""
    answer = await admin.get("/api")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script" not in answer.text
    assert "//" not in answer.text
    places = {route.path for route in app.routes if isinstance(route, Route)}
    assert not {path for path in places if path.startswith(("/api", "/metrics")) and path not in answer.text}


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/api/requests?limit=0", "limit"),
        ("/api/requests?limit=501", "limit"),
        ("/api/requests?limit=many", "limit"),
        ("/api/requests?before=-1", "before"),
        ("/api/requests?before=99999999999999999999", "before"),
        (f"/api/requests?model={'x' * 201}", "model"),
        (f"/api/requests/{'x' * 201}", "id"),
        ("/api/stats?since=nan", "since"),
        ("/api/stats?since=inf", "since"),
        ("/api/stats?since=-1", "since"),
        ("/api/cache?since=-1", "since"),
        ("/api/requests?cache=warm", "cache"),
    ],
)
async def test_a_bad_parameter_is_400(admin: httpx.AsyncClient, path: str, param: str) -> None:
    """The envelope names the parameter."""
    answer = await admin.get(path)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(("method", "path", "expected"), [("GET", "/nowhere", 404), ("POST", "/api/stats", 405)])
async def test_wrong_paths_and_methods(admin: httpx.AsyncClient, method: str, path: str, expected: int) -> None:
    """They fail in the envelope, not in the framework's own form."""
    answer = await admin.request(method, path, headers={"content-type": "application/json"})
    assert answer.status_code == expected
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("ledger", [None, b"garbage" * 1000])
async def test_without_a_ledger_the_rest_works(
    app: FastAPI, admin: httpx.AsyncClient, tmp_path: Path, ledger: bytes | None
) -> None:
    """A missing or corrupt ledger costs its own routes a 503 with a plain message, and no other."""
    for part in (tmp_path / "state").glob("ledger.sqlite*"):
        part.unlink()
    if ledger is not None:
        (tmp_path / "state" / "ledger.sqlite").write_bytes(ledger)
    for path in ("/api/stats", "/api/requests", "/api/requests/req_1"):
        answer = await admin.get(path)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "ledger_unavailable"
    for path in ("/api/policy", "/api/upstreams", "/api/cache", "/metrics", "/", "/healthz"):
        assert (await admin.get(path)).status_code == 200


async def test_the_caches_of_the_last_day(admin: httpx.AsyncClient) -> None:
    """What each worker says of its cache, and calls and tokens saved by kind; without a ledger the first alone."""
    found = (await admin.get("/api/cache")).json()
    assert found["workers"] == [{"worker": 0, "entries": 3, "bytes": 999}]
    assert found["kinds"] == {"exact": {"calls": 1, "saved_tokens": 120}, "miss": {"calls": 3, "saved_tokens": 0}}
    assert "bypass" in (await admin.get("/api/cache", params={"since": 0})).json()["kinds"]


async def test_a_purge_is_a_dry_run_unless_told_otherwise(admin: httpx.AsyncClient, tmp_path: Path) -> None:
    """It says how much would go; with `dry_run: false` it goes."""
    state = tmp_path / "state"
    await keep(state, entry("a"), entry("b"), entry("c", tenant="other"))
    first = (await admin.post("/api/cache/purge", json={"tenant": "acme"})).json()
    assert (first["entries"], first["dry_run"], await kept(state)) == (2, True, 3)
    second = (await admin.post("/api/cache/purge", json={"tenant": "acme", "dry_run": False})).json()
    assert second == {**first, "dry_run": False}
    assert await kept(state) == 1


@pytest.mark.parametrize(
    ("order", "gone"),
    [
        ({"namespace": "tests"}, 1),
        ({"namespace": ""}, 3),
        ({"tag": "demo"}, 2),
        ({"older_than": 3600}, 1),
        ({"tag": "demo", "older_than": 3600}, 1),
        ({"all": True}, 4),
    ],
)
async def test_what_a_purge_selects(
    admin: httpx.AsyncClient, tmp_path: Path, order: dict[str, object], gone: int
) -> None:
    """Entries that have everything named; all of them only if that is said."""
    old, tagged = entry("a", age=7200.0, tags=("demo",)), entry("b", tags=("demo", "x"))
    await keep(tmp_path / "state", old, tagged, entry("c", namespace="tests"), entry("d", tenant="other"))
    answer = await admin.post("/api/cache/purge", json={**order, "dry_run": False})
    assert answer.json()["entries"] == gone
    assert await kept(tmp_path / "state") == 4 - gone


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"dry_run": false}',
        b'{"all": true, "tenant": "acme"}',
        b'{"all": "yes"}',
        b'{"tenant": ""}',
        b'{"tenants": "acme"}',
        b'{"older_than": 0}',
        b'{"older_than": "7d"}',
        b'{"older_than": 1e999}',
    ],
)
async def test_a_purge_that_cannot_be_meant_is_refused(admin: httpx.AsyncClient, tmp_path: Path, body: bytes) -> None:
    """Nothing selected, everything and something at once, or a field nobody knows: 400, and nothing goes."""
    await keep(tmp_path / "state", entry())
    answer = await admin.post("/api/cache/purge", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "invalid_request"
    assert await kept(tmp_path / "state") == 1


async def test_a_purge_of_a_deleted_store(admin: httpx.AsyncClient, tmp_path: Path) -> None:
    """Workers may hold in memory what a deleted file held: the purge begins a new one, by which they hear."""
    answer = await admin.post("/api/cache/purge", json={"all": True, "dry_run": False})
    assert (answer.status_code, answer.json()["entries"]) == (200, 0)
    assert (tmp_path / "state" / "cache.sqlite").exists()


async def test_a_purge_without_a_store_is_told(admin: httpx.AsyncClient, tmp_path: Path) -> None:
    """Nothing is there to be counted, or the file is another program's: 503 with the reason, and the file is left."""
    answer = await admin.post("/api/cache/purge", json={"all": True})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "cache_unavailable"
    with closing(sqlite3.connect(tmp_path / "state" / "cache.sqlite")) as db:
        db.execute("CREATE TABLE mine (x)")
    answer = await admin.post("/api/cache/purge", json={"all": True, "dry_run": False})
    assert answer.status_code == 503
    assert "another program" in answer.json()["error"]["message"]
