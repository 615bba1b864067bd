"""Routes for submitting jobs and looking at them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from dirac.core.search import MAX_PAGE, Page, Paging, SearchParams, SummaryParams
from dirac.formats.rows import MEDIA_TYPES, RowFormat, lines
from dirac.systems.identity.models import Identity
from dirac.systems.workload import policy
from dirac.systems.workload.logic.queries import Queries
from dirac.systems.workload.logic.submission import Submission
from dirac.systems.workload.models import InsertedJob, JobJdl, LogEntry, Peek
from dirac.systems.workload.ports.work import JOB_ATTRIBUTES
from dirac.transport.routing import MAX_BODY, Body, SystemRouter, allowed, body, provided
from dirac.transport.streaming import Texts, TextsBody
from dirac.transport.wire import ErrorBody, encode

router = SystemRouter("/api/jobs", "jobs")

SUBMIT_PATH = "/api/jobs/jdl"
MAX_SUBMISSION = 128 * 1024 * 1024
"""Bytes of a submission: it is read as it comes, and not kept in memory."""

JobIdInPath = Annotated[int, Path(ge=1, le=2**63 - 1)]
Reader = Annotated[Identity, allowed(policy.read_jobs)]
TheQueries = Annotated[Queries, provided(Queries)]
_MOST_CURSOR = 8192
PageNumber = Annotated[int, Query(ge=1, le=2**31 - 1)]
PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[
    str | None,
    Query(
        max_length=_MOST_CURSOR,
        description="Instead of `page`: empty at first, then Next-Cursor of the answer before.",
    ),
]
Count = Annotated[
    bool | None,
    Query(description="Count all that fits, exactly, or not at all; by default only for pages by number."),
]


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
    """Answer with a page: 200 if it is everything, 206 if it is a part, 416 if it is beyond the end.

    Content-Range has a number as the total, since there are clients that fail on a star. Where nobody counted
    to the end, it is a lower bound, and another header says so.
    """
    if page.first and not page.rows:
        detail = f"the page begins at {page.first}, there are {page.total} {noun}"
        content = encode(ErrorBody(detail=detail, error="invalid_input"))
        return Response(content, 416, {"Content-Range": f"{noun} */{page.total}"}, "application/json")
    headers = {}
    if page.cursor is not None:
        headers["Next-Cursor"] = page.cursor
    if page.total is not None and len(page.rows) < page.total:
        part = "*" if page.first is None else f"{page.first}-{page.first + len(page.rows) - 1}"
        headers["Content-Range"] = f"{noun} {part}/{page.total}"
        if not page.exact:
            headers["Total-Is"] = "lower-bound"
    return Response(encode(page.rows), 206 if headers else 200, headers, "application/json")


_DESCRIPTIONS = TextsBody(MAX_SUBMISSION, "jdl", "Put large data into the input sandbox")
_ROWS = {"application/json": {"schema": {"type": "array", "items": {"type": "object"}}}}


def _range(example: str) -> dict[str, Any]:
    """Describe the header that says which rows an answer has."""
    about = "The first and the last row, from 0, and how many fit"
    return {"Content-Range": {"description": about, "schema": {"type": "string", "example": example}}}


PAGED: dict[int | str, dict[str, Any]] = {
    200: {"description": "All that fits, as rows", "content": _ROWS},
    206: {
        "description": "A part; Content-Range says which. Next-Cursor, if asked for, is where to go on",
        "content": _ROWS,
        "headers": _range("jobs 0-99/4711"),
    },
    416: {
        "description": "A page beyond the end",
        "content": {"application/json": {}},
        "headers": _range("jobs */4711"),
    },
}


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
