"""Who did what, who could and why not, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.acceptance.installation import Installation

NOWHERE = 'Executable = "/bin/true"; Tags = {"Nowhere"};'


def audit(installation: Installation, *words: str, user: str = "alice") -> list[dict[str, Any]]:
    """Look into the log."""
    found: list[dict[str, Any]] = json.loads(installation.run("auth", "audit", *words, "--json", user=user))
    return found


def test_what_an_administrator_did_is_in_the_log_of_the_vo(
    installation: Installation, tmp_path: Path
) -> None:
    (tmp_path / "job.jdl").write_text(NOWHERE)
    said = installation.run("job", "submit", "job.jdl", "--json", cwd=tmp_path)
    job = json.loads(said)[0]["JobID"]
    installation.run("job", "kill", str(job), "--yes")
    (row,) = audit(installation, "--verb", "*kill*", "--since", "1h", "--where", f"Objects~*job:{job}*")
    assert (row["UserName"], row["Outcome"], row["Properties"]) == ("alice", "Done", "JobAdministrator")
    table = installation.run("auth", "audit", "--verb", "*kill*")
    assert table.splitlines()[0].split() == [
        "TIME",
        "ACTOR",
        "VERB",
        "ON",
        "OUTCOME",
        "RIGHT",
        "USED",
        "REQUEST",
    ]
    assert f"job:{job}" in table
    assert audit(installation, "--verb", "*kill*", user="bob") == []


def test_a_refusal_is_explained(installation: Installation) -> None:
    installation.run("task", "list", code=4)
    (row,) = audit(installation, "--outcome", "refused", "--verb", "tasks_list_tasks")
    said = installation.run("auth", "why-denied", row["RequestID"])
    assert "GET /api/tasks (tasks_list_tasks)" in said
    assert "would do:      ServiceAdministrator" in said
    installation.run("auth", "why-denied", row["RequestID"], user="bob", code=3)


def test_who_can_names_the_people(installation: Installation) -> None:
    said = installation.run("auth", "who-can", "apply", "configuration")
    assert said.startswith("POST /api/config/apply (config_apply_config)\nis open to people with ServiceAdm")
    assert "Nobody whom you may know" in said
    assert "alice" in installation.run("auth", "who-can", "kill", "job")
