"""Routes for submitting jobs and looking at them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Query
from starlette.responses import Response, StreamingResponse

from dirac.core.search import Paging, SearchParams, SummaryParams
from dirac.formats.rows import MEDIA_TYPES, RowFormat, lines
from dirac.systems.identity.models import Identity
from dirac.systems.workload import policy
from dirac.systems.workload.logic.queries import Queries
from dirac.systems.workload.logic.submission import Submission
from dirac.systems.workload.models import InsertedJob, JobJdl, LogEntry, Peek
from dirac.systems.workload.ports.work import JOB_ATTRIBUTES
from dirac.transport.paging import PAGED, Count, Cursor, PageNumber, PageSize, optional_body, paged
from dirac.transport.routing import SystemRouter, allowed, body, provided
from dirac.transport.streaming import Texts, TextsBody

router = SystemRouter("/api/jobs", "jobs")

SUBMIT_PATH = "/api/jobs/jdl"
MAX_SUBMISSION = 128 * 1024 * 1024
"""Bytes of a submission: it is read as it comes, and not kept in memory."""

JobIdInPath = Annotated[int, Path(ge=1, le=2**63 - 1)]
Reader = Annotated[Identity, allowed(policy.read_jobs)]
TheQueries = Annotated[Queries, provided(Queries)]
_DESCRIPTIONS = TextsBody(MAX_SUBMISSION, "jdl", "Put large data into the input sandbox")


@router.post("/jdl", status_code=201)
async def submit_jdl_jobs(
    caller: Annotated[Identity, allowed(policy.submit)],
    jdls: Annotated[Texts, Depends(_DESCRIPTIONS)],
    submission: Annotated[Submission, provided(Submission)],
    idempotency_key: Annotated[str | None, Header()] = None,
) -> list[InsertedJob]:
    """Submit jobs: a list of descriptions (JDL), of which a parametric one stands for many jobs.

    All of them are accepted or none. A request with an `Idempotency-Key` can be repeated safely: the
    repetition gets the answer of the first.
    """
    return await submission.submit(caller, jdls, idempotency_key)


@router.post("/search", responses=PAGED)
async def search(
    caller: Reader,
    queries: TheQueries,
    params: Annotated[SearchParams | None, optional_body(SearchParams | None)],
    page: PageNumber = 1,
    per_page: PageSize = 100,
    cursor: Cursor = None,
    count: Count = None,
) -> Response:
    """Find jobs; rows have all parameters unless some are named.

    By number, pages get slower the further they are and may show a job twice or never while jobs change; by
    cursor they do neither. The total of pages by number beyond 10 000 may be a lower bound: the header
    `Total-Is` says so.
    """
    paging = Paging(page, per_page, cursor, count)
    return paged(await queries.search(caller, params or SearchParams(), paging), "jobs")


@router.post(
    "/export",
    responses={200: {"description": "All that fits", "content": {kind: {} for kind in MEDIA_TYPES.values()}}},
)
async def export(
    caller: Reader,
    queries: TheQueries,
    params: Annotated[SearchParams | None, optional_body(SearchParams | None)],
    kind: Annotated[RowFormat, Query(alias="format")] = "jsonl",
) -> Response:
    """Write all jobs that fit as JSON lines or CSV; an answer that breaks off is not complete."""
    wanted = params or SearchParams()
    parts = queries.export(caller, wanted)
    first = await anext(parts)  # whatever is wrong with the question is said before the answer has begun
    head, write = lines(kind, wanted.parameters or list(JOB_ATTRIBUTES))

    async def content() -> AsyncIterator[bytes]:
        yield head + write(first)
        async for rows in parts:
            yield write(rows)

    return StreamingResponse(content(), media_type=MEDIA_TYPES[kind])


@router.post("/summary")
async def summary(
    caller: Reader, queries: TheQueries, params: Annotated[SummaryParams, body(SummaryParams)]
) -> list[dict[str, Any]]:
    """Count jobs by the values of some parameters; `count` is in every row."""
    return await queries.summary(caller, params)


@router.get("/{job_id}/logging")
async def get_job_logging(caller: Reader, queries: TheQueries, job_id: JobIdInPath) -> list[LogEntry]:
    """Show the life-cycle log of a job."""
    return await queries.logging(caller, job_id)


@router.get("/{job_id}/jdl")
async def get_job_jdl(caller: Reader, queries: TheQueries, job_id: JobIdInPath) -> JobJdl:
    """Show the description of a job, with what the server added."""
    return await queries.jdl(caller, job_id)


@router.get("/{job_id}/parameters")
async def get_job_parameters(caller: Reader, queries: TheQueries, job_id: JobIdInPath) -> dict[str, str]:
    """Show the free parameters of a job."""
    return await queries.parameters(caller, job_id)


@router.get("/{job_id}/peek")
async def get_job_peek(caller: Reader, queries: TheQueries, job_id: JobIdInPath) -> Peek:
    """Show the end of the standard output of a job, as of its last heartbeat."""
    return await queries.peek(caller, job_id)
