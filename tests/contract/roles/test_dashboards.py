"""The dashboards are what Grafana reads, and are made from their description."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.loading import load

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "roles/grafana/files/dashboards").glob("*.json"))
PANELS = {"timeseries", "stat"}


def _dashboards() -> list[dict[str, Any]]:
    return [json.loads(path.read_text("utf-8")) for path in FILES]


def test_dashboards_are_made_from_their_description() -> None:
    module = load("docs/developer/dashboards.py")
    assert {path.stem for path in FILES} == set(module.DASHBOARDS)
    for path in FILES:
        assert path.read_text("utf-8") == module.text(path.stem), "python docs/developer/dashboards.py"


def test_dashboards_have_names_of_their_own() -> None:
    for key in ("uid", "title"):
        names = [dashboard[key] for dashboard in _dashboards()]
        assert len(set(names)) == len(names)
    assert all(len(dashboard["uid"]) <= 40 for dashboard in _dashboards())


@pytest.mark.parametrize("dashboard", _dashboards(), ids=lambda dashboard: dashboard["uid"])
def test_panels_have_their_own_place(dashboard: dict[str, Any]) -> None:
    seen: set[tuple[int, int]] = set()
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    for panel in dashboard["panels"]:
        assert panel["type"] in PANELS
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & seen, panel["title"]
        seen |= cells


@pytest.mark.parametrize("dashboard", _dashboards(), ids=lambda dashboard: dashboard["uid"])
def test_queries_use_the_provisioned_source_and_declared_variables(dashboard: dict[str, Any]) -> None:
    declared = {variable["name"] for variable in dashboard["templating"]["list"]} | {"__rate_interval"}
    for panel in dashboard["panels"]:
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "prometheus"}
            used = {word.split('"')[0].split("]")[0] for word in target["expr"].split("$")[1:]}
            assert used <= declared, target["expr"]
