"""The module dirac_environment: all or nothing, whatever interrupts it; the installer is a stand-in."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
# Does what uv does to files; `plan` tells at which step it fails.
UV = """\
#!{python}
import os, pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "calls").open("a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
steps = len((here / "calls").read_text().splitlines())
if steps == int((here / "fail_at").read_text()):
    sys.exit("error: no such host")
if sys.argv[1] == "venv":
    programs = pathlib.Path(sys.argv[-1]) / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
else:
    programs = pathlib.Path(sys.argv[sys.argv.index("--python") + 1]).parent
    for name in ("dirac", "dirac-agent"):
        (programs / name).write_text("#!/bin/sh\\necho dirac 1.2.3\\n")
        (programs / name).chmod(0o755)
"""


def _load() -> Any:
    path = ROOT / "roles/dirac_environment/library/dirac_environment.py"
    spec = importlib.util.spec_from_file_location("dirac_environment", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


module = _load()


class Place:
    """A source tree, a stand-in for the installer, and where environments go."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "environments"
        self.source = directory / "source"
        self.release = directory / "cvmfs"
        (self.source / "src/dirac").mkdir(parents=True)
        (self.source / "requirements").mkdir()
        for name in ("pyproject.toml", "requirements/server.txt", "requirements/build.txt", "src/dirac/a.py"):
            (self.source / name).write_text(name)
        shutil.copytree(ROOT / "pilot", self.source / "pilot", ignore=shutil.ignore_patterns("__pycache__"))
        self.tools = directory / "tools"
        self.tools.mkdir()
        self.uv = self.tools / "uv"
        self.uv.write_text(UV.format(python=sys.executable))
        self.uv.chmod(0o755)
        self.fail_at(0)

    def fail_at(self, step: int) -> None:
        """Let the installer fail at its n-th call from now, 0 for never."""
        (self.tools / "fail_at").write_text(str(step))
        (self.tools / "calls").write_text("")

    @property
    def calls(self) -> list[str]:
        """What the installer was asked for."""
        return (self.tools / "calls").read_text().splitlines()

    def put(self, **options: Any) -> dict[str, Any]:
        """Do what the module does."""
        given = {"python": sys.executable, "uv": str(self.uv), "keep": 1, "check": False} | options
        answer: dict[str, Any] = module.put(self.root, self.source, self.release, **given)
        return answer

    def edit(self, text: str) -> None:
        """Change the source."""
        (self.source / "src/dirac/a.py").write_text(text)

    def current(self) -> str | None:
        """Return the name of the current environment."""
        link = self.root / "current"
        return str(link.readlink()) if link.is_symlink() else None

    def names(self) -> set[str]:
        """Return what is in the directory of environments."""
        return {path.name for path in self.root.iterdir()} if self.root.exists() else set()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_digest_knows_what_counts(place: Place) -> None:
    before = module.digest(place.source)
    (place.source / "src/dirac/__pycache__").mkdir()
    (place.source / "src/dirac/__pycache__/a.pyc").write_text("x")
    (place.source / "src/dirac/_version.py").write_text("x")
    (place.source / "README.md").write_text("x")
    assert module.digest(place.source) == before
    (place.source / "src/dirac/a.py").rename(place.source / "src/dirac/b.py")
    assert module.digest(place.source) != before


def test_digest_is_the_same_elsewhere(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.source, tmp_path / "elsewhere")
    assert module.digest(tmp_path / "elsewhere") == module.digest(place.source)


def test_environment_is_made_once(place: Place) -> None:
    first = place.put()
    assert first["changed"]
    assert first["version"] == "dirac 1.2.3"
    assert place.current() == first["name"]
    assert len(place.calls) == 3
    assert (place.release / "dirac/pro").readlink() == Path(first["name"])
    assert place.put() == first | {"changed": False}
    assert len(place.calls) == 3


def test_check_mode_changes_nothing(place: Place) -> None:
    assert place.put(check=True)["changed"]
    assert place.names() == set()
    assert not place.release.exists()
    place.put()
    assert not place.put(check=True)["changed"]
    place.edit("new")
    assert place.put(check=True)["changed"]
    assert len(place.names()) == 2


@pytest.mark.parametrize("step", [1, 2, 3])
def test_failed_install_leaves_the_current_one(place: Place, step: int) -> None:
    old = place.put()["name"]
    place.edit("new")
    place.fail_at(step)
    with pytest.raises(module.FailedError, match="could not be made") as caught:
        place.put()
    assert "no such host" in caught.value.output
    assert place.names() == {"current", old}
    assert place.current() == old
    place.fail_at(0)
    assert place.put()["name"] == place.current() != old


@pytest.mark.parametrize("step", [1, 2, 3])
def test_first_install_that_fails_leaves_nothing(place: Place, step: int) -> None:
    place.fail_at(step)
    with pytest.raises(module.FailedError):
        place.put()
    assert place.names() == set()


def test_killed_install_is_not_used(place: Place) -> None:
    name = module.digest(place.source)
    (place.root / name / "bin").mkdir(parents=True)  # what a kill -9 in the midst of it leaves
    assert not module.is_complete(place.root / name)
    assert place.put()["changed"]
    assert len(place.calls) == 3


def test_environment_whose_python_is_gone_is_made_again(place: Place) -> None:
    target = Path(place.put()["path"])
    (target / "bin/python").unlink()
    (target / "bin/python").symlink_to("/nowhere/python3")
    assert place.put()["changed"]
    assert module.is_complete(target)


def test_switch_never_leaves_a_gap(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    old = place.put()["name"]
    place.edit("new")
    seen: list[str | None] = []
    rename = Path.rename

    def look(self: Path, target: Path) -> Path:
        seen.append(place.current())
        result = rename(self, target)
        seen.append(place.current())
        return result

    monkeypatch.setattr(Path, "rename", look)
    new = place.put()["name"]
    assert seen == [old, new]


def test_switch_survives_what_a_kill_has_left(place: Place) -> None:
    place.root.mkdir()
    (place.root / ".current").symlink_to("somewhere")
    assert place.current() is None
    assert place.put()["name"] == place.current()


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_old_environments_are_kept_for_a_rollback(place: Place, keep: int) -> None:
    names = []
    for number in range(4):
        place.edit(f"version {number}")
        names.append(place.put(keep=keep)["name"])
    assert place.names() == {"current", *names[3 - keep :]}


def test_going_back_installs_nothing(place: Place) -> None:
    first = place.put()["name"]
    place.edit("new")
    place.put()
    place.fail_at(1)
    place.edit("src/dirac/a.py")
    assert place.put() | {"version": ""} == {
        "changed": True,
        "name": first,
        "path": str(place.root / first),
        "version": "",
    }
    assert place.calls == []


def test_missing_python_is_named_before_anything_changes(place: Place) -> None:
    with pytest.raises(module.FailedError, match=r"nowhere/python3 is not there or older than 3\.11"):
        place.put(python="/nowhere/python3")
    assert place.names() == set()


def test_missing_installer_is_named(place: Place) -> None:
    with pytest.raises(module.FailedError, match="No such file"):
        place.put(uv="/nowhere/uv")
    assert place.names() == set()
