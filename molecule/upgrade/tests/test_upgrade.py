"""What has to come of the story of a site's upgrades."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

FACTS: dict[str, Any] = json.loads(
    (Path(os.environ["DIRAC_MOLECULE_NOTES"]) / "story/facts.json").read_text()
)


@pytest.mark.parametrize("name", ["forth", "next", "back"])
def test_no_request_is_refused(name: str) -> None:
    load = FACTS[f"load {name}"]
    assert load["requests"] > 20 * 30, "there was a load"
    assert load["failures"] == []


@pytest.mark.parametrize("name", ["forth", "next", "back"])
def test_every_job_that_was_submitted_meanwhile_ran_once(name: str) -> None:
    runs = FACTS[f"load {name}"]["runs"]
    assert runs["jobs"] > 0
    assert runs["not_once"] == {}
    assert runs["states"] == {"Done": runs["jobs"]}


def test_jobs_that_ran_through_the_upgrade_ended_well_once() -> None:
    assert FACTS["through"]["not_once"] == {}
    assert FACTS["through"]["jobs"] == 4


@pytest.mark.parametrize("when", ["found", "found after the rollback"])
def test_what_was_there_is_found(when: str) -> None:
    found = FACTS[when]
    for vo, jobs in FACTS["data"].items():
        assert found["states"][vo] == {"done": ["Done"] * 2, "through": ["Done"] * 2}
        assert {found["outputs"][str(job)] for job in jobs["done"]} == {f"output of {vo}"}
    assert int(found["configuration"]) >= int(FACTS["configuration"]) > 0


@pytest.mark.parametrize("verb", ["check", "upgrade again"])
def test_check_mode_and_a_second_upgrade_change_nothing(verb: str) -> None:
    assert FACTS[verb]["same"]


def test_a_rollback_brings_the_version_before() -> None:
    versions = FACTS["versions"]
    assert versions["back"] == versions["old"] != versions["next"]


def test_after_contract_a_rollback_is_refused_before_anything_is_changed() -> None:
    refusal = FACTS["refusal"]
    said = " ".join(refusal["said"].split())  # Ansible folds what is long
    assert "Nothing was changed" in said
    assert "no longer supports" in said
    assert refusal["same"]
