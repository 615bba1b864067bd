"""Parts of the launcher of worker nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# In its archive the launcher finds the pilot's modules beside its own.
sys.path.insert(0, str(Path(__file__).parents[3] / "pilot"))

from dirac_node.cgroups import CONTROLLERS, Groups
from dirac_node.server import read_credential
from dirac_node.settings import read_settings
from dirac_node.slots import MARK, kill_marked, remove_tree, slot_user
from dirac_pilot.errors import PilotError, UsageError

GOOD = {"url": "https://dirac.example.org/", "node": "wn 1.example"}


def settings(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    file = tmp_path / "node.json"
    file.write_text(json.dumps(GOOD | changes))
    found: dict[str, Any] = read_settings(str(file))
    return found


class TestSettings:
    def test_the_node_says_what_the_file_does_not(self, tmp_path: Path) -> None:
        found = settings(tmp_path)
        assert found["url"] == "https://dirac.example.org"
        assert found["node"] == "wn-1.example"
        assert found["slots"] == found["processors"] >= 1
        assert found["memory_mb"] > 0
        assert settings(tmp_path, slots=0, processors=7)["slots"] == 0

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"url": None}, "url"),
            ({"url": "http://dirac.example.org"}, "in the clear"),
            ({"slot": 1}, "there is no setting 'slot'"),
            ({"slots": -1}, "slots"),
            ({"work_dir": "here"}, "absolute path"),
            ({"slot_users": "nobody"}, "one place for the number"),
            ({"slot_users": "a%d%d"}, "one place for the number"),
            ({"isolation": "yes"}, "auto, require or off"),
            ({"wait_seconds": 31}, "30 at most"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path: Path, change: dict[str, Any], words: str) -> None:
        with pytest.raises(UsageError, match=words):
            settings(tmp_path, **change)

    def test_all_faults_are_said_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"isolation.*wait_seconds"):
            settings(tmp_path, isolation="x", wait_seconds=99)


class TestCredential:
    def test_it_has_to_be_private(self, tmp_path: Path) -> None:
        file = tmp_path / "credential"
        file.write_text("dirac-node.x.y\n")
        file.chmod(0o640)
        with pytest.raises(PilotError, match="others could read"):
            read_credential(str(file))
        file.chmod(0o600)
        assert read_credential(str(file)) == "dirac-node.x.y"
        file.write_text("two words")
        with pytest.raises(PilotError, match="does not hold a credential"):
            read_credential(str(file))
        with pytest.raises(PilotError, match="No such file"):
            read_credential(str(tmp_path / "none"))


class TestGroups:
    def test_version_2(self, tmp_path: Path) -> None:
        (tmp_path / "cgroup.controllers").touch()
        groups = Groups(str(tmp_path))
        assert groups.kind == "v2"
        files = groups.prepare("slot-01", 1000, 2, 50)
        slot = tmp_path / "dirac-node/slot-01"
        assert files == [str(slot / "cgroup.procs")]
        assert (slot / "memory.max").read_text() == str(1000 * 1024 * 1024)
        assert (slot / "cpu.max").read_text() == "200000 100000"
        assert (slot / "pids.max").read_text() == "50"
        assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory +cpu +pids"
        groups.prepare("slot-01", 0, 1, 0)
        assert (slot / "memory.max").read_text() == (slot / "pids.max").read_text() == "max"
        (slot / "memory.events").write_text("low 0\noom_kill 1\n")
        assert groups.killed_for_memory("slot-01")
        assert not groups.killed_for_memory("slot-02")

    def test_version_1(self, tmp_path: Path) -> None:
        for name in CONTROLLERS:
            (tmp_path / name).mkdir()
        groups = Groups(str(tmp_path))
        assert groups.kind == "v1"
        assert len(groups.prepare("slot-01", 1, 1, 5)) == 3
        (limit,) = tmp_path.glob("memory/**/memory.limit_in_bytes")
        assert limit.read_text() == "1048576"

    def test_without_any_the_reason_is_known(self, tmp_path: Path) -> None:
        groups = Groups(str(tmp_path))
        assert groups.kind is None
        assert groups.reason
        assert groups.prepare("slot-01", 1, 1, 1) == []
        groups.remove("slot-01")


class TestSlots:
    def test_a_tree_is_removed_whatever_its_modes_and_links(self, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "kept").touch()
        tree = tmp_path / "tree"
        (tree / "closed/inner").mkdir(parents=True)
        (tree / "closed/inner/file").touch()
        (tree / "link").symlink_to(outside)
        (tree / "closed/inner").chmod(0)
        (tree / "closed").chmod(0)
        remove_tree(str(tree))
        assert not tree.exists()
        assert (outside / "kept").exists()
        remove_tree(str(tree))

    def test_what_has_left_its_session_is_found_by_its_mark(self, tmp_path: Path) -> None:
        def sleeper(mark: str) -> subprocess.Popen[bytes]:
            started = subprocess.Popen(
                ["/bin/sleep", "60"], start_new_session=True, env=os.environ | {MARK: mark}
            )
            while not Path(f"/proc/{started.pid}/environ").read_bytes():
                pass  # it has begun before the kernel can tell with what
            return started

        mine, other = sleeper(str(tmp_path / "slot-01")), sleeper(str(tmp_path / "slot-011"))
        try:
            kill_marked(str(tmp_path / "slot-01"), None)
            assert mine.wait(5) == -9
            assert other.poll() is None
        finally:
            other.kill()
            other.wait()

    def test_users_of_slots_may_be_numbers_and_never_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        user = slot_user({"slot_users": "#700%02d", "allow_root": False}, 3)
        assert (user.pw_uid, user.pw_gid) == (70003, 70003)
        with pytest.raises(PilotError, match="not run as root"):
            slot_user({"slot_users": "#%d", "allow_root": False}, 0)
        with pytest.raises(PilotError, match="no user 'nobody-such-07'"):
            slot_user({"slot_users": "nobody-such-%02d", "allow_root": False}, 7)
