"""The role diracos puts environments in place: all or nothing, whatever interrupts it; uv is a stand-in."""

from __future__ import annotations

import functools
import hashlib
import http.server
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.loading import ROOT, load

# Does what uv does to files; `fail_at` tells at which call it fails.
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
CALLS = 3  # of uv, for an environment

module = load("roles/diracos/library/diracos.py")
bundling = load("diracos/bundle.py")


class Place:
    """Bundles of versions, a stand-in for the installer, and where environments go."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "environments"
        self.release = directory / "release"
        self.tree = directory / "source"
        (self.tree / "src/dirac").mkdir(parents=True)
        (self.tree / "requirements").mkdir()
        for name in ("pyproject.toml", "requirements/server.txt", "requirements/build.txt", "src/dirac/a.py"):
            (self.tree / name).write_text(name)
        shutil.copytree(ROOT / "pilot", self.tree / "pilot", ignore=shutil.ignore_patterns("__pycache__"))
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

    def bundle(self, name: str) -> Path:
        """Return a bundle."""
        wheels = self.directory / "wheels"
        wheels.mkdir(exist_ok=True)
        (wheels / "dirac_interware-1.2.3-py3-none-any.whl").write_text(name)
        target = self.directory / f"{name}.tar.gz"
        bundling.pack_wheels(self.tree, wheels, target, name=name)
        return target

    def put(self, name: str, *, check: bool = False, **options: Any) -> dict[str, Any]:
        """Do what the module does with a bundle of this name."""
        given: dict[str, Any] = {
            "root": str(self.root), "name": name, "bundle": None, "url": None, "sha256": None, "kind": "url",
            "linked": None, "release_root": str(self.release), "python": sys.executable, "uv": str(self.uv),
            "index": "", "keep": 1, "switch": True,
        }  # fmt: skip
        if name != "previous" and not {"linked", "url", "bundle"} & set(options):
            given["bundle"] = str(self.bundle(name))
        answer: dict[str, Any] = module.put(given | options, check=check)
        return answer

    def link(self, name: str) -> str | None:
        """Return where a link leads."""
        link = self.root / name
        return str(link.readlink()) if link.is_symlink() else None

    @property
    def current(self) -> str | None:
        """Return the name of the current environment."""
        return self.link("current")

    def names(self) -> set[str]:
        """Return what is in the directory of environments."""
        return {path.name for path in self.root.iterdir()} if self.root.exists() else set()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server; its address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_environment_is_made_once(place: Place) -> None:
    first = place.put("one")
    assert first["changed"]
    assert first["version"] == "1.2.3"
    assert place.current == "one"
    assert len(place.calls) == CALLS
    assert (place.release / "dirac/pro").readlink() == Path("one")
    assert place.put("one") == first | {"changed": False}
    assert len(place.calls) == CALLS


def test_without_a_bundle_it_says_that_the_environment_is_missing(place: Place) -> None:
    answer = place.put("one", bundle=None)
    assert (answer["missing"], answer["changed"]) == (True, True)
    assert place.names() == set()


def test_packages_of_a_complete_bundle_come_from_it_only(place: Place) -> None:
    place.put("one")
    assert "--no-index --find-links" in place.calls[1]
    assert "--require-hashes" not in place.calls[1]


def test_check_mode_changes_nothing(place: Place) -> None:
    assert place.put("one", check=True)["changed"]
    assert place.names() == set()
    assert not place.release.exists()
    place.put("one")
    assert not place.put("one", check=True)["changed"]
    assert place.put("two", check=True)["changed"]
    assert place.names() == {"one", "current"}
    place.put("two", switch=False)
    assert place.put("two", check=True)["changed"]
    assert place.current == "one"


@pytest.mark.parametrize("step", range(1, CALLS + 1))
def test_failed_install_leaves_the_current_one(place: Place, step: int) -> None:
    place.put("old")
    place.fail_at(step)
    with pytest.raises(module.FailedError, match="could not be made") as caught:
        place.put("new")
    assert "no such host" in caught.value.output
    assert place.names() == {"current", "old"}
    assert place.current == "old"
    place.fail_at(0)
    assert place.put("new")["name"] == place.current == "new"


@pytest.mark.parametrize("step", range(1, CALLS + 1))
def test_first_install_that_fails_leaves_nothing(place: Place, step: int) -> None:
    place.fail_at(step)
    with pytest.raises(module.FailedError):
        place.put("one")
    assert place.names() == set()


def test_killed_install_is_not_used_and_cleared_away(place: Place) -> None:
    # What a kill -9 in the midst of it leaves.
    (place.root / "one/bin").mkdir(parents=True)
    (place.root / "other/bin").mkdir(parents=True)
    (place.root / ".diracos-abc").mkdir()
    (place.root / ".current.fresh").symlink_to("somewhere")
    assert not module.is_complete(place.root / "one")
    assert place.put("one")["changed"]
    assert len(place.calls) == CALLS
    assert place.names() == {"one", "current"}


def test_environment_whose_python_is_gone_is_made_again(place: Place) -> None:
    target = Path(place.put("one")["path"])
    (target / "bin/python").unlink()
    (target / "bin/python").symlink_to("/nowhere/python3")
    assert place.put("one")["changed"]
    assert module.is_complete(target)


def test_services_and_pilots_may_read_it_whatever_the_umask(place: Place) -> None:
    target = Path(place.put("one")["path"])
    modes = {path: path.stat().st_mode & 0o777 for path in target.rglob("*") if not path.is_symlink()}
    assert {path for path, mode in modes.items() if mode & 0o444 != 0o444 or mode & 0o022} == set()
    assert modes[target / "bin/dirac"] == 0o755


def test_switch_never_leaves_a_gap(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.put("old")
    bundle = str(place.bundle("new"))
    seen: list[str | None] = []
    replace = Path.replace

    def look(self: Path, target: Path) -> Path:
        seen.append(place.current)
        result = replace(self, target)
        seen.append(place.current)
        return result

    monkeypatch.setattr(Path, "replace", look)
    place.put("new", bundle=bundle, release_root="")
    # First the note of what was before, then the switch.
    assert seen == ["old", "old", "old", "new"]


def test_version_is_prepared_without_a_switch(place: Place) -> None:
    place.put("one")
    assert place.put("two", switch=False)["changed"]
    assert (place.current, place.link("previous")) == ("one", None)
    assert not place.put("two", switch=False)["changed"]
    place.fail_at(1)
    assert place.put("two")["changed"]
    assert (place.current, place.link("previous"), place.calls) == ("two", "one", [])


def test_going_back_installs_nothing_and_can_be_taken_back(place: Place) -> None:
    place.put("one")
    place.put("two")
    place.fail_at(1)
    assert place.put("previous")["changed"]
    assert (place.current, place.link("previous")) == ("one", "two")
    assert (place.release / "dirac/pro").readlink() == Path("one")
    place.put("previous")
    assert (place.current, place.link("previous"), place.calls) == ("two", "one", [])


def test_there_has_to_be_a_way_back(place: Place) -> None:
    place.put("one")
    with pytest.raises(module.FailedError, match="no previous environment"):
        place.put("previous")
    place.put("two")
    (place.root / "one" / module.COMPLETE).unlink()
    with pytest.raises(module.FailedError, match="cannot be used any more"):
        place.put("previous")
    assert place.current == "two"


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_old_environments_are_kept_beside_the_way_back(place: Place, keep: int) -> None:
    names = [f"version{number}" for number in range(5)]
    for name in names:
        place.put(name, keep=keep)
    assert place.names() == {"current", "previous", *names[3 - keep :]}


def test_what_is_mounted_is_linked_and_never_removed(place: Place, tmp_path: Path) -> None:
    mounted = tmp_path / "cvmfs/v1"
    (mounted / "bin").mkdir(parents=True)
    (mounted / "bin/dirac").write_text("#!/bin/sh\necho dirac 7\n")
    (mounted / "bin/dirac").chmod(0o755)
    assert place.put("cvmfs", linked=str(mounted))["version"] == "dirac 7"
    assert (place.current, place.link("cvmfs")) == ("cvmfs", str(mounted))
    assert not place.put("cvmfs", linked=str(mounted))["changed"]
    for name in ("one", "two"):
        place.put(name, keep=0)
    assert (mounted / "bin/dirac").exists()
    place.put("cvmfs", linked=str(mounted))
    place.put("one")
    assert place.put("previous")["name"] == "cvmfs"
    assert place.current == "cvmfs"


def test_what_is_not_mounted_is_named(place: Place, tmp_path: Path) -> None:
    with pytest.raises(module.FailedError, match="is CVMFS mounted"):
        place.put("cvmfs", linked=str(tmp_path / "nothing"))
    assert place.names() == set()


def test_bundle_of_a_web_server_has_to_have_its_check_sum(place: Place, web: str) -> None:
    file = place.bundle("one")
    wanted = {"url": f"{web}/{file.name}", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    with pytest.raises(module.FailedError, match=r"has the check sum [0-9a-f]{64}, not 0+"):
        place.put("one", **wanted | {"sha256": "0" * 64})
    with pytest.raises(module.FailedError, match="cannot be fetched"):
        place.put("one", **wanted | {"url": f"{web}/nothing"})
    assert place.names() == set()
    assert place.calls == []
    assert place.put("one", **wanted)["changed"]
    assert place.current == "one"


def test_installer_is_told_where_to_install(place: Place, tmp_path: Path) -> None:
    installer = tmp_path / "dirac.sh"
    installer.write_text(
        'mkdir -p "$3/bin"; ln -s /bin/true "$3/bin/python"\n'
        'printf \'#!/bin/sh\\necho dirac 9\\n\' >"$3/bin/dirac"; chmod 755 "$3/bin/dirac"\n'
        'test "$1$2" = -b-p\n'
    )
    assert place.put("nine", kind="installer", bundle=str(installer))["version"] == "dirac 9"
    assert place.calls == []
    installer.write_text('mkdir -p "$3"; exit 1\n')
    with pytest.raises(module.FailedError, match="the installer failed"):
        place.put("ten", kind="installer", bundle=str(installer))
    assert place.names() == {"nine", "current"}


def test_bundle_that_would_write_elsewhere_is_refused(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "bad.tar.gz"
    bundling._write(file, {"bundle.json": b"{}", "../escaped": b""})
    with pytest.raises(module.FailedError, match=r"is no bundle: it has the file \.\./escaped"):
        place.put("bad", bundle=str(file))
    assert place.names() == set()


def test_missing_python_is_named_before_anything_changes(place: Place) -> None:
    with pytest.raises(module.FailedError, match=r"nowhere/python3 is not there or older than 3\.11"):
        place.put("one", python="/nowhere/python3")
    assert place.names() == set()


def test_missing_installer_is_named(place: Place) -> None:
    with pytest.raises(module.FailedError, match="No such file"):
        place.put("one", uv="/nowhere/uv")
    assert place.names() == set()
