"""``dirac site`` with real files, real encryption and real runs of Ansible."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dirac.cli.site.places import find_site
from dirac.cli.site.secrets.vault import vault_of
from tests.integration.cli.sites import ROOT, make_distribution, use_this_machine

SECRET = "vault_mariadb_dirac_password"
PATIENCE = 120


class Operator:
    """Somebody at a shell, with a home and a distribution of their own."""

    def __init__(self, place: Path) -> None:
        self.home = place / "home"
        self.home.mkdir()
        self.root = make_distribution(place / "dist", "deploy", "plan", "rotate-secrets", "add-vo", "remove")

    def type(self, *words: str, code: int = 0) -> tuple[str, str]:
        """Type a command; return what it says on both outputs."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ANSIBLE", "DIRAC", "XDG"))
        }
        done = subprocess.run(
            [sys.executable, "-m", "dirac.cli.main", "site", *words],
            cwd=self.root,
            env={**kept, "HOME": str(self.home), "PYTHONPATH": str(ROOT / "src"), "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout, done.stderr

    def make(self, *hosts: str) -> None:
        """Make the site lab whose databases are this machine."""
        named = ",".join(hosts or ("db1",))
        words = ["--host", "server=s1", "--host", f"database={named}", "--host", "node=w1", "--vo", "astro"]
        self.type("new", "lab", "--profile", "cluster", *words, "--offline", "--yes")
        use_this_machine(self.directory / "hosts.yml")

    @property
    def directory(self) -> Path:
        return self.root / "inventories/lab"

    def secrets(self) -> dict[str, Any]:
        key = self.home / ".config/dirac/sites/lab.key"
        from dirac.cli.site.secrets.vault import Vault

        return Vault(self.directory / "group_vars/all/secrets.yml", key).read()

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in (self.root / ".log").rglob("*.*"))


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


def test_a_new_site_is_what_ansible_reads(operator: Operator) -> None:
    operator.make()
    key = operator.home / ".config/dirac/sites/lab.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    assert (operator.directory / "group_vars/all/secrets.yml").read_bytes().startswith(b"$ANSIBLE_VAULT;")
    words = ["ansible-inventory", "-i", "inventories/common", "-i", "inventories/lab", "--list"]
    done = subprocess.run(
        [Path(sys.executable).parent / words[0], *words[1:], "--vault-password-file", key],
        cwd=operator.root,
        env={**os.environ, "ANSIBLE_CONFIG": str(operator.root / "ansible.cfg"), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "WARNING" not in done.stderr
    found = json.loads(done.stdout)
    assert found["mariadb"]["hosts"] == ["db1"]
    # A VO's file is none of hosts.
    assert "astro_user" not in found
    variables = found["_meta"]["hostvars"]["db1"]
    assert variables["site_address"] == "s1"
    assert variables[SECRET] == operator.secrets()[SECRET]
    assert "vault_postgresql_dirac_password" not in variables


def test_a_site_is_not_overwritten(operator: Operator) -> None:
    operator.make()
    before = {path: path.read_bytes() for path in operator.directory.rglob("*.yml")}
    said = operator.type("new", "lab", "--host", "x", "--offline", "--yes", code=2)[1]
    assert "there is a site lab already" in said
    assert {path: path.read_bytes() for path in operator.directory.rglob("*.yml")} == before


def test_a_site_elsewhere_is_remembered(operator: Operator, tmp_path: Path) -> None:
    operator.type("new", "far", "--host", "x", "--dir", str(tmp_path / "far"), "--offline", "--yes")
    listed = json.loads(operator.type("list", "--json")[0])
    assert [(row["name"], row["directory"]) for row in listed] == [("far", str(tmp_path / "far"))]


def test_a_host_that_cannot_be_reached_is_told_before_anything_is_written(operator: Operator) -> None:
    said = operator.type("new", "lab", "--host", "lab@127.0.0.1", "--ssh-port", "1", "--yes", code=3)[1]
    assert "lab cannot be reached as root" in said
    assert not operator.directory.exists()


def test_a_run_tells_people_and_programs(operator: Operator) -> None:
    operator.make("db1", "db2")
    shown = operator.type("deploy", "lab")[0]
    assert "  mariadb              ok" in shown
    assert "mysql://db2" in shown
    out, err = operator.type("deploy", "lab", "--json", "--limit", "db2", "-e", "a=b", "--", "--diff")
    report = json.loads(out)
    assert report["ok"] is True
    assert list(report["hosts"]) == ["db2"]
    assert report["report"]["addresses"] == [{"name": "db2", "url": "mysql://db2"}]
    assert [role["role"] for role in report["roles"]] == ["mariadb"]
    assert "mariadb" in err
    times = json.loads((operator.home / ".cache/dirac/site-times.json").read_bytes())
    # What ran on some hosts only says nothing about the whole.
    assert [len(runs) for runs in times.values()] == [1]


def test_a_stray_word_is_not_taken_for_a_playbook(operator: Operator) -> None:
    operator.make()
    assert (
        "what is 'playbooks/site.yml' for?" in operator.type("deploy", "lab", "playbooks/site.yml", code=2)[1]
    )
    assert not (operator.root / ".log").exists()


def test_failures_are_told_with_host_place_and_what_to_do(operator: Operator) -> None:
    operator.make("db1", "db2")
    shown = operator.type("deploy", "lab", "-e", "bad=db2", code=1)[0]
    assert "db2 failed  mariadb: Start the service" in shown
    assert "roles/mariadb/tasks/main.yml:" in shown
    assert "the disk of db2 is full" in shown
    assert "dirac site deploy lab" in shown
    assert "mysql://" not in shown
    assert "provided for" not in shown
    failures = json.loads(operator.type("deploy", "lab", "-e", "bad=db2", "--json", code=1)[0])["failures"]
    assert [(one["host"], one["role"], one["message"]) for one in failures] == [
        ("db2", "mariadb", "the disk of db2 is full")
    ]
    assert Path(failures[0]["look"]).is_file()


def test_an_unreachable_host_has_an_exit_code_of_its_own(operator: Operator) -> None:
    operator.make("db1", "db2")
    extra = "ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1"
    shown = operator.type("deploy", "lab", "-e", extra, code=3)[0]
    assert "Not reached: db1, db2" in shown
    assert "Failed:" not in shown


def test_an_inventory_that_cannot_be_read_is_no_unreachable_host(operator: Operator) -> None:
    operator.make()
    (operator.root / "playbooks/deploy.yml").write_text("- hosts: [unclosed\n")
    report = json.loads(operator.type("deploy", "lab", "--json", code=1)[0])
    assert report["ok"] is False


def test_values_of_secrets_are_nowhere(operator: Operator) -> None:
    operator.make()
    value = operator.secrets()[SECRET]
    good = operator.type("deploy", "lab", "-vv")
    bad = operator.type("deploy", "lab", "-e", "fail_with_secret=1", "--diff", code=1)
    assert "no_log" in bad[0]
    listed = operator.type("secrets", "lab")
    assert SECRET in listed[0]
    assert value not in "".join([*good, *bad, *listed, operator.logs()])


def test_a_value_is_shown_only_to_those_who_insist(operator: Operator) -> None:
    operator.make()
    operator.type("secrets", "lab", "--reveal", SECRET, code=2)
    assert (
        operator.type("secrets", "lab", "--reveal", SECRET, "--yes")[0] == operator.secrets()[SECRET] + "\n"
    )


def test_what_destroys_asks_for_the_name(operator: Operator) -> None:
    operator.make()
    assert "--confirm lab" in operator.type("remove", "lab", code=2)[1]
    assert "Nothing was done" in operator.type("remove", "lab", "--confirm", "lob", code=2)[1]
    assert not (operator.root / ".log").exists()
    report = json.loads(operator.type("remove", "lab", "--confirm", "lab", "--json")[0])
    assert report["report"]["facts"]["confirm"] == "lab"


def test_a_production_site_asks_before_every_change(operator: Operator) -> None:
    operator.make()
    settings = operator.directory / "group_vars/all/site.yml"
    settings.write_text(settings.read_text().replace("site_production: false", "site_production: true"))
    assert "has to be confirmed" in operator.type("deploy", "lab", code=2)[1]
    operator.type("plan", "lab")
    operator.type("deploy", "lab", "--check")
    operator.type("deploy", "lab", "--confirm", "lab")


def test_a_secret_that_is_new_in_this_version_is_added(operator: Operator) -> None:
    operator.make()
    site_file = operator.directory / "group_vars/all/secrets.yml"
    code = (
        "from dirac.cli.site.places import find_site; from dirac.cli.site.secrets.vault import vault_of; "
        "v = vault_of(find_site('lab', None)); s = v.read(); "
        f"del s[{SECRET!r}]; v.write(s)"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=operator.root,
        env={**os.environ, "HOME": str(operator.home), "PYTHONPATH": str(ROOT / "src")},
        check=True,
    )
    before, content = operator.secrets(), site_file.read_bytes()
    # A plan finds a value, but does not keep it.
    operator.type("plan", "lab")
    assert site_file.read_bytes() == content
    said = operator.type("deploy", "lab")[1]
    assert SECRET in said
    after = operator.secrets()
    assert after[SECRET]
    assert {name: after[name] for name in before if name != "vault_made"} == {
        name: value for name, value in before.items() if name != "vault_made"
    }


def test_a_rotation_goes_on_after_a_failure(operator: Operator) -> None:
    operator.make()
    old = operator.secrets()
    words = ("rotate-secrets", "lab", "--confirm", "lab")
    said = operator.type(*words, SECRET, "-e", "bad=db1", code=1)[1]
    assert "Both values are kept" in said
    between = operator.secrets()
    assert between["vault_previous_mariadb_dirac_password"] == old[SECRET]
    out, err = operator.type(*words, "--json")
    assert "Going on with the rotation" in err
    assert json.loads(out)["rotated"] == [SECRET]
    assert json.loads(out)["report"]["facts"]["rotate"] == [SECRET]
    after = operator.secrets()
    assert after[SECRET] == between[SECRET] != old[SECRET]
    assert not [name for name in after if name.startswith("vault_previous_")]


def test_a_vo_is_added(operator: Operator) -> None:
    operator.make()
    operator.type("add-vo", "lab", "bio", "--admin", "ann", "--user", "bob", "--support", 'Ask "Ann": now')
    import yaml

    found = yaml.safe_load((operator.directory / "vos/bio.yml").read_text())
    assert found["default_group"] == "bio_user"
    assert found["users"] == {"bob": {"groups": ["bio_user"]}, "ann": {"groups": ["bio_user", "bio_admin"]}}
    assert found["support"] == {"message": 'Ask "Ann": now'}
    assert "is there already" in operator.type("add-vo", "lab", "bio", "--user", "eve", code=2)[1]
    operator.type("add-vo", "lab", "bio")


def test_a_lost_key_is_told_as_such(operator: Operator) -> None:
    operator.make()
    key = operator.home / ".config/dirac/sites/lab.key"
    key.chmod(0o644)
    assert "others may read" in operator.type("secrets", "lab", code=2)[1]
    key.chmod(0o600)
    key.write_text("another\n")
    assert "cannot be decrypted" in operator.type("secrets", "lab", code=1)[1]
    key.unlink()
    assert "is not in" in operator.type("deploy", "lab", code=1)[1]


class Faults:
    """Lets the n-th operation on files fail."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._left = 0
        import tempfile

        for owner, name in (
            (tempfile, "mkstemp"),
            (tempfile, "mkdtemp"),
            (os, "fchmod"),
            (os, "fsync"),
            (os, "write"),
            (Path, "replace"),
            (Path, "rename"),
            (Path, "write_text"),
            (Path, "mkdir"),
        ):
            patch.setattr(owner, name, self._wrap(getattr(owner, name)))

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                raise OSError(28, "No space left on device")
            return function(*arguments, **named)

        return run

    def at(self, number: int) -> None:
        self._left = number

    @property
    def happened(self) -> bool:
        return self._left <= 0


def test_whatever_fails_there_is_never_a_plain_or_half_file(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dirac.cli.site.secrets import rotate
    from dirac.core.errors import DiracError

    operator.make()
    monkeypatch.setenv("HOME", str(operator.home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    site = find_site("lab", operator.root)
    faults = Faults(monkeypatch)
    for number in range(1, 50):
        before = vault_of(site).read()
        faults.at(number)
        try:
            rotate.begin(site, [SECRET])
        except DiracError:
            assert faults.happened
        failed = faults.happened
        faults.at(0)
        after = vault_of(site).read()
        values = [str(value) for name, value in {**before, **after}.items() if name != "vault_made"]
        for path in operator.directory.rglob("*"):
            assert not path.is_file() or not any(value in path.read_text() for value in values)
        assert [path.name for path in (operator.directory / "group_vars/all").glob(".*")] == []
        assert after == before or after["vault_previous_mariadb_dirac_password"] == before[SECRET]
        # Again, and it converges: one rotation, whose old value is the one from before the fault.
        assert rotate.begin(site, [SECRET]) == [SECRET]
        done = vault_of(site).read()
        assert done["vault_previous_mariadb_dirac_password"] == before[SECRET]
        from dirac.cli.site.secrets.keep import end

        vault_of(site).write(end(done))
        if not failed:
            break
    assert not failed
    assert number > 4


def test_whatever_fails_a_new_site_is_there_as_a_whole_or_not_at_all(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dirac.cli.site.layout import Answers, Host, Profile, spread
    from dirac.cli.site.places import Distribution, Site
    from dirac.cli.site.write import write_site
    from dirac.core.errors import DiracError

    monkeypatch.setenv("HOME", str(operator.home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    distribution = Distribution(operator.root)
    answers = Answers(
        "lab", Profile.SINGLE, spread(Profile.SINGLE, {"": [Host("h")]}, ()), "h", ["astro"], "ann"
    )
    site = Site("lab", distribution.inventories / "lab", distribution)
    faults = Faults(monkeypatch)
    for number in range(1, 60):
        faults.at(number)
        with contextlib.suppress(DiracError):
            write_site(site, answers)
        failed, _ = faults.happened, faults.at(0)
        left = {path.name for path in distribution.inventories.iterdir()}
        assert left in ({"common", "templates"}, {"common", "templates", "lab"})
        if "lab" in left:
            assert SECRET in vault_of(site).read()
            assert {path.name for path in site.directory.rglob("*.yml")} == {
                "hosts.yml", "site.yml", "secrets.yml", "astro.yml"
            }  # fmt: skip
            import shutil

            shutil.rmtree(site.directory)
        if not failed:
            break
    assert not failed
    assert number > 8
