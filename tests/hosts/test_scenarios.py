"""Each scenario takes bare hosts through its role or site and back; DIRAC_TEST_SCENARIOS names others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .podman import HostsError
from .scenarios import SELECTION, Runs, names, plan

PLAN = plan(os.environ.get("DIRAC_TEST_SCENARIOS", "selection"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """The scenarios, under way."""
    made = Runs(PLAN.chosen, Path(tmp_path_factory.mktemp("scenarios")))
    yield made
    made.close()


@pytest.mark.parametrize("scenario", PLAN.chosen)
def test_scenario_goes_from_bare_hosts_through_its_role_and_back(runs: Runs, scenario: str) -> None:
    said = runs.result(scenario)
    for step in ("create", "converge", "verify", "destroy"):
        assert f"{step}: Executed: Successful" in said, step


def test_every_scenario_is_run_or_left_out_for_a_reason() -> None:
    everything = plan("all")
    assert sorted([*everything.chosen, *everything.left_out]) == names()
    assert set(SELECTION) <= set(names())
    assert all(everything.left_out.values())
    with pytest.raises(HostsError, match="there is no scenario nothing-default"):
        plan("nothing-default")
