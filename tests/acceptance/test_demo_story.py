"""The story that bin/demo tells, twice on one installation."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

from tests.acceptance.installation import BIN, Installation


def tell(installation: Installation) -> dict[str, object]:
    words = ("demo", "run", "--root", str(installation.directory), "--port", str(installation.port), "--json")
    answer: dict[str, object] = json.loads(installation.run(*words))
    return answer


def test_the_story_can_be_told_again(installation: Installation) -> None:
    first, second = tell(installation), tell(installation)
    for facts in (first, second):
        assert abs(float(str(facts["pi"])) - math.pi) < 0.01
        assert len(list(Path(str(facts["outputs"])).glob("*/result.json"))) >= 20
    # What cannot run is left for the user to look at, once.
    waiting = json.loads(installation.run("job", "list", "--status", "waiting", "--group", "demo", "--json"))
    jobs = second["jobs"]
    assert isinstance(jobs, dict)
    assert [row["JobID"] for row in waiting] == [jobs["impossible"]]
    shown = installation.run("job", "explain", str(jobs["impossible"]))
    assert "Tags" in shown
    assert "CPUTime" in shown
    whose = subprocess.run(
        ["bash", "-c", f'source "{installation.directory}/env.sh"; "{BIN}/dirac" whoami --json'],
        capture_output=True,
        check=True,
    )
    assert json.loads(whose.stdout)["preferred_username"] == "alice"
    installation.server("stop")
    installation.run("demo", "stop", "--root", str(installation.directory))
    assert installation.pilot_pids() == []
