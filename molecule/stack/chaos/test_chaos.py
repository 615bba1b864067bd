"""While jobs run, a server host, the database and a worker node fail: nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.hosts.fleet import Fleet

FLEET = Fleet(os.environ["DIRAC_FLEET"])
# Who stays: users type their commands here, as if it were their own machine.
DESK = "dirac2.example.org"
MEMBERS = {"astro": "alice", "bio": "bob", "chem": "carol"}
JOBS, LATE_JOBS, SECONDS = 14, 2, 10
PATIENCE = 900.0
RUN = f"chaos-{time.time_ns()}"
DIRAC = "/opt/dirac/environments/current/bin/dirac"
PASSWORDS = "/etc/dirac/secrets/passwords.json"
JDL = """\
Executable = "/bin/sh";
Arguments = "-c 'sleep {seconds}; echo $JOBID of {vo} > result.txt'";
OutputSandbox = {{ "std.out", "result.txt" }};
Parameters = {count};
JobName = "{run}";
CPUTime = 300;
"""


def on(host: str, command: str, given: str = "", *, must: bool = True) -> str:
    """Run a shell command on a host as its root; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.hosts", "ssh", FLEET.address(host), command],
        input=given, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert not must or done.returncode == 0, f"{host}: {command}: {done.stderr or done.stdout}"
    return done.stdout


def eventually(look: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Look until there is something; returns it."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(2)
    raise AssertionError(f"not within {patience:.0f} s: {what}")


def rows(query: str) -> list[list[str]]:
    """Ask the database itself."""
    return [line.split("\t") for line in on("db.example.org", "mariadb -N -B dirac", query).splitlines()]


@dataclass(frozen=True)
class Member:
    """A member of a VO at the command line."""

    vo: str
    user: str

    def dirac(self, words: str, given: str = "") -> Any:
        """Run a command of theirs; what it says as JSON."""
        home = f"/root/chaos/{self.vo}"
        environment = (
            f"HOME={home} DIRAC_URL=https://dirac.example.org DIRAC_CREDENTIALS={home}/credentials.json "
            f"DIRAC_DEMO_PASSWORDS=/root/chaos/passwords.json LC_ALL=C.UTF-8"
        )
        return json.loads(
            on(DESK, f"mkdir -p {home} && cd {home} && env {environment} {DIRAC} {words} --json", given)
        )

    def submit(self, count: int, key: str) -> list[int]:
        """Submit jobs, again and again with the same key until they are accepted."""
        jdl = JDL.format(run=RUN, vo=self.vo, count=count, seconds=SECONDS)

        def accepted() -> list[int]:
            try:
                return [job["JobID"] for job in self.dirac(f"job submit - --key {key}", jdl)]
            except AssertionError as error:
                tell(f"{self.vo} submits again: {str(error)[-120:]}")
                return []

        return list(eventually(accepted, f"jobs of {self.vo} are accepted", 180))


@pytest.fixture(scope="module")
def members() -> list[Member]:
    """The members, logged in."""
    passwords = on("dirac1.example.org", f"cat {PASSWORDS}")
    on(DESK, "install -d -m 700 /root/chaos && umask 077 && cat > /root/chaos/passwords.json", passwords)
    found = [Member(vo, user) for vo, user in MEMBERS.items()]
    for member in found:
        member.dirac(f"login {member.vo} --demo-user {member.user}")
    return found


def statuses() -> Counter[str]:
    """Count the jobs of this test."""
    found = rows(f"SELECT status, count(*) FROM workload_job WHERE job_name = '{RUN}' GROUP BY status")
    return Counter({status: int(count) for status, count in found})


def running_on(host: str) -> list[int]:
    """Return the jobs that run on a worker node now."""
    query = (
        "SELECT j.job_id FROM workload_job j JOIN workload_attempt a USING (job_id, attempt) "
        "JOIN workload_pilot p ON p.pilot_stamp = a.pilot_stamp "
        f"WHERE j.status = 'Running' AND p.pilot_reference LIKE '%{host}%'"
    )
    return [int(row[0]) for row in rows(query)]


@pytest.fixture(scope="module")
def faults() -> Iterator[None]:
    """Leave no host cut off."""
    yield
    for host in ("dirac1.example.org", "wn1.example.org"):
        if not FLEET.is_connected(host):
            FLEET.mend(host)


def tell(text: str) -> None:
    """Tell where the story is."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Tell it, with what the jobs are doing."""
    tell(f"{text}; jobs: {dict(statuses())}")


def in_parallel(members: list[Member], count: int, key: str) -> dict[str, list[int]]:
    """Let all members submit at a time."""
    with ThreadPoolExecutor() as pool:
        return dict(
            zip(
                [member.vo for member in members],
                pool.map(lambda member: member.submit(count, f"{key}-{member.vo}"), members),
                strict=True,
            )
        )


@pytest.mark.usefixtures("faults")
def test_nothing_is_lost_or_doubled(members: list[Member]) -> None:
    accepted = in_parallel(members, JOBS, RUN)

    def all_run() -> bool:
        running = rows(
            f"SELECT DISTINCT vo FROM workload_job WHERE status = 'Running' AND job_name = '{RUN}'"
        )
        return {row[0] for row in running} >= set(MEMBERS)

    eventually(all_run, "jobs of all VOs run")
    say("jobs of all VOs run")

    on("dirac1.example.org", "pkill -KILL -u dirac")
    say("the processes of dirac1 are killed")
    FLEET.cut("dirac1.example.org")
    more = in_parallel(members, LATE_JOBS, f"{RUN}-1")
    say("dirac1 is cut off, and more jobs are submitted")

    on("db.example.org", "systemctl restart mariadb")
    for vo, ids in in_parallel(members, LATE_JOBS, f"{RUN}-2").items():
        more[vo] += ids
    say("the database is restarted, and more jobs are submitted")

    interrupted = eventually(lambda: running_on("wn1"), "a job runs on wn1")
    FLEET.cut("wn1.example.org")
    say(f"wn1 is cut off, with jobs {interrupted}")
    those = ",".join(map(str, interrupted))
    lost = f"SELECT job_id FROM workload_attempt WHERE job_id IN ({those}) AND attempt > 1"
    eventually(lambda: rows(lost), "a job of wn1 runs elsewhere")
    say("its jobs run elsewhere")
    FLEET.mend("wn1.example.org")
    FLEET.mend("dirac1.example.org")
    say("both are back")

    jobs = {vo: accepted[vo] + more[vo] for vo in MEMBERS}
    total = sum(map(len, jobs.values()))
    eventually(lambda: statuses()["Done"] >= total or statuses()["Failed"], "all jobs have ended")
    say("all have ended")
    check_counts(jobs, interrupted)
    check_outputs(members, jobs)


def check_counts(jobs: dict[str, list[int]], interrupted: list[int]) -> None:
    """Each accepted job is there once, is Done, and one of its runs counts."""
    every = sorted(number for ids in jobs.values() for number in ids)
    assert len(every) == len(set(every))
    within = f"job_id BETWEEN {every[0]} AND {every[-1]}"
    stored = rows(f"SELECT job_id, vo, status, attempt FROM workload_job WHERE {within} ORDER BY job_id")
    assert [int(row[0]) for row in stored] == every, "jobs that were accepted are those that are stored"
    assert {int(row[0]): row[1] for row in stored} == {
        number: vo for vo, ids in jobs.items() for number in ids
    }
    assert {row[2] for row in stored} == {"Done"}
    last = {int(row[0]): int(row[3]) for row in stored}
    runs = rows(f"SELECT job_id, attempt, outcome FROM workload_attempt WHERE {within}")
    good = [(int(job), int(attempt)) for job, attempt, outcome in runs if outcome == "Done"]
    assert sorted(good) == sorted(last.items()), "one run counts, the last"
    assert Counter(int(row[0]) for row in runs) == last, "run numbers have no gaps"
    ended = rows(
        "SELECT subject_id, count(*) FROM event WHERE kind = 'workload.job.status' "
        "AND JSON_VALUE(data, '$.Status') = 'Done' GROUP BY subject_id"
    )
    counted = {int(row[0]): int(row[1]) for row in ended if row[0].isdigit()}
    assert {number: counted.get(number) for number in every} == dict.fromkeys(every, 1), "each ended once"
    repeated = {job: attempt for job, attempt in last.items() if attempt > 1}
    tell(f"runs beyond the first: {repeated}")
    assert set(interrupted) & set(repeated), "no job of the node that was cut off ran again"


def check_outputs(members: list[Member], jobs: dict[str, list[int]]) -> None:
    """Each job has the one output that it made."""
    for member in members:
        numbers = " ".join(map(str, jobs[member.vo]))
        place = f"/root/chaos/{member.vo}/output"
        on(DESK, f"rm -rf {place}")
        member.dirac(f"job output {numbers} --dir {place}")
        said = on(DESK, f"cat $(find {place} -name result.txt)").splitlines()
        assert sorted(said) == sorted(f"{number} of {member.vo}" for number in jobs[member.vo])


def test_the_server_that_came_back_works() -> None:
    ready = "curl -fsS --resolve dirac1.example.org:8443:127.0.0.1 https://dirac1.example.org:8443/api/health/ready"
    eventually(lambda: "ready" in on("dirac1.example.org", ready, must=False), "dirac1 is ready", 120)


def test_no_background_work_is_parked(members: list[Member]) -> None:
    assert rows("SELECT name FROM task WHERE state = 'Parked'") == []
    assert members
