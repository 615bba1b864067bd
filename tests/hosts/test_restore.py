"""A site loses its only host, and is restored from its backup store on one with another name and address."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .fleet import Fleet, Host
from .podman import missing, podman
from .site import ROOT, Operator, documented

SITE = "restoring"
NAME = "dirac.restoring.test"
USERS = {"astro": "admin", "bio": "admin"}

pytestmark = pytest.mark.skipif(bool(missing()), reason="; ".join(missing()))


class Place:
    """The site, its hosts, and its people, whose logins survive the host.

    Args:
        home: Where the operator's files go.
    """

    def __init__(self, home: Path) -> None:
        self.fleet = Fleet(SITE)
        addresses = self.fleet.up([Host("one", aliases=(NAME,)), Host("keep")])
        self.prefix, self.keep = addresses["keep"].rpartition(".")[0], addresses["keep"]
        self.people = home / "people.tar"
        self.operator = Operator(SITE, home, self.fleet.container("one"))
        words = [
            word.replace("dirac.example.org", f"one.dirac.test@{addresses['one']}")
            for word in documented("docs/operator/site.md", "new", "--host")
        ]
        made = self.operator.type(words, "--dir", str(self.operator.files), "--address", NAME)
        assert made.code == 0, made.said
        self.edit(self._add_the_store)

    def edit(self, change: Any) -> None:
        """Change the hosts of the inventory."""
        path = self.operator.files / "hosts.yml"
        content = yaml.safe_load(path.read_text("utf-8"))
        change(content["all"])
        path.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")

    def _add_the_store(self, site: Any) -> None:
        site["hosts"]["keep.dirac.test"] = {"ansible_host": self.keep, "host_address": self.keep}
        for group in ("base", "backup"):
            site["children"][group]["hosts"]["keep.dirac.test"] = None

    def person(self, vo: str, verb: str, *words: str, user: str = "") -> Any:
        """Let somebody do something (person.py); returns the answer."""
        who = user or USERS[vo]
        line = " ".join(
            ["/root/person.py", f"/root/people/{vo}-{who}", f"https://{NAME}", vo, who, verb, *words]
        )
        said = self.operator.on_host(f"python3 {line}")
        return json.loads(said) if verb != "stream" else [json.loads(row) for row in said.splitlines()]

    def receive_people(self) -> None:
        """Bring the people to the host: with what they had on the one before, or for the first time."""
        podman(
            "cp", str(ROOT / "tests/hosts/person.py"), f"{self.operator.host}:/root/person.py", failure="cp"
        )
        if self.people.exists():
            podman("cp", str(self.people), f"{self.operator.host}:/root/people.tar", failure="cp")
            self.operator.on_host("tar x -C /root -f /root/people.tar")
        else:
            for vo, user in USERS.items():
                self.operator.on_host(
                    f"mkdir -p /root/people/{vo}-{user} && "
                    f"cp /etc/dirac/secrets/passwords.json /root/people/{vo}-{user}/"
                )

    def keep_people(self) -> None:
        """Keep what people have: their logins and passwords."""
        self.operator.on_host("tar c -C /root -f /root/people.tar people")
        podman("cp", f"{self.operator.host}:/root/people.tar", str(self.people), failure="cp")

    def lose_the_host(self) -> None:
        """Destroy the host with all that it has, and put another into the inventory."""
        address = f"{self.prefix}.30"
        self.fleet.replace("one", Host("two", aliases=(NAME,)), address, {"keep.dirac.test": self.keep})
        self.operator.host = self.fleet.container("two")

        def change(site: Any) -> None:
            site["hosts"]["two.dirac.test"] = {"ansible_host": address, "host_address": address}
            del site["hosts"]["one.dirac.test"]
            for group in site["children"].values():
                if "one.dirac.test" in group["hosts"]:
                    rest = [name for name in group["hosts"] if name != "one.dirac.test"]
                    group["hosts"] = dict.fromkeys(["two.dirac.test", *rest])

        self.edit(change)

    def on_store(self, command: str) -> str:
        """Run a line of shell on the store; returns what it prints and its code."""
        return podman("exec", self.fleet.container("keep"), "sh", "-c", command, failure=command)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("operator"))
    yield place
    place.fleet.down()


@pytest.fixture(scope="module")
def before(place: Place) -> dict[str, Any]:
    """What the site answers before its backup; later, what was submitted while it was made."""
    done = place.operator.do("deploy")
    assert done.code == 0, done.said
    place.receive_people()
    place.person("astro", "configure", user="operator")
    for vo in USERS:
        place.person(vo, "login")
        numbers = place.person(vo, "submit", "2")
        place.person(vo, "wait", *map(str, numbers))
    found = {vo: place.person(vo, "answers") for vo in USERS}
    found["configuration"] = place.person("astro", "configuration", user="operator")
    return found


def test_backup_is_made_while_jobs_are_submitted(place: Place, before: dict[str, Any]) -> None:
    submitted: list[dict[str, Any]] = []
    stream = threading.Thread(target=lambda: submitted.extend(place.person("bio", "stream", "/root/stop")))
    services = place.operator.on_host((ROOT / "molecule/shared/services.sh").read_text("utf-8"))
    stream.start()
    done = place.operator.do("backup")
    place.operator.on_host("touch /root/stop")
    stream.join()
    assert done.code == 0, done.said
    assert submitted, "nothing was submitted meanwhile"
    assert place.operator.on_host((ROOT / "molecule/shared/services.sh").read_text("utf-8")) == services
    # After the backup: must not come back.
    before["late"] = place.person("astro", "submit", "1")
    before["streamed"] = [row["job"] for row in submitted]
    place.keep_people()


def test_restore_over_data_has_to_be_confirmed(place: Place, before: dict[str, Any]) -> None:
    services = place.operator.on_host((ROOT / "molecule/shared/services.sh").read_text("utf-8"))
    refused = place.operator.type(["bin/dirac", "site", "restore", SITE])
    assert refused.code == 2
    assert place.operator.on_host((ROOT / "molecule/shared/services.sh").read_text("utf-8")) == services


def test_set_without_manifest_does_not_count(place: Place, before: dict[str, Any]) -> None:
    staged, given = "/var/lib/dirac-backup/staging/mariadb", {"roles": [{"role": "mariadb", "number": 0}]}
    place.on_store(
        f"dirac-backup stage && mkdir {staged} && echo x > {staged}/x && "
        f"dirac-backup save --set 20360101T000000Z --host keep --input '{json.dumps(given)}' && "
        "dirac-backup wipe"
    )
    status = json.loads(place.on_store("dirac-backup status"))
    assert status["incomplete"] == ["20360101T000000Z"]
    assert json.loads(place.on_store("dirac-backup choose"))["set"] == status["complete"][-1]
    done = place.operator.type(
        ["bin/dirac", "site", "restore", SITE], "--confirm", SITE, "--from", "20360101T000000Z"
    )
    assert done.code != 0
    assert "is not complete" in done.said
    assert "dirac-server-1" in place.operator.on_host(
        (ROOT / "molecule/shared/services.sh").read_text("utf-8")
    )


def test_damaged_repository_is_refused_before_anything_is_stopped(
    place: Place, before: dict[str, Any]
) -> None:
    services = place.operator.on_host((ROOT / "molecule/shared/services.sh").read_text("utf-8"))
    place.on_store(
        "rm -rf /var/cache/dirac-backup; "
        "cd /var/lib/dirac-backup-store/repository && cp -a data /root/data && "
        "find data -type f -exec chmod u+w {} ';' "
        "-exec sh -c 'printf damaged | dd of=$1 bs=1 seek=40 conv=notrunc' - {} ';'"
    )
    try:
        done = place.operator.type(["bin/dirac", "site", "restore", SITE], "--confirm", SITE)
    finally:
        place.on_store("cd /var/lib/dirac-backup-store/repository && rm -rf data && mv /root/data data")
    assert done.code != 0
    assert place.operator.on_host((ROOT / "molecule/shared/services.sh").read_text("utf-8")) == services


def test_wrong_password_is_named(place: Place, before: dict[str, Any]) -> None:
    said = place.on_store(
        "cp -p /etc/dirac-backup/password /root/password; echo wrong > /etc/dirac-backup/password; "
        "dirac-backup choose 2>&1; cp -p /root/password /etc/dirac-backup/password"
    )
    assert "password" in said


def test_site_is_restored_on_another_host(place: Place, before: dict[str, Any]) -> None:
    place.lose_the_host()
    done = place.operator.type(["bin/dirac", "site", "restore", SITE], "--confirm", SITE)
    assert done.code == 0, done.said
    place.receive_people()


@pytest.mark.parametrize("vo", sorted(USERS))
def test_what_had_ended_is_as_it_was(place: Place, before: dict[str, Any], vo: str) -> None:
    """The token is that of before: answers, histories, and every byte of the outputs."""
    now, then = place.person(vo, "answers"), before[vo]
    for part in ("jobs", "logs", "parameters"):
        assert {number: now[part].get(number) for number in then[part]} == then[part]
    assert {name: now["outputs"].get(name) for name in then["outputs"]} == then["outputs"]


def test_configuration_has_the_versions_it_had(place: Place, before: dict[str, Any]) -> None:
    assert place.person("astro", "configuration", user="operator") == before["configuration"]


def test_what_came_during_the_backup_is_whole_or_not_there(place: Place, before: dict[str, Any]) -> None:
    there = sorted(map(int, place.person("bio", "answers")["jobs"]))
    streamed = [number for number in before["streamed"] if number in there]
    assert streamed == before["streamed"][: len(streamed)], "one is lost between others"
    assert len(streamed) < len(before["streamed"])
    place.person("bio", "wait", *map(str, streamed))
    outputs = place.person("bio", "answers")["outputs"]
    assert {f"{number}/data.bin" for number in streamed} <= set(outputs)


def test_nothing_is_invented_and_new_jobs_run(place: Place, before: dict[str, Any]) -> None:
    assert place.person("astro", "job", "status", str(before["late"][0]))["code"] != 0
    place.person("astro", "logout")
    place.person("astro", "login")  # with the password of before
    [number] = place.person("astro", "submit", "1")
    [ended] = place.person("astro", "wait", str(number)).values()
    assert ended["Status"] == "Done"
