"""The end of the demo: its pilots."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dirac.cli.demo.stop import stop_pilots
from dirac.core.errors import DiracError
from dirac.resources.computing import supervisor
from tests.integration.cli.conftest import Outcome

STUBBORN = "trap '' TERM; echo ready; while :; do sleep 1; done"


def start_pilot(directory: Path, script: str, grace: float) -> Path:
    """Start a pilot as the local computing element does, and wait until its program runs."""
    directory.mkdir(parents=True)
    (directory / supervisor.WORK).mkdir()
    spec = {"command": ["/bin/sh", "-c", script], "environment": {"PATH": "/usr/bin:/bin"}, "grace": grace}
    (directory / supervisor.SPEC).write_text(json.dumps(spec))
    subprocess.run([sys.executable, "-I", "-S", supervisor.__file__, str(directory)], check=True)
    return directory


def test_running_pilots_end(tmp_path: Path, command: Callable[..., Outcome]) -> None:
    pilots = [start_pilot(tmp_path / "demo/pilots/here" / name, "exec sleep 600", 5) for name in ("a1", "b2")]
    over = start_pilot(tmp_path / "demo/pilots/here/c3", "exit 0", 5)
    found = command("demo", "stop", "--root", "demo", "--json")
    assert found.json["stopped"] in (2, 3)
    for pilot in pilots:
        assert json.loads((pilot / supervisor.EXIT).read_text())["stopped"] is True
    assert (over / supervisor.EXIT).exists()
    assert command("demo", "stop", "--root", "demo").out == ""


def test_a_pilot_that_does_not_end_is_named(tmp_path: Path) -> None:
    pilot = start_pilot(tmp_path / "here/a1", STUBBORN, 1)
    number = json.loads((pilot / supervisor.STARTED).read_text())["supervisor"].split(":")[1]
    with pytest.raises(DiracError) as caught:
        stop_pilots(tmp_path, patience=0)
    assert number in (caught.value.hint or "")
    # Its time of grace over, it is killed.
    stop_pilots(tmp_path, patience=30)
    assert (pilot / supervisor.EXIT).exists()


def test_broken_records_and_strangers_are_left_alone(tmp_path: Path) -> None:
    for name, record in {
        "a": "",
        "b": "[]",
        "c": '{"cancelled": true}',
        "d": '{"supervisor": "x:1:2"}',
    }.items():
        place = tmp_path / "here" / name
        place.mkdir(parents=True)
        (place / "started.json").write_text(record)
    assert stop_pilots(tmp_path, patience=0) == 0
    assert stop_pilots(tmp_path / "gone", patience=0) == 0
