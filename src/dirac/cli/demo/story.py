"""The story of the demo, told with the same calls that a user's commands make."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dirac.cli.command import command
from dirac.cli.demo import workload
from dirac.cli.demo.stop import Root
from dirac.cli.output import Json, print_json, progress
from dirac.cli.report import heading, paint, print_explanation, print_log
from dirac.core.errors import DiracError
from dirac.core.search import Condition

if TYPE_CHECKING:
    from dirac.client import Client

_TIMEOUT = 300.0
_PASSWORDS = "DIRAC_DEMO_PASSWORDS"
_MOST = 10_000


@dataclass(frozen=True)
class Jobs:
    """The jobs of the story, by the part they play."""

    pi: list[int]
    failing: int
    impossible: int
    bases: int


@command(
    "dirac demo run --root .demo --port 8912",
    "dirac demo run --json  # {jobs, pi, error, points, seconds, ...}",
)
def run(
    root: Root = Path(".demo"),
    port: Annotated[
        int,
        typer.Option(
            "--port", metavar="N", envvar="DIRAC_DEMO_PORT", min=1, max=65535, help="The server's port."
        ),
    ] = 8912,
    as_json: Json = False,
) -> None:
    """Run real jobs as two users of two virtual organisations, and show what came of them."""
    Story(root.resolve(), f"http://127.0.0.1:{port}", quiet=as_json).tell()


class Story:
    """One run of the demo.

    Args:
        root: The demo's directory.
        url: The server.
        quiet: Print nothing but JSON at the end.
    """

    def __init__(self, root: Path, url: str, *, quiet: bool = False) -> None:
        self._root = root
        self._url = url
        self._quiet = quiet
        self._began = time.monotonic()
        os.environ.setdefault(_PASSWORDS, str(root / "server/secrets/passwords.json"))

    def tell(self) -> None:
        """Tell it from the beginning to the end.

        Raises:
            DiracError: Something went otherwise than it should have.
        """
        with ExitStack() as stack:
            if self._quiet:
                # Only the answer goes to standard output; the story is for people.
                stack.enter_context(_silence())
            alice = stack.enter_context(self._client("alice", "astro"))
            bob = stack.enter_context(self._client("bob", "bio"))
            self._log_in(alice, "astro", "alice")
            self._log_in(bob, "bio", "bob")
            for client in (alice, bob):
                _clear_away(client)
            jobs = self._submit(alice, bob)
            rows = self._watch(alice, bob, jobs)
            files = self._download(alice, bob, jobs)
            _check_states(rows, jobs)
            estimate = self._merge(jobs, files)
            self._show(alice, jobs)
            self._farewell(jobs)
        if self._quiet:
            facts = {
                "jobs": vars(jobs),
                "pi": estimate.value,
                "error": estimate.error,
                "points": estimate.points,
            }
            print_json({**facts, "outputs": str(self._root / "outputs"), "seconds": self._seconds()})

    def _client(self, user: str, vo: str) -> Client:
        from dirac.client import Client, Session

        return Client(session=Session(self._url, self._credentials(user), vo=vo))

    def _credentials(self, user: str) -> Path:
        return self._root / "home" / user / "credentials.json"

    def _seconds(self) -> float:
        return round(time.monotonic() - self._began, 1)

    def _log_in(self, client: Client, vo: str, user: str) -> None:
        from dirac.cli.login import device_login

        if vo == "astro":
            heading("Two users log in, by the device flow of OAuth 2.0")
        _typed(f"dirac login {vo} --demo-user {user}")
        found = device_login(client, vo, demo_user=user)
        print(f"Logged in: {found.preferred_username}, VO {found.vo}, group {found.dirac_group}.")

    def _submit(self, alice: Client, bob: Client) -> Jobs:
        work = self._root / "work"
        workload.write(work)
        heading(f"They submit jobs (the files are in {_short(work)})")

        def submit(client: Client, name: str, remark: str) -> list[int]:
            _typed(f"dirac job submit {name}", remark)
            found = client.jobs.submit((work / name).read_text(), base_dir=work)
            return [job.JobID for job in found]

        jobs = Jobs(
            pi=submit(alice, "pi.jdl", f"alice: {workload.TASKS} jobs, pi by random numbers"),
            failing=submit(alice, "failing.jdl", "alice: its program fails")[0],
            impossible=submit(alice, "impossible.jdl", "alice: needs what nobody here has")[0],
            bases=submit(bob, "bases.jdl", "bob: a job of the other VO")[0],
        )
        print(f"Jobs {jobs.pi[0]}-{jobs.impossible} of astro and job {jobs.bases} of bio are accepted.")
        return jobs

    def _watch(self, alice: Client, bob: Client, jobs: Jobs) -> dict[int, dict[str, Any]]:
        from dirac.cli.live import Watched, all_ended, watch

        heading("Pilots are started because there is work, and run it")
        _typed(f"dirac job watch {jobs.pi[0]}-{jobs.failing}")
        ids = [*jobs.pi, jobs.failing]
        try:
            return watch(
                [Watched(alice, ids, "astro"), Watched(bob, [jobs.bases], "bio")],
                until=all_ended,
                timeout=_TIMEOUT,
            )
        except DiracError as error:
            error.hint = error.hint or f"Look at {self._root}/server/log/server.log and {self._root}/pilots"
            raise

    def _download(self, alice: Client, bob: Client, jobs: Jobs) -> dict[int, list[Path]]:
        outputs = self._root / "outputs"
        heading("They download the outputs")
        _typed(f"dirac job output {jobs.pi[0]}-{jobs.failing} --dir {_short(outputs)}")
        with progress("Downloading", quiet=self._quiet) as report:
            files = alice.jobs.output([*jobs.pi, jobs.failing], outputs, progress=report)
        files |= bob.jobs.output([jobs.bases], outputs)
        print(f"{sum(map(len, files.values()))} files of {len(files)} jobs are in {_short(outputs)}.")
        return files

    def _merge(self, jobs: Jobs, files: Mapping[int, Sequence[Path]]) -> workload.Estimate:
        estimate = workload.merge(workload.read_results(jobs.pi, files))
        print(
            paint(
                f"pi = {estimate.value:.5f} +- {estimate.error:.5f} from {estimate.points:,} points of "
                f"{len(jobs.pi)} jobs: {estimate.deviation():.1f} standard errors from the truth. Checked.",
                "green",
            )
        )
        return estimate

    def _show(self, alice: Client, jobs: Jobs) -> None:
        heading("The life of one job")
        _typed(f"dirac job log {jobs.pi[0]}")
        print_log(alice.jobs.logging(jobs.pi[0]))
        heading("Why one job does not run")
        _typed(f"dirac job explain {jobs.impossible}")
        print_explanation(alice.jobs.explain(jobs.impossible))
        heading("Why one job failed")
        _typed(f"dirac job status {jobs.failing}; dirac job params {jobs.failing} StandardErrorTail")
        row = alice.jobs.status([jobs.failing])[jobs.failing]
        print(f"Job {jobs.failing} {row['Status']}: {row['MinorStatus']}, {row['ApplicationStatus']}")
        tail = alice.jobs.parameters(jobs.failing).get("StandardErrorTail")
        if not tail:
            raise DiracError(f"job {jobs.failing} failed without the end of its standard error on record")
        print("\n".join(paint(f"  {line}", "red") for line in str(tail).splitlines()))

    def _farewell(self, jobs: Jobs) -> None:
        environment = self._write_environment()
        heading(f"That took {self._seconds()} s. Now you")
        print(f"  The API and its documentation   {self._url}/api/docs")
        source = f"source {shlex.quote(_short(environment))}"
        print(f"  Be alice in this shell          {paint(source, 'green')}")
        for line, remark in (
            ("dirac job list", "your jobs"),
            (f"dirac job describe {jobs.pi[0]}", "all about one"),
            (f"dirac job submit {shlex.quote(_short(self._root / 'work/pi.jdl'))} --watch", "once more"),
            ("dirac --help", "everything else"),
        ):
            print(f"  {paint(line, 'green')}" + (paint(f"   # {remark}", "dim") if remark else ""))

    def _write_environment(self) -> Path:
        """Write what makes a shell alice's; sourcing it again changes nothing more."""
        path = self._root / "env.sh"
        programs = shlex.quote(str(self._root / "environment/current/bin"))
        values = {
            "DIRAC_URL": self._url,
            "DIRAC_CREDENTIALS": str(self._credentials("alice")),
            _PASSWORDS: str(self._root / "server/secrets/passwords.json"),
        }
        lines = [
            "# Makes a shell the one of alice, a user of the demo: source it.",
            *(f"export {name}={shlex.quote(value)}" for name, value in values.items()),
            f'case ":$PATH:" in *:{programs}:*) ;; *) export PATH={programs}:"$PATH" ;; esac',
        ]
        path.write_text("\n".join(lines) + "\n")
        return path


def _clear_away(client: Client) -> None:
    """Kill what earlier demos have left waiting, so that the view and the explanation are of this one."""
    from dirac.cli.live import ENDED

    search = [
        Condition("JobGroup", "eq", workload.GROUP),
        Condition("Status", "not in", values=[*sorted(ENDED)]),
    ]
    rows = client.jobs.search(search=search, parameters=["JobID"], per_page=_MOST).rows
    if rows:
        client.jobs.kill([row["JobID"] for row in rows])
        print(f"{len(rows)} job{'s' if len(rows) > 1 else ''} of an earlier demo killed.")


def _check_states(rows: Mapping[int, Mapping[str, Any]], jobs: Jobs) -> None:
    """Check that every job has ended as it should.

    Raises:
        DiracError: One has not.
    """
    expected = {**dict.fromkeys([*jobs.pi, jobs.bases], "Done"), jobs.failing: "Failed"}
    for job_id, state in expected.items():
        row = rows[job_id]
        if row["Status"] != state:
            raise DiracError(
                f"job {job_id} is {row['Status']} ({row['MinorStatus']}) instead of {state}",
                hint=f"Look at it: dirac job describe {job_id}",
            )


def _typed(line: str, remark: str = "") -> None:
    print(paint(f"$ {line}", "green") + (paint(f"   # {remark}", "dim") if remark else ""), flush=True)


def _short(path: Path) -> str:
    """Return a path as it is typed here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _silence() -> Any:
    from contextlib import redirect_stdout

    return redirect_stdout(sys.stderr)
