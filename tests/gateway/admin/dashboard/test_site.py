"""Tests of gateway.admin.dashboard.site: every path behind the guard, the first page with its figures, nothing more."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gateway.admin.dashboard.pages.keys import NEW
from gateway.admin.dashboard.site import Site, install
from gateway.admin.guard import Guard
from tests.gateway.admin.dashboard.made_up import NOW, MadeUpCalls, MadeUpKeys, MadeUpPolicies, made_up, record

TOKEN = "token-of-the-test"


def client(site: Site, **headers: str) -> httpx.AsyncClient:
    """A client of an admin plane with nothing but the dashboard."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    install(app, site)
    return httpx.AsyncClient(transport=httpx.ASGITransport(Guard(app, TOKEN)), base_url="http://admin", headers=headers)


@pytest.fixture
async def inside() -> AsyncIterator[httpx.AsyncClient]:
    """One who bears the token."""
    async with client(Site(made_up(), clock=lambda: NOW), authorization=f"Bearer {TOKEN}") as found:
        yield found


async def test_no_path_without_the_token() -> None:
    """Every route of the dashboard, Dash's own included, answers 401 by every method."""
    site = Site(made_up())
    async with client(site) as outside:
        for route in site.routes:
            path = re.sub(r"{[^}]*}", "x", route.path)
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
                answer = await outside.request(method, path, json={})
                assert answer.status_code == 401, (method, path)


async def test_only_our_routes_are_reached(inside: httpx.AsyncClient) -> None:
    """What Dash serves besides, and its page for any path, is not there."""
    for path in ("/_reload-hash", "/_favicon.ico", "/_dash-ws-callback", "/assets/x", "/nowhere", "/_mcp", "/requests"):
        answer = await inside.get(path)
        assert (answer.status_code == 200) == (path == "/requests"), path


async def test_a_page_runs_no_inline_script(inside: httpx.AsyncClient) -> None:
    """Every script is a file of ours, and the policy allows no other."""
    answer = await inside.get("/")
    scripts = re.findall(r"<script([^>]*)>([^<]*)</script>", answer.text)
    assert all("src=" in attributes or 'type="application/json"' in attributes for attributes, _ in scripts)
    assert all(not body.strip() for attributes, body in scripts if "src=" in attributes)
    assert "script-src 'self';" in answer.headers["content-security-policy"]
    assert not re.search(r'(src|href)="(https?:)?//', answer.text)
    assert "plotly" not in answer.text.replace("dash-version.plotly.com", "").replace('"plotly_', "")


async def test_the_first_layout_has_the_figures(inside: httpx.AsyncClient) -> None:
    """One request brings the page that the address names, so that the first paint waits for no second."""
    answer = await inside.get("/_dash-layout", params={"at": "/requests", "search": "?order=dearest"})
    assert "req-80" in answer.text
    assert "the dearest first" in answer.text


async def test_bundles_are_small_and_kept(inside: httpx.AsyncClient) -> None:
    """What the page loads is compressed, and kept for good where its name tells its content; figures never are."""
    page = await inside.get("/")
    assert page.headers["cache-control"] == "no-store"
    found = re.findall(r'src="([^"]+)"', page.text)
    assert found
    for path in found:
        answer = await inside.get(path, headers={"accept-encoding": "gzip"})
        assert (answer.status_code, answer.headers["content-encoding"]) == (200, "gzip"), path
        assert "immutable" in answer.headers["cache-control"], path
        again = await inside.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
    plain = await inside.get(found[0], headers={"accept-encoding": "identity"})
    assert gzip.compress(plain.content)
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize(
    "path",
    [
        "dash/../../gateway/errors.py",
        "dash/version.py",
        "os/path.py",
        "dash_mantine_components/dash_mantine_components.js.map",
        "dash_mantine_components/metadata.json",
    ],
)
async def test_no_other_file_is_served(inside: httpx.AsyncClient, path: str) -> None:
    """Only files that the library registered for pages; no source, no map."""
    assert (await inside.get(f"/_dash-component-suites/{path}")).status_code == 404
    assert (await inside.get("/_assets/..%2Fsite.py")).status_code == 404


def body(output: str, outputs: Any, inputs: list[Any], changed: list[str], state: list[Any] | None = None) -> Any:
    """What the page posts for one callback."""
    return {"output": output, "outputs": outputs, "inputs": inputs, "changedPropIds": changed, "state": state or []}


def shown(path: Any, search: Any, changed: str, seen: Any = None, zone: Any = "UTC") -> Any:
    """What the page posts when its address changes, or on a renewal."""
    inputs = [
        {"id": "url", "property": "pathname", "value": path},
        {"id": "url", "property": "search", "value": search},
        {"id": "tick", "property": "data", "value": 1},
        {"id": "done", "property": "data", "value": None},
    ]
    state = [{"id": "zone", "property": "data", "value": zone}, {"id": "seen", "property": "data", "value": seen}]
    return None, inputs, [changed], state


async def called(inside: httpx.AsyncClient, callback: str, *rest: Any) -> httpx.Response:
    """Post one callback, whose whole name Dash makes up."""
    names = [entry["output"] for entry in (await inside.get("/_dash-dependencies")).json()]
    output = next(name for name in names if callback in name)
    outputs, inputs, changed, state = rest
    if ".." in output:
        ids = output.strip(".").split("...")
        outputs = [{"id": one.rpartition(".")[0], "property": one.rpartition(".")[2]} for one in ids]
    return await inside.post("/_dash-update-component", json=body(output, outputs, inputs, changed, state))


async def test_going_elsewhere_and_renewing(inside: httpx.AsyncClient) -> None:
    """Another address brings navigation, head and body; a renewal brings the body alone."""
    gone = await called(inside, "page.children", *shown("/upstreams", "", "url.pathname"))
    assert gone.status_code == 200
    assert {"pages", "head", "page", "said", "seen"} <= set(gone.json()["response"])
    renewed = await called(inside, "page.children", *shown("/upstreams", "", "tick.data"))
    assert "page" in renewed.json()["response"]
    assert "head" not in renewed.json()["response"]


async def test_a_renewal_that_changes_nothing_sends_nothing(inside: httpx.AsyncClient) -> None:
    """A page that is as the browser has it already, from the first layout on, stays on the screen as it is."""
    layout = (await inside.get("/_dash-layout", params={"at": "/upstreams", "zone": "UTC"})).text
    mark = json.loads(layout)["props"]["children"][-1]["props"]["data"]
    same = await called(inside, "page.children", *shown("/upstreams", "", "tick.data", mark))
    assert same.status_code == 204 or not same.json()["response"]
    again = await called(inside, "page.children", *shown("/upstreams", "", "url.search", mark))
    assert "page" in again.json()["response"]


async def test_a_callback_is_json_of_our_own(inside: httpx.AsyncClient) -> None:
    """A form or another site's page cannot call one."""
    path = "/_dash-update-component"
    assert (await inside.post(path, content="{}", headers={"content-type": "text/plain"})).status_code == 415
    assert (await inside.post(path, json={}, headers={"sec-fetch-site": "cross-site"})).status_code == 403


NONSENSE: list[Any] = [
    {}, [1], "x", None, 5, {"output": "x", "outputs": {}, "inputs": [], "changedPropIds": []}, {"output": 5},
]  # fmt: skip


@pytest.mark.parametrize("sent", [*map(json.dumps, NONSENSE), "{bad", "[" * 50_000, "\udcff"])
async def test_what_calls_nothing_is_refused(inside: httpx.AsyncClient, sent: str) -> None:
    """With 400 and in our envelope."""
    answer = await inside.post(
        "/_dash-update-component",
        content=sent.encode("utf-8", "surrogateescape"),
        headers={"content-type": "application/json"},
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "changed", [{"path": []}, {"search": {"a": 1}}, {"zone": [1]}, {"seen": {"a": 1}}, {"search": "x" * 20_000}]
)
async def test_values_of_another_type_are_refused(inside: httpx.AsyncClient, changed: dict[str, Any]) -> None:
    """Nothing of ours is a list or an object, or longer than an address."""
    given = {"path": "/", "search": "", "changed": "url.pathname", **changed}
    answer = await called(inside, "page.children", *shown(**given))
    assert answer.status_code == 400


async def test_values_of_a_simple_type_are_taken_as_nothing(inside: httpx.AsyncClient) -> None:
    """A number where a text should be does not make a page fail."""
    answer = await called(inside, "page.children", *shown(5, 7, "url.pathname", 3, 4))
    assert answer.status_code == 200


async def test_a_fault_in_a_callback_is_in_our_envelope(caplog: pytest.LogCaptureFixture) -> None:
    """Dash would answer in its own words and tell nobody; the log has what it was."""

    class Broken(MadeUpPolicies):
        def restore(self, version: str) -> None:
            raise RuntimeError("nobody thought of this")

    async with client(Site(made_up(policies=Broken())), authorization=f"Bearer {TOKEN}") as inside:
        button = {"do": "restore", "version": "a" * 12}
        name = f'{{"do":"restore","version":"{"a" * 12}"}}.submit_n_clicks'
        inputs = [[{"id": button, "property": "submit_n_clicks", "value": 1}]]
        answer = await called(inside, "done.data...told.children", None, inputs, [name], [])
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "nobody thought of this" in caplog.text


async def test_restoring_a_version() -> None:
    """A click on one version's button restores just that one; one that was only drawn does nothing."""
    policies = MadeUpPolicies()
    async with client(Site(made_up(policies=policies)), authorization=f"Bearer {TOKEN}") as inside:
        button = {"do": "restore", "version": "a" * 12}
        name = f'{{"do":"restore","version":"{"a" * 12}"}}.submit_n_clicks'
        for clicks, restored in ((None, []), (1, ["a" * 12])):
            inputs = [[{"id": button, "property": "submit_n_clicks", "value": clicks}]]
            answer = await called(inside, "done.data...told.children", None, inputs, [name], [])
            assert answer.status_code in {200, 204}
            assert policies.restored == restored


async def test_export() -> None:
    """A search as CSV, its later pages included; unknown is empty, and no cell is a formula."""
    calls = MadeUpCalls(records=[record(2, model="=cmd|' /C calc'!A0", cost_usd=None), record(1)])
    async with client(Site(made_up(calls)), authorization=f"Bearer {TOKEN}") as inside:
        answer = await inside.get("/export/requests.csv?tenant=acme")
    lines = answer.text.splitlines()
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert lines[0].startswith("id,at,tenant,team,key,tags")
    assert "'=cmd" in lines[1]
    assert ",,0.0041," in lines[1]
    assert len(lines) == 3
    assert calls.asked[0][0].tenant == "acme"


@pytest.mark.parametrize(("name", "status"), [("model", 200), ("series", 200), ("profile", 200), ("secrets", 404)])
async def test_exports_of_sums(inside: httpx.AsyncClient, name: str, status: int) -> None:
    """Sums, series and flows are files, too; nothing else is."""
    answer = await inside.get(f"/export/{name}.csv")
    assert answer.status_code == status
    assert len(answer.text.splitlines()) > 1 or status == 404


async def test_an_export_means_what_its_page_shows() -> None:
    """A time with an offset is that time; what cannot be read makes no file of other calls."""
    calls = MadeUpCalls()
    async with client(Site(made_up(calls)), authorization=f"Bearer {TOKEN}") as inside:
        asked = {"since": "2027-01-15T09:00+09:00", "until": "1799974800"}
        assert (await inside.get("/export/requests.csv", params=asked)).status_code == 200
        assert (calls.asked[0][0].since, calls.asked[0][0].until) == (1_799_971_200.0, 1_799_974_800.0)
        for wrong in ({"since": "soon"}, {"min_cost": "0,5"}, {"range": "bogus"}, {"since": "9", "until": "8"}):
            assert (await inside.get("/export/requests.csv", params=wrong)).status_code == 400


async def test_an_export_of_a_dead_ledger() -> None:
    """It fails with a status, not with half a file."""
    site = Site(made_up(MadeUpCalls(is_dead=True)))
    async with client(site, authorization=f"Bearer {TOKEN}") as inside:
        assert (await inside.get("/export/requests.csv")).status_code == 503


async def test_a_key_is_made() -> None:
    """A click makes it and shows its secret; without a click nothing is made."""
    keys = MadeUpKeys()
    state = [
        {"id": f"new-{name}", "property": "value", "value": value}
        for name, value in zip(NEW, ("job", "acme", None, "a, b-*", "x", None), strict=True)
    ]
    async with client(Site(made_up(keys=keys)), authorization=f"Bearer {TOKEN}") as inside:
        names = [entry for entry in (await inside.get("/_dash-dependencies")).json() if "make" in str(entry["inputs"])]
        inputs = [{"id": "make", "property": "n_clicks", "value": 1}]
        outputs = [{"id": i, "property": p} for i, p in _ids(names[0]["output"])]
        sent = body(names[0]["output"], outputs, inputs, ["make.n_clicks"], state)
        answer = await inside.post("/_dash-update-component", json=sent)
    assert "sk-sluice-made-up" in answer.text
    assert keys.kept[-1]["models"] == ["a", "b-*"]


def _ids(output: str) -> list[tuple[str, str]]:
    return [(one.rpartition(".")[0], one.rpartition(".")[2]) for one in output.strip(".").split("...")]


async def test_a_version_is_named() -> None:
    """A click gives the version in the field the name beside it."""
    policies = MadeUpPolicies()
    async with client(Site(made_up(policies=policies)), authorization=f"Bearer {TOKEN}") as inside:
        names = [one for one in (await inside.get("/_dash-dependencies")).json() if "name-it" in str(one["inputs"])]
        inputs = [{"id": "name-it", "property": "n_clicks", "value": 1}]
        state = [
            {"id": f"name-{name}", "property": "value", "value": value}
            for name, value in (("version", "a" * 12), ("name", " calm "))
        ]
        outputs = [{"id": i, "property": p} for i, p in _ids(names[0]["output"])]
        sent = body(names[0]["output"], outputs, inputs, ["name-it.n_clicks"], state)
        answer = await inside.post("/_dash-update-component", json=sent)
    assert "is named calm" in answer.text
    assert policies.named == [("a" * 12, "calm")]
