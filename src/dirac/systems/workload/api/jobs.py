"""Routes for submitting jobs and looking at them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Header, Path, Query, Request
from starlette.responses import Response

from dirac.core.search import MAX_PAGE, Page, SearchParams, SummaryParams
from dirac.systems.identity.models import Identity
from dirac.systems.workload import policy
from dirac.systems.workload.logic.queries import Queries
from dirac.systems.workload.logic.submission import Submission
from dirac.systems.workload.models import InsertedJob, JobJdl, LogEntry, Peek
from dirac.transport.routing import MAX_BODY, Body, SystemRouter, allowed, body, provided
from dirac.transport.wire import ErrorBody, encode

router = SystemRouter("/api/jobs", "jobs")

JobIdInPath = Annotated[int, Path(ge=1, le=2**63 - 1)]
Reader = Annotated[Identity, allowed(policy.read_jobs)]
TheQueries = Annotated[Queries, provided(Queries)]
PageNumber = Annotated[int, Query(ge=1, le=2**31 - 1)]
PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE)]


class OptionalBody(Body):
    """A JSON body that may be left out."""

    required = False

    async def __call__(self, request: Request) -> Any:
        """Return the body's value, None if there is no body."""
        headers = request.headers
        if "transfer-encoding" not in headers and headers.get("content-length", "0") == "0":
            return None
        return await super().__call__(request)


def optional_body(kind: Any) -> Any:
    """Declare a parameter that is the request's JSON body, None if there is none."""
    return Depends(OptionalBody(kind, MAX_BODY))


def paged(page: Page, noun: str) -> Response:
    """Answer with a page: 200 if it is everything, 206 if it is a part, 416 if it is beyond the end."""
    last = page.first + len(page.rows) - 1
    status, content, unit = 200, encode(page.rows), f"{noun} {page.first}-{last}/{page.total}"
    if page.first and not page.rows:
        error = ErrorBody(
            detail=f"the page begins at {page.first}, there are {page.total} {noun}", error="invalid_input"
        )
        status, content, unit = 416, encode(error), f"{noun} */{page.total}"
    elif len(page.rows) < page.total:
        status = 206
    headers = {"Content-Range": unit} if status != 200 else {}
    return Response(content, status, headers, "application/json")


_ROWS = {"application/json": {"schema": {"type": "array", "items": {"type": "object"}}}}


def _range(example: str) -> dict[str, Any]:
    """Describe the header that says which rows an answer has."""
    about = "The first and the last row, from 0, and how many fit"
    return {"Content-Range": {"description": about, "schema": {"type": "string", "example": example}}}


PAGED: dict[int | str, dict[str, Any]] = {
    200: {"description": "All that fits, as rows", "content": _ROWS},
    206: {"description": "A part of it", "content": _ROWS, "headers": _range("jobs 0-99/4711")},
    416: {
        "description": "A page beyond the end",
        "content": {"application/json": {}},
        "headers": _range("jobs */4711"),
    },
}


@router.post("/jdl", status_code=201)
async def submit_jdl_jobs(
    caller: Annotated[Identity, allowed(policy.submit)],
    jdls: Annotated[list[str], body(list[str])],
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
) -> Response:
    """Find jobs; rows have all parameters unless some are named."""
    found = await queries.search(caller, params or SearchParams(), page=page, per_page=per_page)
    return paged(found, "jobs")


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
