"""Worker nodes that start pilots themselves, with a real server, real pilots and real jobs."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.installation import eventually
from tests.integration.nodes.farm import CE, SITE, Farm, Node, all_done

NAMES = [f"j{number}" for number in range(5)]
FINAL = {"Done", "Failed", "Deleted", "Aborted"}


def submit_all(farm: Farm, seconds: float = 0.1) -> dict[str, list[int]]:
    return {
        "alice": farm.submit("alice", *(f"a{name}" for name in NAMES), seconds=seconds),
        "bob": farm.submit("bob", *(f"b{name}" for name in NAMES), seconds=seconds),
    }


def all_ended(farm: Farm) -> bool:
    return all(row["status"] in FINAL for row in farm.pilots())


def test_ten_jobs_of_two_vos_through_a_node_that_comes_and_goes(
    farm: Farm, make_node: Callable[..., Node], launcher_python: str
) -> None:
    node = make_node(launcher_python)
    assert farm.pilots() == [], "the server starts none by itself"
    jobs = submit_all(farm)
    node.start()
    all_done(farm, jobs)
    assert set(farm.runs().values()) == {1}
    eventually(lambda: all_ended(farm), "all pilots have ended")
    assert {row["vo"] for row in farm.pilots()} == {"astro", "bio"}
    assert {row["status"] for row in farm.pilots()} == {"Done"}
    assert all(row["pilot_reference"].startswith("node://wn1/") for row in farm.pilots())
    assert node.call("--status").returncode == 0
    began = time.monotonic()
    farm.submit("alice", "late")
    eventually(lambda: farm.runs().get("late"), "an idle node starts a pilot for a new job")
    assert time.monotonic() - began < 30
    node.signal(signal.SIGTERM)
    assert node.wait() == 0
    assert node.is_empty()
    assert node.call("--status").returncode == 1
    credential = farm.credential.read_text().strip()
    assert credential not in (node.directory / "log").read_text()


def test_a_killed_launcher_takes_its_pilots_along_and_its_successor_says_so(
    farm: Farm, make_node: Callable[..., Node], launcher_python: str
) -> None:
    node = make_node(launcher_python)
    jobs = submit_all(farm, seconds=1)
    node.start()
    eventually(lambda: farm.runs(), "a job runs")
    before = farm.pilot_pids()
    assert before
    node.signal(signal.SIGKILL)
    node.wait()
    eventually(lambda: not farm.pilot_pids(), "the pilots are gone with their launcher")
    node.start()
    all_done(farm, jobs)
    killed = [row for row in farm.pilots() if row["status_reason"].startswith("exit code 137")]
    assert killed
    assert node.said("leftover removed") == len(killed)
    assert not [row for row in farm.pilots() if row["status"] == "Aborted"]
    eventually(lambda: all_ended(farm), "all pilots have ended")
    # A run that was killed is repeated; none is for another reason.
    assert sum(farm.runs().values()) <= 10 + 2
    finished = farm.rows("SELECT job_id FROM workload_attempt WHERE outcome = 'Done'")
    assert len(finished) == 10
    assert len({row["job_id"] for row in finished}) == 10


def test_a_server_that_is_away_for_a_while_loses_and_doubles_nothing(
    farm: Farm, make_node: Callable[..., Node]
) -> None:
    node = make_node(sys.executable)
    jobs = submit_all(farm, seconds=0.5)
    node.start()
    eventually(lambda: farm.runs(), "a job runs")
    farm.kill_server()
    time.sleep(4)
    farm.server("up")
    all_done(farm, jobs)
    eventually(lambda: all_ended(farm), "all pilots have ended")
    assert set(farm.runs().values()) == {1}
    farm.kill_server()  # now the node is idle, and asks
    eventually(lambda: node.said("the server cannot be asked"), "the node says that it is alone")
    farm.server("up")
    farm.submit("bob", "afterwards")
    eventually(lambda: farm.runs().get("afterwards") == 1, "the node has come back by itself")


def test_a_pilot_that_dies_without_a_word_is_marked_at_once(
    farm: Farm, make_node: Callable[..., Node]
) -> None:
    node = make_node(sys.executable, slots=1, processors=1)
    farm.submit("alice", "long", seconds=300)
    node.start()
    eventually(lambda: farm.runs(), "the job runs")
    for pid in farm.pilot_pids():
        if b"--shepherd" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    row = eventually(lambda: [row for row in farm.pilots() if row["status"] == "Failed"], "it is marked", 10)
    assert row[0]["status_reason"] == "exit code 137"


def test_a_revoked_credential_stops_a_node_and_a_new_one_starts_it(
    farm: Farm, make_node: Callable[..., Node]
) -> None:
    words = ["node-token", "--site", SITE, "--ce", CE, "--out", str(farm.credential)]
    assert farm.server(*words)["changed"] is False, "a good one is kept"
    assert farm.credential.stat().st_mode & 0o777 == 0o600
    node = make_node(sys.executable)
    node.start()
    eventually(lambda: node.said("connected"), "the node is connected")
    farm.server("node-token", "--site", SITE, "--ce", CE, "--revoke")
    eventually(lambda: node.said("the server cannot be asked"), "the node is refused")
    assert "was revoked" in node.lines()[-1]["reason"]
    checks = {one["check"]: one for one in json.loads(node.call("--check", "--json").stdout)}
    assert "revoked" in checks["server"]["cause"]
    assert checks["server"]["mend"]
    assert farm.server(*words)["changed"] is True
    eventually(lambda: node.said("connected") == 2, "the node reads the new one by itself", 120)


def test_a_drained_node_starts_nothing_new(farm: Farm, make_node: Callable[..., Node]) -> None:
    node = make_node(sys.executable)
    node.start()
    eventually(lambda: node.said("connected"), "the node is connected")
    (node.directory / "state/drain").touch()
    time.sleep(6)  # a request that was held open meanwhile may still bring a pilot
    farm.submit("alice", "later")
    time.sleep(3)
    assert farm.pilots() == []
    (node.directory / "state/drain").unlink()
    eventually(lambda: farm.runs(), "the job runs")
