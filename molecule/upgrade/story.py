# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of a site's upgrades, on one host, under load; each chapter can be told alone.

    story.py DIRECTORY CHAPTER...

The directory keeps what chapters have to know of each other, and what they found out: `facts.json`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT), str(Path(__file__).parent)]

from load import JDL  # noqa: E402
from next_version import add_migrations, copy  # noqa: E402

from tests.hosts.fleet import Fleet, Host, connection, write_inventory  # noqa: E402

SITE, HOST, NAME = "upgrade", "s1.dirac.test", "dirac.upgrade.test"
VOS = ("astro", "bio")
KEY = Path.home() / f".config/dirac/sites/{SITE}.key"
RECORD = "/srv/record"
PATIENCE = 900
TOKENS = f"""\
set -e
export DIRAC_URL=https://{NAME} DIRAC_DEMO_PASSWORDS=/etc/dirac/secrets/passwords.json
for vo in {" ".join(VOS)}; do
    export DIRAC_CREDENTIALS=/root/$vo.json
    /opt/dirac/environments/current/bin/dirac login $vo --demo-user admin --json > /dev/null
    echo $vo $(sed -n 's/.*"access_token": *"\\([^"]*\\)".*/\\1/p' < $DIRAC_CREDENTIALS)
done
"""


class Story:
    """What is known, and how to act.

    Args:
        directory: Where it is kept.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.file = directory / "facts.json"
        self.facts: dict[str, Any] = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.site, self.hosts = directory / "site", directory / "hosts.yml"
        self.previous, self.next = directory / "previous", directory / "next"

    def note(self, name: str, value: Any) -> None:
        """Keep a finding."""
        self.facts[name] = value
        self.file.write_text(json.dumps(self.facts, indent=1))

    @property
    def address(self) -> str:
        """The host's address."""
        return str(json.loads(self.hosts.read_text())["all"]["hosts"][HOST]["ansible_host"])

    def on_host(self, command: str, *, given: str = "", code: int | None = 0) -> str:
        """Run a shell command on the host."""
        how = connection(self.address)
        words = ["ssh", "-i", how["ansible_ssh_private_key_file"], *how["ansible_ssh_common_args"].split()]
        done = subprocess.run(
            [*words, f"root@{self.address}", command],
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        assert code is None or done.returncode == code, (
            f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def dirac(self, vo: str, *words: str, given: str = "") -> Any:
        """Run the command line as a VO's member; returns its JSON."""
        said = self.on_host(
            f"DIRAC_URL=https://{NAME} DIRAC_CREDENTIALS=/root/{vo}.json "
            f"/opt/dirac/environments/current/bin/dirac {' '.join(words)} --json",
            given=given,
        )
        return json.loads(said)

    def play(self, tree: Path, verb: str, *options: str, code: int = 0) -> dict[str, Any]:
        """Run a playbook of a checkout for the site; returns its output and the seconds of each play."""
        words = ["ansible-playbook", "-i", "inventories/common", "-i", str(self.site), "-i", str(self.hosts)]
        words += ["--vault-password-file", str(KEY), f"playbooks/{verb}.yml", *options]
        # Pilots of one VO that always has work would keep the other waiting on a node with two slots.
        words += ["-e", "pilot_node_slots=8", "-e", "pilot_node_processors=8"]
        began, plays, said = time.monotonic(), [], []
        log = self.directory / f"{verb}-{int(time.time())}.log"
        # Each checkout has roles and plugins of its own; Molecule would have all of them use this one's.
        own = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        process = subprocess.Popen(
            words, cwd=tree, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        with log.open("w") as out:
            for line in process.stdout:
                out.write(f"{time.monotonic() - began:7.1f} {line}")
                out.flush()
                said.append(line)
                if line.startswith("PLAY ["):
                    plays.append((line.split("[")[1].split("]")[0], time.monotonic()))
        process.wait()
        ends = [at for _, at in plays[1:]] + [time.monotonic()]
        seconds = [[name, round(end - at, 1)] for (name, at), end in zip(plays, ends, strict=True)]
        assert process.returncode == code, f"{verb}: {process.returncode}, see {log}\n{''.join(said[-40:])}"
        return {
            "seconds": round(time.monotonic() - began, 1),
            "plays": seconds,
            "load_average": os.getloadavg()[0],
            "said": "".join(said) if code else "",
        }

    @contextmanager
    def load(self, name: str) -> Any:
        """Keep the site busy meanwhile; then note what became of the requests."""
        stop, tokens, ca = (self.directory / f"{name}.{what}" for what in ("stop", "tokens", "ca"))
        stop.unlink(missing_ok=True)
        said = self.on_host("sh -s", given=TOKENS)
        tokens.write_text(json.dumps(dict(line.split() for line in said.splitlines())))
        ca.write_text(self.on_host("cat /etc/dirac/pki/ca.pem"))
        self.on_host(f"install -d -m 1777 {RECORD}")
        out = self.directory / f"{name}.json"
        words = [sys.executable, str(Path(__file__).with_name("load.py")), "--address", self.address]
        words += ["--server-name", NAME, "--ca", str(ca), "--tokens", str(tokens), "--stop", str(stop)]
        words += ["--prefix", name, "--record", RECORD]
        with out.open("w") as file, (self.directory / f"{name}.err").open("w") as errors:
            process = subprocess.Popen(words, stdout=file, stderr=errors)
            time.sleep(5)
            try:
                yield
                time.sleep(5)
            finally:
                stop.touch()
                process.wait(120)
        found = json.loads(out.read_text())
        names = found.pop("names")
        found["runs"] = self.runs(found.pop("jobs"), names)
        self.note(f"load {name}", found)

    def runs(self, jobs: dict[str, list[int]], names: Sequence[str]) -> dict[str, Any]:
        """Wait until jobs have ended; return how, and how often each has really run."""
        states: dict[str, int] = {}
        for vo in VOS:
            for row in self.ended(vo, jobs[vo]):
                states[row["Status"]] = states.get(row["Status"], 0) + 1
        listing = self.on_host(f"cd {RECORD} && wc -l * 2>/dev/null", code=None)
        counted = {
            line.split()[1]: int(line.split()[0]) for line in listing.splitlines() if "total" not in line
        }
        wrong = {name: counted.get(name, 0) for name in names if counted.get(name, 0) != 1}
        return {"jobs": len(names), "states": states, "not_once": wrong}

    def ended(self, vo: str, jobs: Sequence[int]) -> list[dict[str, Any]]:
        """Wait until these jobs have ended; return their rows."""
        end = time.monotonic() + PATIENCE
        while True:
            listed = self.rows(vo, jobs)
            if all(row["Status"] in ("Done", "Failed", "Killed") for row in listed) or time.monotonic() > end:
                return listed
            time.sleep(5)

    def rows(self, vo: str, jobs: Sequence[int]) -> list[dict[str, Any]]:
        """Return the rows of jobs, from the database itself."""
        numbers = ",".join(map(str, [0, *jobs]))
        wanted = f'vo="{vo}" and job_id in ({numbers})'
        said = self.on_host(f"mariadb -N dirac -e 'select job_id, status from workload_job where {wanted}'")
        return [{"JobID": int(line.split()[0]), "Status": line.split()[1]} for line in said.splitlines()]


def create(story: Story) -> None:
    """A bare host."""
    addresses = Fleet(SITE).up([Host(HOST, aliases=(NAME,))])
    write_inventory(story.hosts, addresses)


def destroy(story: Story) -> None:
    """Nothing is left."""
    Fleet(SITE).down()
    KEY.unlink(missing_ok=True)
    shutil.rmtree(story.directory)


def before(story: Story) -> None:
    """The previous version is deployed by its own playbooks."""
    ref = os.environ.get("DIRAC_UPGRADE_FROM", "HEAD~1")
    copy(CHECKOUT, story.previous, ref)
    words = [
        sys.executable,
        "-c",
        "from dirac.cli.main import main; main()",
        "site",
        "new",
        SITE,
        "--profile",
        "single",
    ]
    words += ["--host", f"{HOST}@{story.address}", "--address", NAME, "--yes", "--offline"]
    for vo in VOS:
        words += ["--vo", vo]
    KEY.unlink(missing_ok=True)
    subprocess.run(
        words, cwd=story.previous, env=os.environ | {"PYTHONPATH": str(story.previous / "src")}, check=True
    )
    (story.previous / "inventories" / SITE).rename(story.site)
    story.note("deploy", story.play(story.previous, "deploy"))


def check(story: Story) -> None:
    """What an upgrade would change is said, and nothing is changed."""
    earlier = state(story)
    story.note("check", story.play(CHECKOUT, "upgrade", "--check") | {"same": state(story) == earlier})


def data(story: Story) -> None:
    """Work of two VOs: some done with outputs, some running, some waiting; a history of the configuration."""
    story.on_host("sh -s", given=TOKENS)
    story.on_host(f"install -d -m 1777 {RECORD}")
    made: dict[str, Any] = {}
    for vo in VOS:
        done = (
            'Executable = "/bin/sh"; Arguments = "-c \'echo output of $0\' %s"; '
            'StdOutput = "std.out"; OutputSandbox = {"std.out"};'
        )
        jobs = [story.dirac(vo, "job", "submit", "-", given=done % vo)[0]["JobID"] for _ in range(2)]
        story.ended(vo, jobs)
        made[vo] = {"done": jobs}
    for vo in VOS:
        texts = [JDL.format(record=RECORD, name=f"slow-{vo}-{n}", seconds=90) for n in (1, 2)]
        made[vo]["through"] = [
            story.dirac(vo, "job", "submit", "-", given=text)[0]["JobID"] for text in texts
        ]
    story.note("data", made)
    story.note(
        "configuration",
        story.on_host("mariadb -N dirac -e 'select count(*) from configuration_version'").strip(),
    )


def found(story: Story) -> dict[str, Any]:
    """Return what is there of the data."""
    outputs, states = {}, {}
    for vo in VOS:
        jobs = story.facts["data"][vo]
        states[vo] = {
            kind: [row["Status"] for row in story.rows(vo, jobs[kind])] for kind in ("done", "through")
        }
        for job in jobs["done"]:
            story.on_host(
                f"rm -rf /root/out && DIRAC_URL=https://{NAME} DIRAC_CREDENTIALS=/root/{vo}.json "
                f"/opt/dirac/environments/current/bin/dirac job output {job} --dir /root/out"
            )
            outputs[str(job)] = story.on_host("cat $(find /root/out -name std.out)").strip()
    versions = story.on_host("mariadb -N dirac -e 'select count(*) from configuration_version'").strip()
    return {"outputs": outputs, "states": states, "configuration": versions}


def state(story: Story) -> dict[str, str]:
    """Return what must not change when a verb is refused."""
    return {
        "processes": story.on_host("sv status /etc/service/* | sed 's/s;.*//; s/) .*/)/'"),
        "links": story.on_host(
            "cd /opt/dirac/environments && readlink current previous; readlink ../release/dirac/pro"
        ),
        "settings": story.on_host(
            "cat /etc/dirac/dirac.toml /etc/sv/*/program /etc/haproxy/haproxy.cfg | sha256sum"
        ),
        "schema": story.on_host(
            "mariadb -N dirac -e 'select * from alembic_version order by 1; "
            "select * from schema_line order by 1'"
        ),
    }


def upgrade(story: Story) -> None:
    """This checkout takes over under load, with jobs that run through it."""
    with story.load("forth"):
        story.note("upgrade", story.play(CHECKOUT, "upgrade"))
    for vo in VOS:
        story.ended(vo, story.facts["data"][vo]["through"])
    story.note("found", found(story))
    story.note(
        "through", story.runs({vo: [] for vo in VOS}, [f"slow-{vo}-{n}" for vo in VOS for n in (1, 2)])
    )


def again(story: Story) -> None:
    """A second upgrade to the same version finds nothing to do."""
    earlier = state(story)
    outcome = story.play(CHECKOUT, "upgrade", "-e", "site_upgrade_without_backup=true")
    story.note("upgrade again", outcome | {"same": state(story) == earlier})


def back(story: Story) -> None:
    """A next version comes, without its last step, and goes again."""
    copy(CHECKOUT, story.next)
    add_migrations(story.next)
    options = ["-e", "site_upgrade_without_backup=true", "-e", "site_upgrade_without_contract=true"]
    old = story.on_host("readlink /opt/dirac/environments/current").strip()
    with story.load("next"):
        story.note("upgrade to the next", story.play(story.next, "upgrade", *options))
    new = story.on_host("readlink /opt/dirac/environments/current").strip()
    with story.load("back"):
        story.note("rollback", story.play(story.next, "rollback", "-e", f"confirm={SITE}"))
    now = story.on_host("readlink /opt/dirac/environments/current").strip()
    story.note("versions", {"old": old, "next": new, "back": now})
    story.note("found after the rollback", found(story))


def refused(story: Story) -> None:
    """The next version comes to stay, with its last step; going back is refused."""
    story.note(
        "upgrade for good", story.play(story.next, "upgrade", "-e", "site_upgrade_without_backup=true")
    )
    earlier = state(story)
    outcome = story.play(story.next, "rollback", "-e", f"confirm={SITE}", code=2)
    story.note(
        "refusal",
        {"said": outcome["said"][-3000:], "seconds": outcome["seconds"], "same": state(story) == earlier},
    )


CHAPTERS: dict[str, Callable[[Story], None]] = {
    chapter.__name__: chapter
    for chapter in (create, before, check, data, upgrade, again, back, refused, destroy)
}


def main() -> None:
    """Tell the chapters that are named."""
    story = Story(Path(sys.argv[1]).absolute())
    for name in sys.argv[2:]:
        began = time.monotonic()
        CHAPTERS[name](story)
        sys.stdout.write(f"{name}: {time.monotonic() - began:.0f} s\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
