"""Another version of the launcher takes over, with pilots that run."""

from __future__ import annotations

import io
import signal
import sys
import zipfile
from collections.abc import Callable

from pilot.build import NODE_FILE, node_bytes, put_file
from tests.acceptance.installation import eventually
from tests.integration.nodes.farm import Farm, Node, all_done


def release(farm: Farm, content: bytes) -> None:
    """Put another launcher where the node finds it."""
    put_file(farm.directory / "cvmfs/dirac/pilot" / NODE_FILE, content)


def shepherds(farm: Farm) -> set[int]:
    return set(farm.pilot_pids())


def test_a_new_version_takes_over_while_jobs_run(
    farm: Farm, make_node: Callable[..., Node], launcher_python: str
) -> None:
    node = make_node(launcher_python)
    jobs = {user: farm.submit(user, f"{user}1", f"{user}2", seconds=6) for user in ("alice", "bob")}
    node.start()
    eventually(lambda: len(farm.runs()) == 2, "two jobs run")
    before = shepherds(farm)
    release(farm, node_bytes("9.9.9"))
    assert node.call("--status").returncode == 1, "what runs is not what is there"
    eventually(lambda: node.said("taken over"), "the new version runs", 20)
    assert before & shepherds(farm), "pilots go on"
    eventually(lambda: node.call("--status").returncode == 0, "it is up to date and connected")
    all_done(farm, jobs)
    assert set(farm.runs().values()) == {1}
    eventually(node.is_empty, "the slots of adopted pilots are cleared")
    assert {row["status"] for row in farm.pilots()} == {"Done"}
    assert not node.said("leftover removed")
    node.signal(signal.SIGTERM)
    assert node.wait() == 0


def test_fewer_slots_than_pilots_that_run_end_none_of_them(
    farm: Farm, make_node: Callable[..., Node]
) -> None:
    node = make_node(sys.executable)
    jobs = {user: farm.submit(user, f"{user}1", f"{user}2", seconds=5) for user in ("alice", "bob")}
    node.start()
    eventually(lambda: len(farm.runs()) == 2, "two jobs run")
    node.configure(slots=1, processors=1)
    eventually(lambda: node.said("taken over"), "the new settings are in force", 20)
    all_done(farm, jobs)
    assert set(farm.runs().values()) == {1}
    eventually(lambda: node.status()["slots"] == 1, "the slot is gone with its pilot")


def test_an_unusable_program_changes_nothing(farm: Farm, make_node: Callable[..., Node]) -> None:
    node = make_node(sys.executable)
    node.start()
    jobs = {"alice": farm.submit("alice", "first", seconds=5)}
    eventually(lambda: farm.runs(), "a job runs")
    good = node_bytes("9.9.9")
    release(farm, b"raise SystemExit('broken')\n")
    eventually(lambda: "not usable" in node.log(), "it says so", 20)
    release(farm, good)
    eventually(lambda: node.said("taken over"), "one that is usable follows", 20)
    all_done(farm, jobs)
    assert farm.runs() == {"first": 1}


def test_a_program_that_cannot_take_over_follows_when_no_pilot_is_left(
    farm: Farm, make_node: Callable[..., Node]
) -> None:
    node = make_node(sys.executable)
    jobs = {"alice": farm.submit("alice", "first", seconds=5)}
    node.start()
    eventually(lambda: farm.runs(), "a job runs")
    release(farm, without_handover())
    eventually(lambda: node.said("another version takes over"), "it follows", 60)
    said = next(line for line in node.lines() if line["message"] == "another version takes over")
    assert said["pilots"] == 0
    all_done(farm, jobs)
    assert farm.runs() == {"first": 1}


def without_handover() -> bytes:
    """Return a launcher as it was before it could take over."""
    content = node_bytes("0.0.1")
    source = zipfile.ZipFile(io.BytesIO(content))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b"--can-take-over", b"--other-option"))
    return buffer.getvalue()
