"""The modules site_status and site_plan, on stand-ins for what they ask."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.loading import load

status = load("playbooks/library/site_status.py")
plan = load("playbooks/library/site_plan.py")
# Prints what the test wants, after a look at what it was asked.
PROGRAM = """\
#!{python}
import json, os, sys
if not sys.stdin.isatty():
    given = sys.stdin.read()
answer = json.loads({answer!r})
assert sys.argv[1:3] == ["config", "apply"] and "--dry-run" in sys.argv, sys.argv
assert os.environ["DIRAC_TOKEN_FILE"].endswith("operator.token")
sys.stderr.write(answer.get("error", ""))
print(json.dumps({{"changes": answer.get("changes")}}))
sys.exit(1 if "error" in answer else 0)
"""


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment of a host that is current."""
    place = tmp_path / "environments/abc"
    (place / "bin").mkdir(parents=True)
    (place / "share/dirac").mkdir(parents=True)
    (place / "share/dirac/bundle.json").write_text('{"version": "1.2.3"}')
    migrations = place / "lib/python3/site-packages/dirac/systems/x/migrations"
    migrations.mkdir(parents=True)
    (migrations / "x_0001.py").touch()
    (place.parent / "current").symlink_to("abc")
    return place.parent / "current"


def _ask(environment: Path, **answer: object) -> tuple[list[dict[str, object]], str]:
    (environment / "bin/dirac").write_text(PROGRAM.format(python=sys.executable, answer=json.dumps(answer)))
    (environment / "bin/dirac").chmod(0o755)
    token = environment.parent / "operator.token"
    token.touch()
    found: tuple[list[dict[str, object]], str] = plan.configuration(
        {
            "environment": str(environment),
            "token_file": str(token),
            "url": "http://x",
            "tree": "{}",
            "file": "x.yml",
        }
    )
    return found


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, str]], None]:
    """Puts a program in place that has a text for each of the things it may be asked about, its last word."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))

    def answer(name: str, texts: dict[str, str]) -> None:
        (programs / name).write_text(
            f"#!{sys.executable}\nimport os, sys\nprint({texts!r}[os.path.basename(sys.argv[-1])], end='')\n"
        )
        (programs / name).chmod(0o755)

    return answer


def test_services_of_the_supervisor_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: Callable[[str, dict[str, str]], None]
) -> None:
    said = {
        "dirac-server-1": "run: /etc/service/dirac-server-1: (pid 17) 42s; run: log: (pid 16) 42s\n",
        "dirac-worker-1": "down: /etc/service/dirac-worker-1: 5s, normally up\n",
        "dirac-node": "",
    }
    for name in (*said, "other"):
        (tmp_path / "service" / name).mkdir(parents=True)
    monkeypatch.setattr(status, "_RUNIT", tmp_path / "service")
    answers("sv", said)
    assert status.runit_services() == [
        {"service": "dirac-node", "state": "unknown", "for_seconds": 0},
        {"service": "dirac-server-1", "state": "run", "for_seconds": 42},
        {"service": "dirac-worker-1", "state": "down", "for_seconds": 5},
    ]
    monkeypatch.setattr(status, "_RUNIT", tmp_path / "nothing")
    assert status.runit_services() == []


def test_units_are_told_with_their_age(answers: Callable[[str, dict[str, str]], None]) -> None:
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    said = {
        "a.service": "ActiveState=active\nSubState=running\n"
        f"ActiveEnterTimestampMonotonic={(uptime - 60) * 1e6:.0f}\n",
        "b.service": "ActiveState=failed\nSubState=failed\nActiveEnterTimestampMonotonic=0\n",
        "c.service": "",
    }
    answers("systemctl", said)
    first, second, third = status.systemd_units(list(said))
    assert (first["service"], first["state"]) == ("a.service", "running")
    assert 55 <= first["for_seconds"] <= 65 + 60
    assert second == {"service": "b.service", "state": "failed", "for_seconds": 0}
    assert third["state"] == "unknown"


def test_host_is_told(environment: Path) -> None:
    found = status.host(environment.parent)
    assert (found["environment"], found["version"]) == ("abc", "1.2.3")
    assert 0 <= found["disk_free_percent"] <= 100
    assert status.host(environment / "nothing")["environment"] == ""


def test_where_nothing_supervises_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: Callable[[str, dict[str, str]], None]
) -> None:
    (tmp_path / "service/dirac-node").mkdir(parents=True)
    monkeypatch.setattr(status, "_RUNIT", tmp_path / "service")
    found = status.runit_services() + status.systemd_units(["a.service"])
    assert {one["state"] for one in found} == {"unknown"}


def test_migrations_that_are_due_are_those_it_has_not(environment: Path) -> None:
    new = {"x_0001": {"phase": "expand"}, "x_0002": {"phase": "contract"}}
    assert plan.migrations(environment, new) == [{"revision": "x_0002", "phase": "contract"}]


def test_what_is_taken_away_needs_care(environment: Path) -> None:
    changes = [{"path": "a", "old": 1, "new": 2}, {"path": "b", "old": 1}, {"path": "c", "new": 3}]
    found, trouble = _ask(environment, changes=changes)
    assert trouble == ""
    assert [(change["path"], change["risk"]) for change in found] == [
        ("a", "safe"), ("b", "careful"), ("c", "safe"),
    ]  # fmt: skip


def test_what_keeps_it_from_comparing_is_said(environment: Path) -> None:
    assert _ask(environment, error="no route") == ([], "the configuration cannot be compared: no route")
    given = {"environment": "/nowhere", "token_file": "/nowhere", "url": "", "tree": "", "file": "x.yml"}
    assert plan.configuration(given) == ([], "there is no service yet to compare the configuration with")
