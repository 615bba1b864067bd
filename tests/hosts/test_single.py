"""One bare host to a site and back, by the commands that README.md and docs/operator/site.md show."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from .fleet import Fleet, Host
from .podman import missing
from .site import ROOT, Operator, documented

SITE = "alone"  # `single` is an example in the checkout
NAME = "dirac.single.test"
# (what is broken, how, how it is put right, the checks that have to notice, words of the cure)
BREAKDOWNS = [
    (
        "database stopped",
        "systemctl stop mariadb",
        "systemctl start mariadb",
        "units",
        "systemctl restart mariadb",
    ),
    (
        "broker stopped",
        "systemctl stop rabbitmq-server",
        "systemctl start rabbitmq-server",
        "units",
        "rabbitmq-server",
    ),
    (
        "worker stopped",
        "sv stop dirac-worker-1",
        "sv start dirac-worker-1",
        "services",
        "sv start dirac-worker-1",
    ),
    (
        "scheduler stopped",
        "sv stop dirac-scheduler",
        "sv start dirac-scheduler",
        "services",
        "sv start dirac-scheduler",
    ),
    ("node stopped", "sv -w 60 stop dirac-node", "sv start dirac-node", "services", "sv start dirac-node"),
    (
        "firewall closed",
        "nft insert rule inet dirac input iif != lo tcp dport 443 drop",
        "systemctl restart dirac-firewall",
        "ports",
        "reconfigure",
    ),
    (
        "a right too many",
        "mariadb -e 'GRANT DROP ON dirac.* TO dirac@`%`'",
        "mariadb -e 'REVOKE DROP ON dirac.* FROM dirac@`%`'",
        "database.rights",
        "REVOKE",
    ),
]

WANTED = {"all", "single"} & set(os.environ.get("DIRAC_TEST_SCENARIOS", "selection").split(","))
REASONS = missing() if WANTED else ["not in the selection (bin/test --all, or DIRAC_TEST_SCENARIOS=single)"]
pytestmark = pytest.mark.skipif(bool(REASONS), reason="; ".join(REASONS))


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    fleet = Fleet(SITE)
    addresses = fleet.up([Host("s1", aliases=(NAME,))])
    operator = Operator(SITE, tmp_path_factory.mktemp("operator"), fleet.container("s1"))
    words = [
        word.replace("dirac.example.org", f"s1.dirac.test@{addresses['s1']}")
        for word in documented("docs/operator/site.md", "new", "--host")
    ]
    made = operator.type(words, "--dir", str(operator.files), "--address", NAME)
    assert made.code == 0, made.said
    yield operator
    fleet.down()


def processes(operator: Operator) -> str:
    """Return the services of the host, each with its process."""
    return operator.on_host((ROOT / "molecule/shared/services.sh").read_text("utf-8"))


def edit(path: Path, change: Callable[[dict], None]) -> None:
    """Change a YAML file."""
    content = yaml.safe_load(path.read_text("utf-8"))
    change(content)
    path.write_text(yaml.safe_dump(content), "utf-8")


def test_new_writes_a_site_whose_secrets_are_encrypted(operator: Operator) -> None:
    names = {path.relative_to(operator.files).as_posix() for path in operator.files.rglob("*.yml")}
    assert names == {
        "hosts.yml", "group_vars/all/site.yml", "group_vars/all/secrets.yml", "vos/astro.yml", "vos/bio.yml"
    }  # fmt: skip
    assert (operator.files / "group_vars/all/secrets.yml").read_text("utf-8").startswith("$ANSIBLE_VAULT;")


def test_doctor_finds_a_bare_host_fit(operator: Operator) -> None:
    done = operator.do("doctor")
    assert done.code == 0, done.said
    assert {"clock", "disk", "names"} <= {one["check"] for one in done.document["report"]["checks"]}


def test_plan_of_a_bare_host_changes_nothing(operator: Operator) -> None:
    before = operator.on_host("dpkg -l | cksum; ls /etc /opt /var/lib | cksum")
    done = operator.do("plan")
    assert done.code == 0, done.said
    assert {"mariadb", "rabbitmq", "diracos", "dirac_server"} <= {
        one["role"] for one in done.document["changes"]
    }
    assert operator.on_host("dpkg -l | cksum; ls /etc /opt /var/lib | cksum") == before


def test_the_readme_deploys_it_and_jobs_run(operator: Operator) -> None:
    done = operator.type(documented("README.md", "A real site, in four commands", "deploy"))
    assert done.code == 0, done.said
    assert done.document["report"]["addresses"] == [{"name": "DIRAC", "url": f"https://{NAME}"}]
    assert {job["vo"] for job in done.document["report"]["jobs"]} == {"astro", "bio"}


def test_the_servers_keep_their_secrets_beside_a_node(operator: Operator) -> None:
    assert operator.on_host("stat -c %U:%a /etc/dirac/secrets").strip() == "dirac:700"


def test_a_second_run_changes_and_restarts_nothing(operator: Operator) -> None:
    before = processes(operator)
    done = operator.do("deploy")
    assert (done.code, done.document["changes"]) == (0, []), done.said
    assert processes(operator) == before


def test_status_shows_all_services_running(operator: Operator) -> None:
    done = operator.do("status")
    assert done.code == 0, done.said
    seen = {one["service"]: one["state"] for one in done.document["report"]["facts"]["services"]}
    assert set(seen.values()) <= {"run", "running", "exited"}, seen
    assert {
        "dirac-server-1",
        "dirac-worker-1",
        "dirac-scheduler",
        "mariadb.service",
        "rabbitmq-server.service",
    } <= set(seen)


def test_verify_runs_a_job_of_each_vo(operator: Operator) -> None:
    done = operator.do("verify")
    assert done.code == 0, done.said
    assert "dirac_vo" in {one["role"] for one in done.document["roles"]}


def test_doctor_finds_nothing_wrong(operator: Operator) -> None:
    done = operator.do("doctor")
    assert (done.code, done.faults) == (0, {}), done.said


def test_plan_says_that_there_is_nothing_to_do(operator: Operator) -> None:
    done = operator.do("plan")
    assert (done.code, done.document["changes"]) == (0, []), done.said
    assert "Nothing to do" in done.said


def test_plan_shows_a_change_of_a_vo_and_reconfigure_makes_it(operator: Operator) -> None:
    edit(operator.files / "vos/bio.yml", lambda vo: vo["support"].update(message="Ask in the greenhouse"))
    planned = operator.do("plan").document["report"]["facts"]["configuration"]
    assert [(one["new"], one["risk"]) for one in planned] == [("Ask in the greenhouse", "safe")]
    before = processes(operator)
    done = operator.do("reconfigure")
    assert done.code == 0, done.said
    assert processes(operator) == before
    assert operator.do("plan").document["report"]["facts"].get("configuration") == []


def test_add_vo_adds_one_whose_job_runs(operator: Operator) -> None:
    done = operator.do("add-vo")
    assert done.code == 0, done.said
    assert "chem" in operator.on_host("cat /etc/dirac/secrets/passwords.json")


def test_a_rotated_password_is_of_no_use_any_more(operator: Operator) -> None:
    old = operator.on_host("cat /etc/dirac/secrets/database.url")
    done = operator.do("rotate-secrets", "--confirm", SITE)
    assert done.code == 0, done.said
    assert operator.on_host("cat /etc/dirac/secrets/database.url") != old
    password = old.split("://dirac:")[1].split("@")[0]
    tried = operator.on_host(
        f"MYSQL_PWD={password} mariadb -h s1.dirac.test -u dirac -e 'SELECT 1' 2>&1 || true"
    )
    assert "Access denied" in tried


@pytest.mark.parametrize(
    ("broken", "mended", "check", "cure"), [row[1:] for row in BREAKDOWNS], ids=[r[0] for r in BREAKDOWNS]
)
def test_doctor_names_what_is_broken(
    operator: Operator, broken: str, mended: str, check: str, cure: str
) -> None:
    operator.on_host(broken)
    try:
        done = operator.do("doctor")
    finally:
        operator.on_host(mended)
    # A right too many keeps nothing from working.
    assert done.code == (0 if check == "database.rights" else 1), done.said
    assert check in done.findings, done.said
    assert cure in done.findings[check]["mend"]


def test_doctor_is_content_when_all_is_mended(operator: Operator) -> None:
    done = operator.do("doctor")
    assert (done.code, done.faults) == (0, {}), done.said


def test_remove_asks_and_then_leaves_nothing(operator: Operator) -> None:
    refused = operator.do("remove")
    assert refused.code == 2
    assert "dirac-server-1" in processes(operator)
    done = operator.do("remove", "--confirm", SITE)
    assert done.code == 0, done.said
    gone = (ROOT / "molecule/shared/gone.sh").read_text("utf-8")
    wanted = (
        "path:/etc/dirac path:/opt/dirac path:/var/lib/dirac path:/var/log/dirac path:/etc/sv/dirac-server-1 "
        "path:/var/lib/mysql path:/var/lib/rabbitmq path:/etc/haproxy path:/var/backups/dirac "
        "user:dirac user:mysql user:rabbitmq user:haproxy unit:mariadb.service unit:rabbitmq-server.service "
        "unit:haproxy.service unit:runit.service port:443 port:3306 port:5671 port:8443"
    )
    operator.on_host(f"set -- {wanted}\n{gone}")
