"""Tests of gateway.admin.records: the ledger's routes, and what they refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from gateway.admin.records import routes
from gateway.errors import GatewayError
from gateway.ledger.reader import LedgerReader
from gateway.ledger.rows import row
from gateway.ledger.store import Store
from tests.gateway.ledger.traces import answered, hit, refused

RANGE = {"since": 1_799_999_000, "until": 1_800_001_000}


async def told(request: Request, error: Exception) -> Response:
    """Our errors with their status."""
    assert isinstance(error, GatewayError)
    return Response(error.envelope(), error.status)


def app_over(path: Path) -> FastAPI:
    """The routes alone."""
    app = FastAPI()
    app.include_router(routes(LedgerReader(path)))
    app.add_exception_handler(GatewayError, told)
    return app


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a ledger of three calls."""
    path = tmp_path / "ledger.sqlite"
    assert Store(path).write([row(trace) for trace in (answered("a"), hit("b", tenant="other"), refused("c"))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app_over(path)), base_url="http://admin") as client:
        yield client


async def test_the_overview_of_a_range_and_of_a_filter(admin: httpx.AsyncClient) -> None:
    """Sums over the range, and over the calls that fit; without a range, of the last day."""
    assert (await admin.get("/api/overview", params=RANGE)).json()["totals"]["calls"] == 3
    assert (await admin.get("/api/overview", params={**RANGE, "tenant": "other"})).json()["totals"]["hits"] == 1
    assert (await admin.get("/api/overview")).status_code == 200


async def test_search_in_pages(admin: httpx.AsyncClient) -> None:
    """As many as asked for, and where the next page begins; null after the last."""
    first = (await admin.get("/api/search", params={"limit": 2, "order": "slowest"})).json()
    assert [r["id"] for r in first["requests"]] == ["a", "c"]
    second = (await admin.get("/api/search", params={"limit": 2, "order": "slowest", "before": first["before"]})).json()
    assert ([r["id"] for r in second["requests"]], second["before"]) == (["b"], None)


async def test_the_profile_by_flow(admin: httpx.AsyncClient) -> None:
    """Each flow of the range."""
    found = (await admin.get("/api/profile", params={**RANGE, "by": "tenant"})).json()
    assert {flow["flow"]: flow["calls"] for flow in found["flows"]} == {"acme": 2, "other": 1}


async def test_an_export_is_a_file(admin: httpx.AsyncClient) -> None:
    """CSV or JSON lines, offered for saving."""
    answer = await admin.get("/api/export", params={"tenant": "other"})
    assert answer.headers["content-disposition"] == 'attachment; filename="sluice-calls.csv"'
    assert answer.headers["content-type"].startswith("text/csv")
    assert len(answer.text.splitlines()) == 2
    answer = await admin.get("/api/export", params={"format": "jsonl", "story": "true"})
    assert len(answer.text.splitlines()) == 3


@pytest.mark.parametrize(
    "query",
    ["since=nan", "since=-1", "until=inf", "since=1e300", "limit=0", "limit=501", "before=0", "order=odd", "by=odd",
     "format=xml", "cache=odd", "min_cost_usd=nan", "min_cost_usd=-1", "q=", "tag=", f"model={'x' * 201}"],
)  # fmt: skip
async def test_nonsense_is_refused(admin: httpx.AsyncClient, query: str) -> None:
    """Numbers out of bounds, words that mean nothing and names too long are no questions."""
    name = query.partition("=")[0]
    path = {"by": "profile", "format": "export", "limit": "search", "before": "search", "order": "search"}.get(
        name, "overview"
    )
    assert (await admin.get(f"/api/{path}?{query}")).status_code == 422


async def test_a_range_without_time_is_refused(admin: httpx.AsyncClient) -> None:
    """An end before the beginning, or a beginning in the future, is told as such."""
    for path in ("overview", "search", "profile", "export"):
        assert (await admin.get(f"/api/{path}", params={"since": 9, "until": 9})).status_code == 400
    assert (await admin.get("/api/overview", params={"since": 9e10})).status_code == 400


async def test_no_ledger_is_told_by_the_status(tmp_path: Path) -> None:
    """Of an export too: there is no file that only looks whole."""
    transport = httpx.ASGITransport(app_over(tmp_path / "ledger.sqlite"))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        for path in ("overview", "search", "profile", "export"):
            assert (await client.get(f"/api/{path}")).status_code == 503
