"""Kill -9 at any moment loses nothing and doubles nothing.

Each scenario submits jobs while something is killed twenty times or more at random moments, and then counts:
jobs, runs, outputs. The seed is printed with a failure; set DIRAC_TEST_SEED to repeat one.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from dirac.core.search import Condition
from tests.acceptance.installation import Installation, eventually

KILLS = 20
FINAL = {"Done", "Failed", "Killed", "Completed", "Deleted"}
JDL = """\
Executable = "run.sh";
Arguments = "%s";
InputSandbox = {"run.sh"};
OutputSandbox = {"std.out", "result.txt"};
Parameters = 4;
JobGroup = "crash";
"""
SCRIPT = """\
#!/bin/sh
sleep 0.$(($1 % 4))
echo "parameter $1 job $JOBID" > result.txt
"""


class Users(threading.Thread):
    """Submits bulk after bulk of four jobs until told to stop; remembers what was accepted."""

    def __init__(self, installation: Installation, directory: Path) -> None:
        super().__init__(daemon=True)
        self._installation = installation
        self._directory = directory
        self._enough = threading.Event()
        self.accepted: list[int] = []
        self.error: BaseException | None = None
        (directory / "run.sh").write_text(SCRIPT)

    def run(self) -> None:
        """Submit."""
        try:
            client = self._installation.client("alice")
            while not self._enough.is_set():
                # One call, one key: the client repeats it until a server answers.
                jobs = client.jobs.submit(JDL, base_dir=self._directory)
                self.accepted += [job.JobID for job in jobs]
                self._enough.wait(1.0)
        except BaseException as error:
            self.error = error

    def stop(self) -> list[int]:
        """Stop submitting; return the jobs that were accepted."""
        self._enough.set()
        self.join(330)
        assert self.error is None, f"a submission failed: {self.error!r}"
        assert not self.is_alive(), "a submission hangs"
        return self.accepted


def kill_server(installation: Installation, chance: random.Random) -> None:
    """Kill the server at a random moment and start it again."""
    time.sleep(chance.uniform(0.0, 1.5))
    installation.kill_server()
    installation.server("up")


def kill_runner(installation: Installation, chance: random.Random) -> None:
    """Kill the process of the in-process runner while it carries a task out; start it again."""

    def at_work() -> bool:
        return bool(installation.rows("SELECT 1 FROM task WHERE state = 'Running'"))

    eventually(at_work, "a background task runs")
    time.sleep(chance.uniform(0.0, 0.02))
    installation.kill_server()
    installation.server("up")


def kill_pilot(installation: Installation, chance: random.Random) -> None:
    """Kill one of the pilots at a random moment; the factory starts another one."""
    pilots = eventually(installation.pilot_pids, "a pilot runs")
    time.sleep(chance.uniform(0.0, 1.5))
    for pid in chance.sample(pilots, 1):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def wait_for_all(installation: Installation, job_ids: list[int]) -> Counter[str]:
    """Wait until all jobs have ended; return how."""
    client = installation.client("alice")

    def states() -> Counter[str]:
        rows = client.jobs.summary(["Status"], search=[Condition("JobGroup", "eq", value="crash")])
        return Counter({row["Status"]: row["count"] for row in rows})

    def ended() -> bool:
        return sum(count for status, count in states().items() if status in FINAL) >= len(job_ids)

    eventually(ended, "all jobs have ended", patience=240)
    return states()


def check_counts(installation: Installation, job_ids: list[int], directory: Path) -> None:
    """Count jobs, runs and outputs: each job once, with one successful run and one output."""
    stored = installation.rows("SELECT job_id, status FROM workload_job ORDER BY job_id")
    assert [row["job_id"] for row in stored] == sorted(job_ids), "accepted jobs and stored jobs are the same"
    assert {row["status"] for row in stored} == {"Done"}
    good = installation.rows(
        "SELECT job_id, count(*) AS n FROM workload_attempt WHERE outcome = 'Done' GROUP BY job_id"
    )
    assert {row["job_id"]: row["n"] for row in good} == dict.fromkeys(job_ids, 1), "one successful run each"
    done = installation.rows(
        "SELECT subject_id, count(*) AS n FROM event WHERE kind = 'workload.job.status' "
        "AND json_extract(data, '$.Status') = 'Done' GROUP BY subject_id"
    )
    assert {int(row["subject_id"]): row["n"] for row in done} == dict.fromkeys(job_ids, 1), "each ended once"
    files = installation.client("alice").jobs.output(job_ids, directory)
    for job_id in job_ids:
        assert sorted(path.name for path in files[job_id]) == ["result.txt", "std.out"]
        assert (directory / str(job_id) / "result.txt").read_text().endswith(f"job {job_id}\n")


OPTIONS = {"lease": 30, "heartbeat": 1, "reschedules": 100, "idle": 3}


@pytest.mark.parametrize("fresh_installation", [OPTIONS], indirect=True)
@pytest.mark.parametrize("kill", [kill_server, kill_runner, kill_pilot])
def test_nothing_is_lost_or_doubled(
    fresh_installation: Installation,
    kill: Callable[[Installation, random.Random], None],
    tmp_path: Path,
) -> None:
    seed = int(os.environ.get("DIRAC_TEST_SEED") or random.randrange(2**32))
    print(f"DIRAC_TEST_SEED={seed}")
    chance = random.Random(seed)
    users = Users(fresh_installation, tmp_path)
    users.start()
    # How many jobs come in between two kills is the machine's business: too few would show nothing.
    kills = 0
    while kills < KILLS or (len(users.accepted) < KILLS and kills < 5 * KILLS):
        kill(fresh_installation, chance)
        kills += 1
    job_ids = users.stop()
    assert len(job_ids) >= KILLS
    assert wait_for_all(fresh_installation, job_ids) == Counter({"Done": len(job_ids)})
    check_counts(fresh_installation, job_ids, tmp_path / "outputs")
