"""The Grafana dashboard, and what runs beside the gateway to show it, held to the metrics there are."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest
import yaml

from gateway.families import COUNTERS, HISTOGRAMS
from tests.gateway.promql import faults
from tests.running import REPOSITORY

DOCKER = REPOSITORY / "docker"
DASHBOARD: dict[str, Any] = json.loads((DOCKER / "grafana" / "sluice.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
SHOWN = [panel for panel in PANELS if panel["type"] != "row"]
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
COLUMNS = 24


def expressions(panel: dict[str, Any]) -> list[str]:
    """What a panel asks Prometheus."""
    return [target["expr"] for target in panel["targets"]]


@pytest.mark.parametrize("panel", SHOWN, ids=lambda panel: panel["title"])
def test_a_panel_asks_for_what_there_is(panel: dict[str, Any]) -> None:
    """Its expressions name metrics and labels that exist, by the source the viewer chose, each under its own letter."""
    assert [fault for expression in expressions(panel) for fault in faults(expression)] == []
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    letters = [target["refId"] for target in panel["targets"]]
    assert len(set(letters)) == len(letters)


@pytest.mark.parametrize("panel", SHOWN, ids=lambda panel: panel["title"])
def test_a_legend_names_labels_that_its_expression_keeps(panel: dict[str, Any]) -> None:
    """Every label in a legend is one that the expression groups by, or one of a series that is not grouped."""
    for target in panel["targets"]:
        kept = set(re.findall(r"\w+", " ".join(re.findall(r"\bby \(([^)]*)\)", target["expr"])))) or {"worker"}
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, target


def test_panels_have_ids_and_titles_of_their_own() -> None:
    """Grafana tells panels apart by id; viewers by title."""
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)


def test_panels_lie_on_the_grid_and_not_on_each_other() -> None:
    """No panel reaches over the grid's edge or covers another."""
    places = [panel["gridPos"] for panel in PANELS]
    assert all(p["x"] >= 0 and p["w"] > 0 and p["h"] > 0 and p["x"] + p["w"] <= COLUMNS for p in places)
    for a, b in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or below, (a, b)


def test_variables_are_declared() -> None:
    """Every variable that an expression uses is one of the dashboard's or of Grafana's own."""
    declared = {each["name"] for each in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps(DASHBOARD["panels"])))
    assert {name for name in used if not name.startswith("__")} == declared


def test_annotations_ask_for_what_there_is() -> None:
    """Changes of the policy are marked by a metric that exists."""
    assert [faults(each["expr"]) for each in DASHBOARD["annotations"]["list"]] == [[]]


def test_the_dashboard_leaves_nothing_out() -> None:
    """Whatever is counted or timed has its place on it."""
    text = " ".join(expression for panel in SHOWN for expression in expressions(panel))
    assert not [family.name for family in (*COUNTERS, *HISTOGRAMS) if family.name not in text]


def test_it_is_provisioned() -> None:
    """Compose mounts the dashboard where Grafana's provider looks; its source is Prometheus by its service's name."""
    mounts = dict(volume.split(":")[:2] for volume in COMPOSE["grafana"]["volumes"])
    folder = DOCKER / "grafana" / "provisioning"
    provider = yaml.safe_load((folder / "dashboards" / "sluice.yaml").read_text())["providers"][0]
    assert mounts["./grafana/sluice.json"].startswith(provider["options"]["path"])
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    source = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"


def test_prometheus_shows_the_token() -> None:
    """It scrapes the admin plane with the token from the gateway's own state folder."""
    (job,) = yaml.safe_load((DOCKER / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["gateway:8081"]}]
    mounts = dict(volume.split(":")[:2] for volume in COMPOSE["prometheus"]["volumes"])
    assert job["authorization"]["credentials_file"] == mounts["state"] + "/admin.token"
    assert COMPOSE["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"] == mounts["state"] + "/admin.token"


def test_what_watches_is_asked_for_and_pinned() -> None:
    """Prometheus and Grafana start only with their profile, at one version, and are reached from this machine only."""
    for name in ("prometheus", "grafana"):
        assert COMPOSE[name]["profiles"] == ["observe"]
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", COMPOSE[name]["image"])
        assert all(port.startswith("127.0.0.1:") for port in COMPOSE[name].get("ports", []))


def test_they_read_the_token_as_its_owner() -> None:
    """The token is readable by the image's user alone, so whoever mounts it runs as that user."""
    (number,) = re.findall(r"useradd .*--uid (\d+)", (DOCKER / "Dockerfile").read_text()) or ["1000"]
    assert COMPOSE["prometheus"]["user"].split(":")[0] == COMPOSE["grafana"]["user"].split(":")[0] == number
