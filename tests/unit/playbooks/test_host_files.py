"""The files of a host, as all modules write them, and the module host_files."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from tests.loading import load

module = load("playbooks/library/host_files.py")
Files, HostError = module.Files, module.HostError
FILE = {
    "content": None,
    "hidden": None,
    "keep": False,
    "mode": None,
    "owner": "",
    "group": "",
    "validate": "",
    "secret": False,
}


def _write(*, check: bool = False, **given: Any) -> Any:
    files = Files(check)
    wanted = {"directories": [], "files": [], "links": [], "purge": [], "absent": []} | given
    wanted["files"] = [FILE | each for each in wanted["files"]]
    module.write(files, wanted)
    return files


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, Any]:
    """A directory with a file and a link, and something to go away."""
    (tmp_path / "old").mkdir()
    return {
        "directories": [{"path": str(tmp_path / "d/e"), "mode": "0750", "owner": "", "group": ""}],
        "files": [{"path": str(tmp_path / "d/e/f"), "content": "text", "mode": "0640"}],
        "links": [{"path": str(tmp_path / "link"), "target": "d"}],
        "absent": [str(tmp_path / "old")],
    }


def test_second_time_changes_nothing(tmp_path: Path, wanted: dict[str, Any]) -> None:
    first = _write(**wanted)
    assert len(first.changed) == 4
    assert (tmp_path / "link/e/f").read_text() == "text"
    assert stat.S_IMODE((tmp_path / "d/e/f").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "d/e").stat().st_mode) == 0o750
    assert not (tmp_path / "old").exists()
    assert _write(**wanted).changed == []
    (tmp_path / "d/e/f").chmod(0o644)
    assert _write(**wanted).changed == [str(tmp_path / "d/e/f")]
    assert stat.S_IMODE((tmp_path / "d/e/f").stat().st_mode) == 0o640


def test_check_mode_tells_the_same_and_touches_nothing(tmp_path: Path, wanted: dict[str, Any]) -> None:
    told = _write(check=True, **wanted)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert told.changed == _write(**wanted).changed


def test_content_that_is_refused_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("old")
    with pytest.raises(HostError, match="would not be valid, it was left as it is; grep says"):
        _write(files=[{"path": str(file), "content": "bad", "validate": "grep -q good %s"}])
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    _write(files=[{"path": str(file), "content": "good", "validate": "grep -q good %s"}])
    assert file.read_text() == "good"


@pytest.mark.parametrize("how", [{"content": "new", "secret": True}, {"hidden": "new"}])
def test_secrets_are_not_in_the_differences(tmp_path: Path, how: dict[str, Any]) -> None:
    (tmp_path / "f").write_text("old")
    files = _write(files=[{"path": str(tmp_path / "f"), **how}])
    assert (tmp_path / "f").read_text() == "new"
    assert "new" not in str(files.diff)
    assert "old" not in str(files.diff)


def test_file_to_be_kept_is_kept(tmp_path: Path) -> None:
    for content in ("first", "second"):
        _write(files=[{"path": str(tmp_path / "f"), "content": content, "keep": True}])
    assert (tmp_path / "f").read_text() == "first"


def test_files_that_are_no_longer_wanted_go(tmp_path: Path) -> None:
    for name in ("a.yml", "b.yml", "c.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "d.yml").mkdir()
    given = {
        "files": [{"path": str(tmp_path / "a.yml"), "content": "x"}],
        "purge": [str(tmp_path / "*.yml")],
    }
    assert _write(**given).changed == [str(tmp_path / "b.yml")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.yml", "c.txt", "d.yml"]


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    (tmp_path / "y").mkdir()
    for given in (
        {"directories": [{"path": str(tmp_path / "x"), "mode": None, "owner": "", "group": ""}]},
        {"files": [{"path": str(tmp_path / "y"), "content": ""}]},
        {"links": [{"path": str(tmp_path / "x"), "target": "y"}]},
    ):
        with pytest.raises(HostError, match="move it away"):
            _write(**given)


def test_unknown_owner_fails_but_not_in_check_mode(tmp_path: Path) -> None:
    given = {"files": [{"path": str(tmp_path / "f"), "content": "x", "owner": "nobody-of-that-name"}]}
    assert _write(check=True, **given).changed == [str(tmp_path / "f")]
    with pytest.raises(HostError, match="there is no user nobody-of-that-name"):
        _write(**given)
    assert list(tmp_path.iterdir()) == []
