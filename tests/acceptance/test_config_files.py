"""The configuration as a directory: two administrators, a plan, an import; through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dirac.core.secrets import SecretReference
from dirac.server.git_settings import GitPlace, GitSettings
from tests.acceptance.served import TREE, serving
from tests.acceptance.tokens import mint_all
from tests.services.packages import obtain
from tests.services.sshd import PACKAGES, Sshd

Run = Callable[..., subprocess.CompletedProcess[str]]

CFG = """\
Registry
{
  DefaultGroup = chem_user
  Users
  {
    carol
    {
      DN = /DC=org/CN=carol
      Email = carol@example.org
    }
  }
  Groups
  {
    chem_user
    {
      VO = chem
      Users = carol
      Properties = NormalUser
    }
  }
}
Resources
{
  Sites
  {
    LCG
    {
      LCG.Lab.fr
      {
        VO = chem
        CEs
        {
          ce.lab.fr
          {
            CEType = HTCondorCE
          }
        }
      }
    }
  }
}
"""


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty repository, which the installation reaches by ssh, and those who work on it by its path."""
    far = tmp_path_factory.mktemp("far") / "far.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "-b", "main", far], check=True)
    return far


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, far: Path) -> Iterator[Run]:
    """Run `dirac` as the operator of an installation, in a directory."""
    with ExitStack() as stack:
        hub = stack.enter_context(Sshd(obtain(PACKAGES)))
        key = SecretReference(file=str(hub.key))
        place = GitPlace(url=hub.url(far), directory="conf", ssh_key=key, known_hosts=str(hub.known_hosts))
        git = GitSettings(source=place, mirror=place)
        settings = stack.enter_context(serving(tmp_path_factory.mktemp("state"), None, git=git))
        home = tmp_path_factory.mktemp("home")
        token = home / "token"
        token.write_text(mint_all(settings)["operator"])
        environment = {
            **os.environ,
            "HOME": str(home),
            "DIRAC_URL": settings.http.url,
            "DIRAC_TOKEN_FILE": str(token),
        }

        def command(*words: str, where: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
            done = subprocess.run(
                [sys.executable, "-m", "dirac.cli.main", "config", *words],
                cwd=where,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
            return done

        yield command


def test_two_administrators_edit_a_directory(run: Run, tmp_path: Path) -> None:
    ada, bob = tmp_path / "ada", tmp_path / "bob"
    for who in (ada, bob):
        assert "has version 1; 1 file changed." in run("pull", who.name, where=tmp_path).stdout
    assert (ada / "configuration.yml").read_text() == TREE
    (ada / "rules.yml").write_text("workload:\n  max_priority: 20 # urgent\n")
    (bob / "pilot.yml").write_text("pilot: {max_jobs: 5}\n")
    planned = run("plan", "ada", where=tmp_path).stdout
    assert planned.splitlines() == [
        "- workload/max_priority: 10",
        "+ workload/max_priority: 20",
        "1 change; nothing was applied.",
    ]
    assert "This is version 2 now." in run("apply", "ada", "--yes", "-m", "urgent", where=tmp_path).stdout
    merged = run("apply", "bob", "--yes", where=tmp_path).stdout
    assert "What others changed in version 2 is kept." in merged
    assert (bob / "rules.yml").read_text() == (ada / "rules.yml").read_text()
    (ada / "rules.yml").write_text("workload:\n  max_priority: 30\n")
    (bob / "rules.yml").write_text("workload:\n  max_priority: 40\n")
    run("apply", "bob", "--yes", where=tmp_path)
    refused = run("apply", "ada", "--yes", where=tmp_path, code=1).stderr
    assert "rules.yml:2:17: workload/max_priority: here 30, in version 4 40" in refused
    overwritten = run("pull", "ada", where=tmp_path, code=1).stderr
    assert "changed here, and not applied: rules.yml" in overwritten
    explained = run("explain", "workload/max_priority", where=tmp_path).stdout
    assert "comes from rules.yml:2:17" in explained
    assert "overrides  default: 10" in explained
    blamed = json.loads(run("blame", "workload/max_priority", "--json", where=tmp_path).stdout)
    assert [(each["version"], each["value"], each["comment"]) for each in blamed] == [
        (4, 40, ""),
        (2, 20, "urgent"),
    ]
    (bob / "configuration.yml").unlink()
    gone = run("plan", "bob", where=tmp_path).stdout
    assert "! the VO bio is removed, with its 1 user" in gone
    run("rollback", "1", "--yes", where=tmp_path)
    assert run("show", where=tmp_path).stdout.rstrip() == TREE.rstrip()


def test_a_configuration_of_dirac_comes_in_and_goes_out(run: Run, tmp_path: Path) -> None:
    (tmp_path / "dirac.cfg").write_text(CFG)
    made = run("import", "dirac.cfg", "--to", "conf", where=tmp_path).stdout
    assert "there is no plugin for the type HTCondorCE here; it is kept only" in made
    assert "3 files written to conf; 2 remarks." in made
    run("import", "dirac.cfg", "--to", "conf", where=tmp_path, code=1)
    applied = run("apply", "conf", "--yes", where=tmp_path).stdout
    assert "warning: kept for extensions, and read by nobody here: extensions/dirac" in applied
    exported = run("export", "--format", "cfg", where=tmp_path).stdout
    for line in CFG.splitlines():
        assert line.strip() in exported
    assert "Registry:" in run("export", "--format", "diracx", where=tmp_path).stdout


def test_one_file_is_applied_and_those_of_others_stay(run: Run, tmp_path: Path) -> None:
    run("rollback", "1", "--yes", where=tmp_path)
    members = "virtual_organisations:\n  astro:\n    users:\n      eve: {groups: [astro_user]}\n"
    (tmp_path / "members.yml").write_text(members)
    refused = run("apply", "members.yml", "--as", "vo/astro.yml", "--yes", where=tmp_path, code=2).stderr
    assert "default_group` is missing" in refused, "a VO is in one file"
    (tmp_path / "mine.yml").write_text("pilot: {idle_seconds: 7}\n")
    run("apply", "mine.yml", "--as", "mine.yml", "--yes", where=tmp_path)
    (tmp_path / "site.yml").write_text(TREE + "workload: {max_retries: 7}\n")
    planned = run("plan", "site.yml", "--as", "configuration.yml", where=tmp_path).stdout
    assert "idle_seconds" not in planned
    run("apply", "site.yml", "--as", "configuration.yml", "--yes", where=tmp_path)
    shown = json.loads(run("show", "--json", where=tmp_path).stdout)["tree"]
    assert (shown["pilot"]["idle_seconds"], shown["workload"]["max_retries"]) == (7, 7)
    run("apply", "site.yml", "--yes", where=tmp_path)  # without it, this is all of it
    shown = json.loads(run("show", "--json", where=tmp_path).stdout)["tree"]
    assert shown["pilot"]["idle_seconds"] == 60


def test_a_repository_meets_the_configuration(run: Run, far: Path, tmp_path: Path) -> None:
    def git(*words: str) -> str:
        person = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        done = subprocess.run(
            ["git", *person, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    run("rollback", "1", "--yes", where=tmp_path)
    said = run("git-sync", where=tmp_path).stdout
    assert said.count("all is well") == 2, said
    git("clone", "--quiet", str(far), "clone")
    conf = tmp_path / "clone" / "conf"
    assert (conf / "configuration.yml").read_text() == TREE
    (conf / "rules.yml").write_text("workload: {max_retries: many}\n")
    git("-C", "clone", "add", "conf")
    git("-C", "clone", "commit", "--quiet", "-m", "A mistake")
    git("-C", "clone", "push", "--quiet", "origin", "main")
    refused = run("git-sync", where=tmp_path, code=1).stdout
    assert "rules.yml:1:25: workload/max_retries" in refused
    (conf / "rules.yml").write_text("workload: {max_retries: 4}\n")
    git("-C", "clone", "commit", "--quiet", "--all", "-m", "Four")
    git("-C", "clone", "push", "--quiet", "origin", "main")
    run("git-sync", where=tmp_path)
    states = json.loads(run("git", "--json", where=tmp_path).stdout)
    assert [(state["role"], state["problem"]) for state in states] == [("source", ""), ("mirror", "")]
    newest = json.loads(run("log", "--json", where=tmp_path).stdout)[0]
    assert (newest["author"], newest["comment"]) == ("Ada <ada@example.org>", "Four")
