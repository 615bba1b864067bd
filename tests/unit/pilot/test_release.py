from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from pilot import build, release


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment with nothing but an agent, in a directory with an awkward name."""
    agent = tmp_path / "it's an env" / "bin" / "dirac-agent"
    agent.parent.mkdir(parents=True)
    agent.write_text("#!/bin/sh\n")
    agent.chmod(0o755)
    return agent.parent.parent


def run(*command: str | Path, cwd: Path, fine: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=fine, cwd=cwd)


def snapshot(root: Path) -> dict[str, object]:
    return {
        str(path.relative_to(root)): (path.lstat().st_ino, path.lstat().st_mtime_ns, path.lstat().st_mode)
        for path in root.rglob("*")
    }


def test_the_same_sources_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = build.pilot_bytes("1.0")
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    assert build.pilot_bytes("1.0") == first
    assert build.pilot_bytes("1.1") != first
    assert first.startswith(b"#!")


def test_build_writes_the_pilot_and_its_sum_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = [path.name for path in build.build(out, "1.0")]
    assert made == ["dirac-pilot.py", "dirac-node.py", "checksums.sha512"]
    assert build.build(out, "1.0") == []
    content = (out / "dirac-pilot.py").read_bytes()
    sums = (out / "checksums.sha512").read_text().splitlines()
    assert f"{hashlib.sha512(content).hexdigest()}  dirac-pilot.py" in sums
    assert len(sums) == 2
    with zipfile.ZipFile(out / "dirac-pilot.py") as archive:
        assert archive.testzip() is None
        assert b'VERSION = "1.0"' in archive.read("dirac_pilot/version.py")
        assert "__main__.py" in archive.namelist()


def test_a_release_as_on_cvmfs(tmp_path: Path, environment: Path) -> None:
    root = tmp_path / "cvmfs"
    release.make_release(root, "0.1.0", environment / "bin", settings={"url": "https://x.org"})
    home = root / "dirac" / "pro" / f"{os.uname().sysname}-{os.uname().machine}"
    assert (root / "dirac" / "pro").readlink() == Path("0.1.0")
    script = 'PATH=/usr/bin:/bin PYTHONPATH=/x; . "$1"; . "$1"; echo "$PATH:$DIRACOS:${PYTHONPATH-unset}"'
    printed = run("bash", "-c", script, "bash", home / "diracosrc", cwd=tmp_path).stdout
    assert printed == f"{environment}/bin:/usr/bin:/bin:{environment}:unset\n"
    run("sha256sum", "--check", "--strict", "sha256sums", cwd=home)
    folder = root / "dirac" / "pilot"
    run("sha512sum", "--check", "--strict", "checksums.sha512", cwd=folder)
    settings = json.loads((folder / "pilot.json").read_text())
    assert settings == {"cvmfs_locations": [str(root)], "url": "https://x.org"}


def test_a_second_run_changes_nothing(tmp_path: Path, environment: Path) -> None:
    root = tmp_path / "cvmfs"
    assert release.make_release(root, "0.1.0", environment / "bin")
    before = snapshot(root)
    assert release.make_release(root, "0.1.0", environment / "bin") == []
    assert snapshot(root) == before


def test_check_mode_tells_and_does_not_touch(tmp_path: Path, environment: Path) -> None:
    root = tmp_path / "cvmfs"
    told = release.make_release(root, "0.1.0", environment / "bin", check=True)
    assert not root.exists()
    assert release.make_release(root, "0.1.0", environment / "bin") == told


def test_the_next_release_switches_and_keeps_the_last(tmp_path: Path, environment: Path) -> None:
    root = tmp_path / "cvmfs"
    release.make_release(root, "0.1.0", environment / "bin")
    changed = release.make_release(root, "0.2.0", environment / "bin")
    assert str(root / "dirac" / "pro") in changed
    assert (root / "dirac" / "pro").readlink() == Path("0.2.0")
    assert (root / "dirac" / "0.1.0").is_dir()


@pytest.mark.parametrize("version", ["", "pro", "pilot", "../x", "a/b", ".hidden", "a b"])
def test_versions_that_cannot_be(tmp_path: Path, environment: Path, version: str) -> None:
    with pytest.raises(build.BuildError, match="cannot be a version"):
        release.make_release(tmp_path / "cvmfs", version, environment / "bin")
    assert not (tmp_path / "cvmfs").exists()


def test_what_stands_in_the_way_is_named_before_a_change(tmp_path: Path, environment: Path) -> None:
    with pytest.raises(build.BuildError, match="not an executable file"):
        release.make_release(tmp_path / "cvmfs", "1", tmp_path)
    assert not (tmp_path / "cvmfs").exists()
    (tmp_path / "cvmfs" / "dirac" / "pro").mkdir(parents=True)
    with pytest.raises(build.BuildError, match="not a symbolic link"):
        release.make_release(tmp_path / "cvmfs", "1", environment / "bin")


def test_as_programs(tmp_path: Path, environment: Path) -> None:
    source = Path(release.__file__).parent
    command = [sys.executable, source / "release.py", "--root", tmp_path / "r", "--version", "1"]
    command += ["--environment", environment]
    assert json.loads(run(*command, cwd=tmp_path).stdout)["changed"] is True
    assert json.loads(run(*command, cwd=tmp_path).stdout) == {"changed": False, "files": [], "version": "1"}
    wrong = run(*command, "--version", "pro", cwd=tmp_path, fine=False)
    assert wrong.returncode == 1
    assert "release.py: 'pro' cannot be a version" in wrong.stderr
    built = run(
        sys.executable, source / "build.py", "--output", tmp_path / "b", "--version", "1", cwd=tmp_path
    )
    assert json.loads(built.stdout)["changed"] is True
    same = [tmp_path / "b" / "dirac-pilot.py", tmp_path / "r" / "dirac" / "pilot" / "dirac-pilot.py"]
    assert same[0].read_bytes() == same[1].read_bytes()
