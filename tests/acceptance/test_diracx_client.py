"""DiracX's published command line, client and API package, unmodified, against a server of ours over TLS."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dirac.transport.tls import client_context
from tests.acceptance.installation import Installation, eventually
from tests.acceptance.published import Shell

ECHO = 'Executable = "/bin/echo"; Arguments = "job %j"; StdOutput = "std.out"; OutputSandbox = "std.out";'
NOWHERE = 'Executable = "/bin/true"; Site = "LCG.Nowhere.org";'
ADDRESS = re.compile(r"https://\S+user_code=(\S+)")
ARCHIVE = r"SB:SandboxSE\|/S3/[a-z]+/astro/astro_admin/alice/sha256:[0-9a-f]{64}\.tar\.zst"
SEARCH = ("JobID", "Status", "MinorStatus", "RescheduleCounter")


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A running installation that serves TLS."""
    running = Installation(tmp_path_factory.mktemp("secure"), tls=True)
    try:
        running.deploy()
        yield running
    finally:
        running.close()


def log_in(installation: Installation, vo: str, user: str, *words: str) -> Shell:
    """Log somebody in with DiracX's command; what a person does in a browser is done here."""
    assert installation.authority is not None
    ca_file = installation.authority.ca
    shell = Shell(installation.directory / "diracx" / user, installation.url, ca_file)
    password = json.loads(installation.passwords.read_text())[vo][user]
    with shell.begin("login", vo, *words) as login:
        assert login.stdout is not None
        address = next(found for line in login.stdout if (found := ADDRESS.search(line)))
        with httpx.Client(verify=client_context(ca_file)) as browser:
            page = browser.get(address[0])
            assert (page.status_code, vo in page.text) == (200, True)
            form = {"user_code": address[1], "username": user, "password": password}
            confirmed = browser.post(f"{installation.url}/api/auth/device/confirm", data=form)
            assert confirmed.status_code == 303, confirmed.text
        said = login.stdout.read()
    assert (login.returncode, "Login successful" in said) == (0, True), said
    return shell


@pytest.fixture(scope="module")
def alice(secure: Installation) -> Shell:
    """An administrator of the VO astro."""
    return log_in(secure, "astro", "alice", "--group", "astro_admin")


@pytest.fixture(scope="module")
def bob(secure: Installation) -> Shell:
    """An administrator of the VO bio."""
    return log_in(secure, "bio", "bob", "--group", "bio_admin")


def submitted(shell: Shell, *jdls: str) -> list[int]:
    """Submit jobs with their client."""
    numbers: list[int] = shell.python(
        "answer = [job.job_id for job in await api.jobs.submit_jdl_jobs(given['jdls'])]", jdls=list(jdls)
    )
    return numbers


def rows(shell: Shell, jobs: list[int]) -> list[list[Any]]:
    """Return the values of `SEARCH` of jobs, in order, with their client."""
    found: list[list[Any]] = shell.python(
        """
rows = await api.jobs.search(
    parameters=given["names"],
    search=[{"parameter": "JobID", "operator": "in", "values": given["jobs"]}],
    sort=[{"parameter": "JobID", "direction": "asc"}],
)
answer = [[row[name] for name in given["names"]] for row in rows]
""",
        jobs=jobs,
        names=SEARCH,
    )
    return found


def set_status(shell: Shell, jobs: list[int], status: str, **given: Any) -> dict[str, Any]:
    """Report a state of jobs with their client."""
    told: dict[str, Any] = shell.python(
        """
update = lambda: {str(datetime.now(UTC)): models.JobStatusUpdate(status=given["status"], source="Test")}
told = await api.jobs.set_job_statuses({str(job): update() for job in given["jobs"]}, force=given["force"])
answer = told.as_dict()
""",
        jobs=jobs,
        status=status,
        force=given.get("force", False),
    )
    return told


def test_a_user_works_with_their_command(alice: Shell, bob: Shell) -> None:
    who = json.loads(alice.run("whoami"))
    assert (who["sub"], who["dirac_group"]) == ("astro:alice", "astro_admin")
    assert "astro" in json.loads(alice.run("config", "dump"))["Registry"]
    (alice.home / "job.jdl").write_text(ECHO)
    (number,) = re.findall(r"Inserted 1 jobs with ids: (\d+)", alice.run("jobs", "submit", "job.jdl"))
    one = ("--condition", f"JobID eq {number}")

    def done() -> bool:
        (row,) = json.loads(alice.run("jobs", "search", *one))
        assert row["Owner"] == "alice"
        return bool(row["Status"] == "Done")

    eventually(done, "a pilot runs the job")
    (whole,) = json.loads(alice.run("jobs", "search", *one, "--all"))
    assert (whole["VO"], whole["Site"], whole["RescheduleCounter"]) == ("astro", "DIRAC.Observatory.org", 0)
    several = ("--condition", f"JobID in [{number}]", "--condition", "Status neq Failed", "--per-page", "1")
    assert len(json.loads(alice.run("jobs", "search", *several))) == 1
    assert json.loads(bob.run("jobs", "search", *one)) == []
    alice.run("jobs", "search", "--condition", "Nothing eq 1", code=1)


def test_sandboxes_travel_both_ways(alice: Shell, bob: Shell, tmp_path: Path) -> None:
    said = alice.python(
        """
place = Path(given["place"])
(place / "data").mkdir()
(place / "data" / "in.txt").write_text("in the directory")
(place / "script.sh").write_text("#!/bin/sh\\ncat data/in.txt > out.txt; echo done")
(place / "script.sh").chmod(0o755)
paths = [place / "script.sh", place / "data"]
pfn = await create_sandbox(paths, client=api)
again = await create_sandbox(paths, client=api)
await download_sandbox(pfn, place / "back", client=api)
jdl = 'Executable = "script.sh"; StdOutput = "o"; OutputSandbox = {"o", "out.txt"}; InputSandbox = "%s";'
jobs = await api.jobs.submit_jdl_jobs([jdl % pfn, jdl % pfn.partition("|")[2]])
answer = [pfn, again, [job.job_id for job in jobs]]
""",
        place=str(tmp_path),
    )
    pfn, again, jobs = said
    assert pfn == again
    assert re.fullmatch(ARCHIVE, pfn)
    assert (tmp_path / "back/data/in.txt").read_text() == "in the directory"
    eventually(lambda: {row[1] for row in rows(alice, jobs)} == {"Done"}, "pilots run both jobs")
    got = alice.python(
        """
answer = []
for job in given["jobs"]:
    outputs = await api.jobs.get_job_sandbox(job, "output")
    place = Path(given["place"]) / str(job)
    await download_sandbox(outputs[0], place, client=api)
    answer.append([(place / "o").read_text(), (place / "out.txt").read_text()])
    both = await api.jobs.get_job_sandboxes(job)
    answer.append([both["Input"], both["Output"] == outputs])
""",
        jobs=jobs,
        place=str(tmp_path),
    )
    assert got == [["done\n", "in the directory"], [[pfn.partition("|")[2]], True]] * 2
    foreign = """
answer = []
for call in (
    api.jobs.get_sandbox_file(pfn=given["pfn"]),
    api.jobs.get_job_sandboxes(given["job"]),
    api.jobs.unassign_job_sandboxes(given["job"]),
    api.jobs.assign_sandbox_to_job(given["job"], given["pfn"]),
):
    try:
        answer.append(await call)
    except HttpResponseError as error:
        answer.append(error.status_code)
"""
    assert bob.python(foreign, job=jobs[0], pfn=pfn) == [404, 404, 404, 404]
    left = alice.python(
        """
await api.jobs.unassign_job_sandboxes(given["jobs"][0])
await api.jobs.unassign_bulk_jobs_sandboxes(models.BodyJobsUnassignBulkJobsSandboxes(job_ids=given["jobs"]))
await api.jobs.assign_sandbox_to_job(given["jobs"][0], given["pfn"])
answer = [await api.jobs.get_job_sandboxes(job) for job in given["jobs"]]
""",
        jobs=jobs,
        pfn=pfn,
    )
    assert left == [{"Input": [], "Output": [pfn.partition("|")[2]]}, {"Input": [], "Output": []}]


def test_pages_say_what_they_are(alice: Shell) -> None:
    jobs = submitted(alice, *[NOWHERE] * 5)
    assert len(jobs) == len(set(jobs)) == 5
    found = alice.python(
        """
which = {"search": [{"parameter": "JobID", "operator": "in", "values": given["jobs"]}],
         "sort": [{"parameter": "JobID", "direction": "desc"}], "parameters": ["JobID"], "cls": ranges}
answer = [await api.jobs.search(**which), await api.jobs.search(**which, page=2, per_page=2)]
try:
    await api.jobs.search(**which, page=4, per_page=2)
except HttpResponseError as error:
    answer.append([error.status_code, error.response.headers["Content-Range"]])
log = await api.jobs.search(parameters=["LoggingInfo"], search=which["search"], per_page=1)
answer.append([[entry["Status"] for entry in log[0]["LoggingInfo"]], "Owner" in log[0]])
counts = await api.jobs.summary(grouping=["Status", "VO"], search=which["search"])
answer.append(counts)
""",
        jobs=jobs,
    )
    falling = [{"JobID": job} for job in sorted(jobs, reverse=True)]
    assert found == [
        [falling, None],
        [falling[2:4], "jobs 2-3/5"],
        [416, "jobs */5"],
        [["Waiting"], True],
        [{"Status": "Waiting", "VO": "astro", "count": 5}],
    ]


def test_a_failed_job_is_really_rescheduled(alice: Shell) -> None:
    (job,) = submitted(alice, 'Executable = "/bin/false";')
    ended = [job, "Failed", "Application Finished With Errors"]
    eventually(lambda: rows(alice, [job]) == [[*ended, 0]], "a pilot runs the job")
    told = alice.python(
        """
body = models.BodyJobsRescheduleJobs(job_ids=[given["job"], 999_999_999])
answer = await api.jobs.reschedule_jobs(body)
""",
        job=job,
    )
    assert told["success"][str(job)]["Status"] == "Waiting"
    assert "999999999" in told["failed"]["999999999"]["detail"]
    eventually(lambda: rows(alice, [job]) == [[*ended, 1]], "a pilot runs the job again")


def test_a_state_that_cannot_follow_is_reported_for_its_job(alice: Shell) -> None:
    waiting, killed = submitted(alice, NOWHERE, NOWHERE)
    assert set_status(alice, [killed], "Killed")["success"][str(killed)]["status"] == "Killed"
    told = set_status(alice, [waiting, killed, 999_999_999], "Running")
    assert set(told["failed"]) == {str(waiting), str(killed), "999999999"}
    assert "Killed" in told["failed"][str(killed)]["detail"]
    assert rows(alice, [killed])[0][1] == "Killed"
    forced = set_status(alice, [killed], "Waiting", force=True)
    assert forced["success"][str(killed)]["status"] == "Waiting"


def test_two_heartbeats_in_a_second_and_what_is_told(alice: Shell) -> None:
    job, killed = submitted(alice, NOWHERE, NOWHERE)
    set_status(alice, [killed], "Killed")
    told = alice.python(
        """
beat = models.HeartbeatData(load_average=1.5, memory_used=1024.0, standard_output="the end of it")
answer = []
for _ in range(3):
    commands = await api.jobs.add_heartbeat({str(job): beat for job in given["jobs"]})
    answer.append([[command.job_id, command.command] for command in commands])
metadata = {"Site": "LCG.Here.org", "HostName": "n7", "CPUNormalizationFactor": 10, "Extra": {"a": [1]}}
await api.jobs.patch_metadata({given["jobs"][0]: metadata})
rows = await api.jobs.search(
    parameters=["Site"], search=[{"parameter": "JobID", "operator": "eq", "value": given["jobs"][0]}])
answer.append(rows)
try:
    await api.jobs.patch_metadata({given["jobs"][0]: {"Owner": "mallory"}})
except HttpResponseError as error:
    answer.append(error.status_code)
""",
        jobs=[job, killed],
    )
    assert told == [[[killed, "Kill"]]] * 3 + [[{"Site": "LCG.Here.org"}], 400]


def test_other_vos_jobs_are_not_there(alice: Shell, bob: Shell) -> None:
    (job,) = submitted(alice, NOWHERE)
    told = bob.python(
        """
answer = []
beat = models.HeartbeatData(load_average=1.5)
for call in (
    api.jobs.set_job_statuses({str(given["job"]): {str(datetime.now(UTC)): {"Status": "Killed"}}}),
    api.jobs.reschedule_jobs(models.BodyJobsRescheduleJobs(job_ids=[given["job"]])),
    api.jobs.add_heartbeat({str(given["job"]): beat}),
    api.jobs.patch_metadata({given["job"]: {"HostName": "x"}}),
    api.jobs.unassign_bulk_jobs_sandboxes(models.BodyJobsUnassignBulkJobsSandboxes(job_ids=[given["job"]])),
):
    try:
        answer.append(await call)
    except HttpResponseError as error:
        answer.append(error.status_code)
foreign = [{"parameter": "VO", "operator": "eq", "value": "astro"}]
answer.append(await api.jobs.search(search=foreign))
answer.append(await api.jobs.summary(grouping=["VO"], search=foreign))
""",
        job=job,
    )
    assert told == [404] * 5 + [[], []]
    assert rows(alice, [job])[0][:2] == [job, "Waiting"]


def test_what_clients_need_besides_jobs(alice: Shell) -> None:
    metadata, keys, security, endpoints, logins = alice.python(
        """
answer = [
    (await api.well_known.get_installation_metadata()).as_dict(),
    await api.well_known.get_jwks(),
    await api.well_known.get_security_txt(),
    (await api.well_known.get_openid_configuration()).as_dict(),
    await api.auth.get_refresh_tokens(),
]
"""
    )
    assert metadata["virtual_organizations"]["astro"]["default_group"] == "astro_user"
    assert {key["kty"] for key in keys["keys"]} == {"OKP"}
    assert security.startswith("Contact:")
    assert endpoints["token_endpoint"].endswith("/api/auth/token")
    assert {login["Sub"] for login in logins} == {"astro:alice"}


def test_a_login_is_renewed_and_ends(secure: Installation) -> None:
    adam = log_in(secure, "astro", "adam")
    file = adam.home / ".cache/diracx/credentials.json"
    first = json.loads(file.read_text())
    file.write_text(json.dumps(first | {"expires_on": 0}))
    assert json.loads(adam.run("whoami"))["dirac_group"] == "astro_user"
    second = json.loads(file.read_text())
    assert second["access_token"] != first["access_token"]
    assert second["refresh_token"] != first["refresh_token"]
    assert "Error" not in adam.run("logout")
    assert not file.exists()
    file.write_text(json.dumps(second | {"expires_on": 0}))
    adam.run("whoami", code=1)  # the refresh token was revoked with it
