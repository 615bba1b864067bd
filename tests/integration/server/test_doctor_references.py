"""What the doctor says of references to secrets, and of repositories."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dirac.server.doctor import references
from dirac.server.doctor.model import Finding, Patient, examine
from dirac.server.settings import load
from tests.acceptance.served import serving


async def _findings(file: Path) -> dict[str, Finding]:
    patient = Patient(file, load(file))
    try:
        return {one.check: one for one in await examine(patient, references.checks(patient))}
    finally:
        await patient.close()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an installation with a database."""
    state = tmp_path_factory.mktemp("state")
    with serving(state, None):
        return state


async def test_references_are_followed(state: Path) -> None:
    file = state / "dirac.toml"
    file.write_text('[sandboxes.settings]\nsecret_access_key = {file = "s3.key"}\n')
    lost = (await _findings(file))["secrets.settings"]
    assert (lost.ok, "sandboxes.settings.secret_access_key" in lost.detail) == (False, True), lost
    (state / "s3.key").write_text("hunter2")
    (state / "s3.key").chmod(0o600)
    found = await _findings(file)
    assert all(one.ok for one in found.values()), found
    assert "hunter2" not in str(found)


async def test_secrets_in_the_settings_are_told_and_not_repeated(state: Path) -> None:
    file = state / "dirac.toml"
    file.write_text('[sandboxes.settings]\nsecret_access_key = "hunter2"\n')
    found = (await _findings(file))["secrets.settings"]
    assert (found.ok, found.cause is not None) == (True, True)
    assert "secret_access_key" in found.detail
    assert "hunter2" not in str(found)


async def test_repositories_are_asked(state: Path, tmp_path: Path) -> None:
    file, far = state / "dirac.toml", tmp_path / "far.git"
    file.write_text(f'[git.source]\nurl = "file://{far}"\n')
    away = (await _findings(file))["configuration.git"]
    assert (away.ok, "source: git ls-remote" in away.detail) == (False, True), away
    subprocess.run(["git", "init", "--quiet", "--bare", str(far)], check=True)  # noqa: ASYNC221
    there = (await _findings(file))["configuration.git"]
    assert (there.ok, "is at nothing" in there.detail) == (True, True), there
