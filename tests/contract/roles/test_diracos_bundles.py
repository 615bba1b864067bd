"""What a version is called, and its bundle: the controller's half of the role diracos."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.loading import load

action = load("roles/diracos/action_plugins/diracos.py")
bundling = load("diracos/bundle.py")
OWN = "dirac_interware-1.2.3-py3-none-any.whl"
# Builds as uv does, and downloads as pip does; each notes what it was asked for.
PROGRAM = """\
#!{python}
import pathlib, sys
with pathlib.Path(__file__ + ".calls").open("a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
if "--out-dir" in sys.argv:
    (pathlib.Path(sys.argv[sys.argv.index("--out-dir") + 1]) / "{own}").write_text("own")
elif "--dest" in sys.argv:
    (pathlib.Path(sys.argv[sys.argv.index("--dest") + 1]) / "needed-2-py3-none-any.whl").write_text("needed")
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree."""
    place = tmp_path / "tree"
    for name in ("src/dirac/a.py", "pilot/release.py", "requirements/server.txt", "requirements/build.txt"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(name)
    (place / "pyproject.toml").write_text("[project]")
    return place


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A stand-in for uv and for Python."""
    file = tmp_path / "program"
    file.write_text(PROGRAM.format(python=sys.executable, own=OWN))
    file.chmod(0o755)
    return file


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A directory of wheels."""
    place = tmp_path / "wheels"
    place.mkdir()
    (place / OWN).write_text("own")
    return place


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where bundles are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/dirac/bundles"


def _given(kind: str, source: object, **more: Any) -> dict[str, Any]:
    return {"type": kind, "source": str(source), "ref": "main", "sha256": "", "uv": "uv", **more}


def test_digest_knows_what_counts(tree: Path, tmp_path: Path) -> None:
    before = bundling.digest(tree)
    (tree / "src/dirac/__pycache__").mkdir()
    (tree / "src/dirac/__pycache__/a.pyc").write_text("x")
    (tree / "src/dirac/_version.py").write_text("x")
    (tree / "README.md").write_text("x")
    assert bundling.digest(tree) == before
    assert bundling.digest(Path(shutil.copytree(tree, tmp_path / "elsewhere"))) == before
    (tree / "src/dirac/a.py").rename(tree / "src/dirac/b.py")
    assert bundling.digest(tree) != before


@pytest.mark.parametrize("lacking", ["pyproject.toml", "requirements/server.txt"])
def test_what_is_no_source_tree_is_named(tree: Path, lacking: str) -> None:
    (tree / lacking).unlink()
    with pytest.raises(bundling.BundleError, match=f"no source tree of DIRAC: {lacking} is not there"):
        bundling.digest(tree)


def test_same_input_gives_the_same_bytes(tree: Path, program: Path, tmp_path: Path) -> None:
    made = [tmp_path / name for name in ("a.tar.gz", "b.tar.gz")]
    for target in made:
        bundling.make(tree, target, name="x", uv=str(program), python=str(program))
    first, second = (target.read_bytes() for target in made)
    assert first == second
    with tarfile.open(made[0]) as tar:
        assert tar.getnames() == ["bundle.json", "requirements.txt", f"wheels/{OWN}", "pilot/release.py"]


@pytest.mark.parametrize("complete", [False, True])
def test_bundle_says_whether_it_has_all_packages(
    tree: Path, program: Path, tmp_path: Path, complete: bool
) -> None:
    target = tmp_path / "a.tar.gz"
    bundling.make(
        tree, target, name="x", uv=str(program), python=str(program), packages_for="3.11" * complete
    )
    with tarfile.open(target) as tar:
        facts = tar.extractfile("bundle.json")
        assert facts is not None
        assert json.load(facts) == {"name": "x", "version": "1.2.3", "complete": complete}
        assert ("wheels/needed-2-py3-none-any.whl" in tar.getnames()) == complete
    calls = Path(f"{program}.calls").read_text().splitlines()
    assert [("--require-hashes" in call) for call in calls] == [False, True][: 1 + complete]


def test_failed_build_leaves_no_bundle(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(bundling.BundleError, match="is the package index reachable"):
        bundling.make(tree, tmp_path / "a.tar.gz", name="x", uv="/bin/false", python="python3")
    assert list(tmp_path.glob("*a.tar.gz*")) == []


def test_tree_is_called_by_its_digest(tree: Path) -> None:
    version = action.resolve(_given("tree", tree))
    assert (version.name, dict(version.given)) == (bundling.digest(tree), {})
    assert version.bundle is not None


def test_commit_is_called_by_its_number(tree: Path) -> None:
    def git(*words: str) -> str:
        command = ["git", "-C", str(tree), "-c", "user.name=A", "-c", "user.email=a@b", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-q", "-m", "One")
    commit = git("rev-parse", "HEAD")
    assert action.resolve(_given("git", tree)).name == commit[:12]
    assert action.resolve(_given("git", "/nowhere", ref=commit)).name == commit[:12]
    with pytest.raises(subprocess.CalledProcessError):
        action.resolve(_given("git", tree, ref="nothing"))


def test_wheels_are_called_by_what_is_in_them(wheels: Path) -> None:
    before = action.resolve(_given("wheels", wheels)).name
    (wheels / "needed-2-py3-none-any.whl").write_text("needed")
    assert action.resolve(_given("wheels", wheels)).name != before
    (wheels / OWN).unlink()
    with pytest.raises(ValueError, match="has no wheel of dirac_interware"):
        action.resolve(_given("wheels", wheels))


def test_address_is_left_to_the_host(tmp_path: Path) -> None:
    for kind in ("url", "installer"):
        version = action.resolve(_given(kind, "https://x.org/a", sha256="ab" * 32))
        assert (version.name, version.bundle) == ("abababababab", None)
        assert dict(version.given) == {"url": "https://x.org/a", "sha256": "ab" * 32, "kind": kind}


def test_installer_of_the_controller_has_to_have_its_check_sum(tmp_path: Path) -> None:
    installer = tmp_path / "dirac.sh"
    installer.write_text("exit 0")
    total = hashlib.sha256(installer.read_bytes()).hexdigest()
    version = action.resolve(_given("installer", installer, sha256=total))
    assert (version.name, dict(version.given)) == (total[:12], {"kind": "installer"})
    assert action.bundle_file(version).read_text() == "exit 0"
    with pytest.raises(ValueError, match="another check sum"):
        action.resolve(_given("installer", installer, sha256="0" * 64))


def test_mounted_and_previous_versions_need_no_bundle() -> None:
    assert action.resolve(_given("cvmfs", "/cvmfs/x")) == action.Version("cvmfs", {"linked": "/cvmfs/x"})
    assert action.resolve({"type": "previous"}) == action.Version("previous", {})


def test_bundle_is_made_once_for_all_hosts(cache: Path) -> None:
    made: list[Path] = []

    def make(target: Path) -> None:
        made.append(target)
        target.write_text("bundle")

    version = action.Version("one", {}, make)
    assert action.bundle_file(version) == action.bundle_file(version) == cache / "one.tar.gz"
    assert len(made) == 1
    for number in range(8):
        action.bundle_file(action.Version(f"version{number}", {}, make))
    assert len(list(cache.glob("*.tar.gz"))) == action._KEPT
    assert (cache / "version7.tar.gz").exists()


def test_bundle_that_cannot_be_made_is_explained(tree: Path, cache: Path) -> None:
    version = action.resolve(_given("tree", tree, uv="/nowhere/uv"))
    with pytest.raises(RuntimeError, match="packing it failed: /nowhere/uv cannot be run"):
        action.bundle_file(version)
    assert list(cache.glob("*.tar.gz")) == []
