"""Policy versions over HTTP: what an operator gets, and what hostile requests do not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from gateway.admin.policies import HISTORY, routes
from gateway.errors import GatewayError
from policies.errors import PolicyError, Problem
from policies.history import History

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
FIRST, SECOND = "version: 1\n", "version: 1\nkeys: [{name: a, key: '${KEY}', tenant: t}]\n"


async def told(request: Request, error: Exception) -> Response:
    """What the admin plane does with errors, in short."""
    if isinstance(error, GatewayError):
        return Response(error.envelope(), error.status, media_type="application/json")
    return Response(status_code=400)


def served(folder: Path, **options: object) -> FastAPI:
    """An admin plane of these routes alone."""
    app = FastAPI()
    app.include_router(routes(folder / "state", folder / "policy.yaml", **options))  # type: ignore[arg-type]
    for kind in (GatewayError, RequestValidationError):
        app.add_exception_handler(kind, told)
    return app


def client(app: FastAPI) -> httpx.AsyncClient:
    """A client of this app."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://admin")


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The plane over two versions and a policy file that was edited since."""
    history = History(tmp_path / "state" / HISTORY)
    history.record(A, FIRST, 1000.0)
    history.record(B, SECOND, 2000.0)
    (tmp_path / "policy.yaml").write_text("version: 1\nkeys: [{name: a, key: sk-written-out, tenant: t}]\n")
    async with client(served(tmp_path)) as found:
        yield found


async def test_versions(admin: httpx.AsyncClient) -> None:
    """The newest is first and in force."""
    answer = await admin.get("/api/policy/versions")
    assert answer.json() == {
        "versions": [
            {"version": B, "at": 2000.0, "name": "", "bytes": len(SECOND), "in_force": True},
            {"version": A, "at": 1000.0, "name": "", "bytes": len(FIRST), "in_force": False},
        ]
    }


async def test_a_version(admin: httpx.AsyncClient) -> None:
    """One version comes with its text."""
    answer = await admin.get(f"/api/policy/versions/{B}")
    assert answer.json()["text"] == SECOND


async def test_nothing_is_kept(tmp_path: Path) -> None:
    """Before any policy came into force there is an empty list, not an error."""
    async with client(served(tmp_path)) as admin:
        assert (await admin.get("/api/policy/versions")).json() == {"versions": []}


async def test_a_difference(admin: httpx.AsyncClient) -> None:
    """Two versions are compared, or one with the file as it stands; a secret in the file is not shown."""
    answer = await admin.get("/api/policy/diff", params={"a": A, "b": B})
    assert answer.json()["diff"].startswith(f"--- {A}\n+++ {B}\n")
    answer = await admin.get("/api/policy/diff", params={"a": B})
    assert "+++ policy.yaml\n" in answer.json()["diff"]
    assert "***" in answer.text
    assert "written-out" not in answer.text


async def test_a_name(admin: httpx.AsyncClient) -> None:
    """A version is named, and found by its name."""
    answer = await admin.post("/api/policy/name", json={"version": A, "name": "the first"})
    assert (answer.status_code, answer.json()) == (200, {"version": A, "name": "the first"})
    assert (await admin.get("/api/policy/versions/the first")).json()["version"] == A
    answer = await admin.post("/api/policy/name", json={"version": B, "name": "the first"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "name")


async def test_put_back(admin: httpx.AsyncClient, tmp_path: Path) -> None:
    """The policy file is that version; what stood there is kept."""
    answer = await admin.post("/api/policy/restore", json={"version": A})
    assert answer.json() == {"version": A, "file": "policy.yaml", "replaced": "00000001.yaml"}
    assert (tmp_path / "policy.yaml").read_text() == FIRST


async def test_a_version_that_loads_no_more(admin: httpx.AsyncClient, tmp_path: Path) -> None:
    """A version that is refused in this environment is not written."""

    def check(text: str) -> None:
        raise PolicyError([Problem("policy.yaml", 2, "the environment variable KEY is not set")])

    async with client(served(tmp_path, check=check)) as strict:
        answer = await strict.post("/api/policy/restore", json={"version": B})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "policy_not_restored")
    assert "KEY is not set" in answer.text
    assert "sk-written-out" in (tmp_path / "policy.yaml").read_text()


async def test_a_file_that_is_not_ours(admin: httpx.AsyncClient, tmp_path: Path) -> None:
    """A ConfigMap is left alone, with a reason."""
    (tmp_path / "policy.yaml").rename(tmp_path / "real.yaml")
    (tmp_path / "..data").symlink_to(".")
    (tmp_path / "policy.yaml").symlink_to("..data/real.yaml")
    answer = await admin.post("/api/policy/restore", json={"version": A})
    assert (answer.status_code, "ConfigMap" in answer.text) == (409, True)


@pytest.mark.parametrize("version", ["nothing", "..", "%2e%2e%2fpasswd", "index", "lock", "a" * 200, "a" * 5000, "%00"])
async def test_versions_that_are_none(admin: httpx.AsyncClient, version: str) -> None:
    """No id leads out of the history; each gets a clear answer."""
    assert (await admin.get(f"/api/policy/versions/{version}")).status_code in (400, 404)
    assert (await admin.get(f"/api/policy/diff?a={version}")).status_code in (400, 404)
    assert (await admin.post("/api/policy/restore", json={"version": version})).status_code in (400, 404)


@pytest.mark.parametrize("path", ["/api/policy/name", "/api/policy/restore"])
@pytest.mark.parametrize(
    "body", ["", "{", "[]", "5", "{}", '{"version": 5, "name": "x"}', '{"version": "", "name": "x"}',
             '{"version": null}', '{"version": "aaaaaaaaaaaa", "name": "x", "more": 1}',
             '{"version": ["aaaaaaaaaaaa"], "name": "x"}']
)  # fmt: skip
async def test_orders_that_are_none(admin: httpx.AsyncClient, tmp_path: Path, path: str, body: str) -> None:
    """Strict JSON: what is missing, of another type or too much is refused and changes nothing."""
    answer = await admin.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "sk-written-out" in (tmp_path / "policy.yaml").read_text()
    assert (await admin.get("/api/policy/versions")).json()["versions"][1]["name"] == ""


async def test_a_history_that_cannot_be_had(tmp_path: Path) -> None:
    """A broken folder is a 503 that says so."""
    (tmp_path / "state" / HISTORY / "index.jsonl").mkdir(parents=True)
    async with client(served(tmp_path)) as admin:
        answer = await admin.get("/api/policy/versions")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "policy_history_unavailable")
