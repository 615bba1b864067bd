"""A worker node: its users, its launcher, what it says of itself, and what nobody but root may read."""

from __future__ import annotations

import json

from testinfra.host import Host

CALL = "python3 /opt/dirac/release/dirac/pilot/dirac-node.py --settings /etc/dirac/node.json"


def test_each_slot_has_a_user_without_a_door(host: Host) -> None:
    uids = set()
    for name in ("dirac-pilot-01", "dirac-pilot-02"):
        user = host.user(name)
        assert user.exists
        assert user.shell.endswith("nologin")
        assert user.groups == [name]
        uids.add(user.uid)
    assert len(uids) == 2
    assert not host.user("dirac-pilot-03").exists


def test_the_launcher_is_connected_and_says_how_pilots_are_confined(host: Host) -> None:
    with host.sudo():
        answer = host.run(f"{CALL} --status")
    assert answer.rc == 0, answer.stderr
    status = json.loads(answer.stdout)
    assert status["connected"]
    assert status["slots"] == 2
    assert status["pilots"] == []
    assert status["isolation"] in ("namespaces", "none")
    assert status["limits"] in ("v1", "v2", "rlimits")


def test_every_check_has_an_answer_and_faults_have_a_cure(host: Host) -> None:
    with host.sudo():
        answer = host.run(f"{CALL} --check --json")
    assert answer.rc == 0, answer.stdout
    checks = {one["check"]: one for one in json.loads(answer.stdout)}
    wanted = {
        "credential",
        "server",
        "python",
        "pilot",
        "environment",
        "users",
        "disk",
        "namespaces",
        "cgroups",
    }
    assert wanted <= set(checks)
    assert all(one["mend"] for one in checks.values() if "cause" in one)
    assert "farm of DIRAC.Farm.org" in checks["server"]["detail"]


def test_no_user_of_a_slot_reads_the_credential_or_the_state(host: Host) -> None:
    for path in ("/etc/dirac/node.token", "/var/lib/dirac/node/status.json"):
        assert host.run(f"cat {path}").rc == 0
        assert host.run(f"runuser -u dirac-pilot-01 -- cat {path}").rc != 0
    process = host.check_output("pgrep -o -f dirac-node.py")
    assert host.run(f"runuser -u dirac-pilot-01 -- cat /proc/{process}/environ").rc != 0


def test_the_secret_is_in_no_log_and_on_no_command_line(host: Host) -> None:
    secret = host.file("/etc/dirac/node.token").content_string.strip()
    assert secret
    assert secret not in host.check_output("cat /var/log/dirac/dirac-node/current")
    assert secret not in host.check_output("ps -eo args")
