"""Jobs, from submission to output."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from dirac.client.aio.control import Control
from dirac.client.aio.pages import Listing
from dirac.client.aio.sandboxes import Sandboxes
from dirac.client.aio.waiting import Waiting
from dirac.core.entropy import Entropy
from dirac.core.search import Condition, Page, Paging, SearchParams, Sort
from dirac.core.time import Clock
from dirac.systems.workload.models import (
    Explanation,
    HeartbeatData,
    InsertedJob,
    JobCommand,
    JobJdl,
    JobStatusUpdate,
    LogEntry,
    MatchAnswer,
    MatchRequest,
    Outcome,
    Peek,
    Rehearsal,
    Row,
    SandboxType,
    ShadowReport,
)
from dirac.transport.http_client import HttpClient, Progress

# What an answer may take on top of the time that the server may hold a request.
_ANSWER_SECONDS = 30.0


class Jobs(Control):
    """Calls about jobs."""

    def __init__(self, http: HttpClient, sandboxes: Sandboxes, clock: Clock, entropy: Entropy) -> None:
        super().__init__(http)
        self._sandboxes = sandboxes
        self._clock = clock
        self._entropy = entropy
        self._listing = Listing(http, "/api/jobs")

    async def submit(
        self,
        jdl: str | Sequence[str],
        *,
        base_dir: Path | None = None,
        key: str | None = None,
        progress: Progress | None = None,
    ) -> list[InsertedJob]:
        """Submit jobs: all of them, or none.

        Local files in ``InputSandbox`` are packed into one archive per description and uploaded first,
        unless the server has an equal one; the description then refers to it.

        Args:
            jdl: A description in JDL, YAML or JSON, or several; a parametric one stands for many jobs.
            base_dir: The directory that local files are relative to; the current one if not given.
            key: Idempotency key: the same again returns the same jobs instead of new ones. By default a
                new random one, which makes tries after a failure of the network safe.
            progress: Called with the bytes of an archive that were sent and the bytes in all.

        Returns:
            The jobs, in the order of the descriptions.

        Raises:
            InvalidInputError: A description is wrong, or a local file is not there; nothing is submitted.
            NotAllowedError: The caller may not submit jobs.

        Example::

            [job] = await client.jobs.submit(Path("job.jdl").read_text(), base_dir=Path("work"))
        """
        from dirac.client.aio.uploads import with_uploads  # most commands pack and parse nothing

        texts = [jdl] if isinstance(jdl, str) else list(jdl)
        key = key or self._entropy.bytes(16).hex()
        ready = await with_uploads(texts, (base_dir or Path()).absolute(), self._sandboxes, progress)
        headers = {"Idempotency-Key": key}
        return await self._http.call("POST", "/api/jobs/jdl", list[InsertedJob], body=ready, headers=headers)

    async def check(self, jdl: str | Sequence[str], *, base_dir: Path | None = None) -> Rehearsal:
        """Say what `submit` would do with the same arguments; nothing is uploaded or submitted.

        Raises:
            InvalidInputError: A description is wrong, or a local file is not there.

        Example::

            found = await client.jobs.check('Executable = "/bin/date";')
            print(found.jobs, [each.fitting for each in found.classes])
        """
        from dirac.client.aio.uploads import checked

        texts = [jdl] if isinstance(jdl, str) else list(jdl)
        checked(texts, (base_dir or Path()).absolute())
        return await self._http.call("POST", "/api/jobs/jdl/check", Rehearsal, body=texts, repeatable=True)

    async def search(
        self,
        *,
        search: Sequence[Condition] = (),
        parameters: Sequence[str] | None = None,
        sort: Sequence[Sort] = (),
        distinct: bool = False,
        page: int = 1,
        per_page: int = 100,
        cursor: str | None = None,
        count: bool | None = None,
    ) -> Page:
        """Return one page of the jobs that the caller may see.

        Args:
            search: Conditions, all of which must hold.
            parameters: What to return of each job; all if not given.
            sort: Order, by the job's number if not given.
            distinct: Leave out equal rows.
            page: Number of the page, from 1.
            per_page: Rows per page, up to 10 000.
            cursor: Instead of `page`: `Page.cursor` of the page before, empty for the beginning.
            count: Count all jobs that fit, exactly, or not at all. By default pages by number have a
                total, which beyond 10 000 may be a lower bound (`Page.exact`); those by cursor have none.

        Raises:
            InvalidInputError: A parameter or a value is not known.

        Example::

            page = await client.jobs.search(search=[Condition("Status", "in", values=["Failed"])])
            print(page.total, page.rows)
        """
        wanted = SearchParams(_maybe(parameters), list(search), list(sort), distinct)
        return await self._listing.page(wanted, Paging(page, per_page, cursor, count))

    def iterate(
        self,
        *,
        search: Sequence[Condition] = (),
        parameters: Sequence[str] | None = None,
        sort: Sequence[Sort] = (),
        page_size: int = 1000,
    ) -> AsyncIterator[Row]:
        """Give all jobs that the caller may see, fetching page after page.

        Each job comes exactly once, whatever happens to other jobs meanwhile; only one whose own place in
        the order changes may come twice, or never. Arguments as for `search`; `page_size` is the number of
        rows per request.

        Example::

            async for row in client.jobs.iterate(search=[Condition("Status", "eq", "Failed")]):
                print(row["JobID"], row["MinorStatus"])
        """
        wanted = SearchParams(_maybe(parameters), list(search), list(sort))
        return self._listing.iterate(wanted, page_size)

    async def summary(self, grouping: Sequence[str], *, search: Sequence[Condition] = ()) -> list[Row]:
        """Count jobs by parameters; each row has these and ``count``.

        Example::

            await client.jobs.summary(["Status"])  # [{"Status": "Done", "count": 20}]
        """
        return await self._listing.summary(grouping, search)

    async def status(self, job_ids: Sequence[int]) -> dict[int, Row]:
        """Return the three statuses of jobs, by number; what the caller cannot see is left out.

        Example::

            (await client.jobs.status([42]))[42]["Status"]  # "Running"
        """
        return await Waiting(self._listing, self._clock).status(job_ids)

    async def wait(
        self,
        job_ids: Sequence[int],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the jobs' time, by the injected clock
        progress: Callable[[int, int], None] | None = None,
        on_change: Callable[[Mapping[int, Row]], None] | None = None,
    ) -> dict[int, Row]:
        """Wait until jobs have ended, asking often at first and ever less while nothing happens.

        Args:
            job_ids: The jobs.
            timeout: Seconds to wait at most; for ever if not given.
            progress: Called with the number of jobs that have ended and of all, when it changes.
            on_change: Called with the statuses of all jobs when any of them changes.

        Returns:
            The statuses of the jobs, by number.

        Raises:
            NotFoundError: One of the jobs does not exist, or the caller may not see it.
            UnavailableError: They have not ended in time.

        Example::

            rows = await client.jobs.wait([job.JobID for job in jobs], timeout=3600)
        """
        waiting = Waiting(self._listing, self._clock)
        return await waiting.wait(job_ids, timeout, progress, on_change)

    async def output(
        self, job_ids: Sequence[int], directory: Path, *, progress: Progress | None = None
    ) -> dict[int, list[Path]]:
        """Download the output sandboxes of jobs and unpack each into ``directory/<job number>/``.

        Args:
            job_ids: The jobs.
            directory: Where to; made if it does not exist.
            progress: Called with the number of jobs that are finished with and of all.

        Returns:
            For each job its files; none if it has no output sandbox.

        Raises:
            NotFoundError: One of the jobs does not exist, or the caller may not see it.
            InvalidInputError: An archive is not acceptable.

        Example::

            files = await client.jobs.output([42], Path("results"))  # {42: [Path("results/42/std.out")]}
        """
        return await self._files("output", job_ids, directory, progress)

    async def input(
        self, job_ids: Sequence[int], directory: Path, *, progress: Progress | None = None
    ) -> dict[int, list[Path]]:
        """Download the input sandboxes of jobs; as `output` does.

        Example::

            await client.jobs.input([42], Path("inputs"))  # {42: [Path("inputs/42/run.sh")]}
        """
        return await self._files("input", job_ids, directory, progress)

    async def _files(
        self, kind: SandboxType, job_ids: Sequence[int], directory: Path, progress: Progress | None
    ) -> dict[int, list[Path]]:
        import tempfile  # late, as in `submit`

        from dirac.formats.archive import unpack

        found: dict[int, list[Path]] = {}
        with tempfile.TemporaryDirectory(prefix="dirac-") as scratch:
            archive = Path(scratch, "archive")
            for done, job_id in enumerate(job_ids, 1):
                found[job_id] = []
                for pfn in (await self._sandboxes.of_job(job_id, kind))[kind]:
                    await self._sandboxes.download(pfn, archive)
                    found[job_id] += unpack(archive, directory / str(job_id))
                if progress is not None:
                    progress(done, len(job_ids))
        return found

    async def logging(self, job_id: int) -> list[LogEntry]:
        """Return the life-cycle log of a job, oldest first.

        Raises:
            NotFoundError: There is no such job, or none that the caller may see. The same holds for the
                other calls about one job.

        Example::

            for entry in await client.jobs.logging(42):
                print(entry.StatusTime, entry.Status, entry.MinorStatus)
        """
        return await self._http.call("GET", f"/api/jobs/{job_id}/logging", list[LogEntry])

    async def jdl(self, job_id: int) -> str:
        """Return the description of a job.

        Example::

            print(await client.jobs.jdl(42))
        """
        return (await self._http.call("GET", f"/api/jobs/{job_id}/jdl", JobJdl)).jdl

    async def parameters(self, job_id: int) -> dict[str, Any]:
        """Return what is known of a job's run: host, memory, CPU time and the like.

        Example::

            (await client.jobs.parameters(42)).get("HostName")
        """
        return await self._http.call("GET", f"/api/jobs/{job_id}/parameters", dict[str, Any])

    async def peek(self, job_id: int) -> Peek:
        """Return the end of a running job's standard output.

        Example::

            print((await client.jobs.peek(42)).text)
        """
        return await self._http.call("GET", f"/api/jobs/{job_id}/peek", Peek)

    async def explain(self, job_id: int) -> Explanation:
        """Say why a job does or does not run, requirement by requirement.

        Example::

            print((await client.jobs.explain(42)).text)
        """
        return await self._http.call("GET", f"/api/jobs/{job_id}/explain", Explanation)

    async def shadow(self) -> list[ShadowReport]:
        """Tell what the candidate of the configuration (`workload.shadow`) would change, for each VO.

        Each server process compares its own decisions and tells of these; their sum is a metric.

        Raises:
            NotAllowedError: The caller administrates no jobs.

        Example::

            [report.differing / report.decisions for report in await client.jobs.shadow()]
        """
        return await self._http.call("GET", "/api/jobs/shadow", list[ShadowReport])

    async def match(self, request: MatchRequest) -> MatchAnswer:
        """Ask for work, as a pilot. The same request again returns the same job.

        Raises:
            NotAllowedError: The caller is no pilot.

        Example::

            answer = await client.jobs.match(MatchRequest(resource=resource, request_id="0a1b", wait=20))
        """
        return await self._http.call(
            "POST",
            "/api/jobs/match",
            MatchAnswer,
            body=request,
            repeatable=True,
            silence=request.wait + _ANSWER_SECONDS,
        )

    async def set_status(
        self, updates: Mapping[int, Mapping[datetime, JobStatusUpdate]], *, force: bool = False
    ) -> Outcome:
        """Report what happened to jobs, by number and moment.

        Args:
            updates: The moments are aware datetimes.
            force: Allow moves that the life cycle does not have; for administrators.

        Example::

            await client.jobs.set_status({42: {now: JobStatusUpdate(Status=JobStatus.RUNNING)}})
        """
        body = {job_id: dict(moments) for job_id, moments in updates.items()}
        return await self._http.call("PATCH", "/api/jobs/status", Outcome, params={"force": force}, body=body)

    async def heartbeat(self, data: Mapping[int, HeartbeatData]) -> list[JobCommand]:
        """Give signs of life of running jobs; returns orders for them.

        Raises:
            ConflictError: The job's present run is another one than the caller.

        Example::

            orders = await client.jobs.heartbeat({42: HeartbeatData(CPUConsumed=12.5)})
        """
        return await self._http.call("PATCH", "/api/jobs/heartbeat", list[JobCommand], body=dict(data))

    async def set_metadata(self, values: Mapping[int, Mapping[str, Any]]) -> None:
        """Set attributes and parameters of jobs, by number and name.

        Example::

            await client.jobs.set_metadata({42: {"HostName": "node-7", "Site": "LCG.Meyrin.ch"}})
        """
        body = {job_id: dict(named) for job_id, named in values.items()}
        await self._http.send("PATCH", "/api/jobs/metadata", body=body)


def _maybe(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(names)
