"""Looking at jobs: the whole of what is one's own, and nothing of others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from dirac.core.errors import InvalidInputError, NotFoundError
from dirac.core.search import Condition, Paging, SearchParams, SummaryParams, any_of, none_of
from dirac.core.unit import Event
from dirac.systems.identity.models import Identity, Property
from dirac.systems.workload.models import Peek
from dirac.systems.workload.store.tables import attempts, jobs, parameters
from dirac.testing.time import FakeClock

from .support import ECHO, Room, person

ALICE = person("alice")
BOB = person("bob")
NAMESAKE = person("alice", "bio")
BOSS = person("boss", "astro", Property.JOB_ADMINISTRATOR)
CHIEF = person("chief", "bio", Property.JOB_ADMINISTRATOR)
ROOT = person("root", "", Property.SERVICE_ADMINISTRATOR)

COLUMNS = [
    *("JobID", "JobType", "JobGroup", "Site", "JobName", "Owner", "OwnerGroup", "VO"),
    *("SubmissionTime", "RescheduleTime", "LastUpdateTime", "StartExecTime", "HeartBeatTime", "EndExecTime"),
    *("Status", "MinorStatus", "ApplicationStatus"),
    *("UserPriority", "RescheduleCounter", "VerifiedFlag", "AccountedFlag"),
]


async def found(room: Room, caller: Identity, **options: Any) -> list[dict[str, Any]]:
    params = SearchParams(**options)
    return (await room.queries.search(caller, params, Paging())).rows


async def seen(room: Room, caller: Identity) -> list[int]:
    return [row["JobID"] for row in await found(room, caller, parameters=["JobID"])]


async def test_a_row_has_the_parameters_that_dirac_has(room: Room) -> None:
    (job_id,) = await room.submitted(ALICE, 'Executable = "x"; JobName = "n"; Site = A.B.ch; Priority = 3;')
    (row,) = await found(room, ALICE)
    assert list(row) == COLUMNS
    moment = "2026-11-20T12:00:00.000000Z"
    assert row["SubmissionTime"] == row["LastUpdateTime"] == moment
    wanted = {
        "JobID": job_id,
        "JobName": "n",
        "Site": "A.B.ch",
        "Owner": "alice",
        "OwnerGroup": "users",
        "VO": "astro",
        "Status": "Waiting",
        "UserPriority": 3,
        "StartExecTime": None,
        "AccountedFlag": False,
    }
    assert row | wanted == row


async def test_everybody_sees_what_is_theirs(room: Room) -> None:
    mine = await room.submitted(ALICE, ECHO, ECHO)
    bobs = await room.submitted(BOB)
    bio = await room.submitted(NAMESAKE)
    for caller, expected in (
        (ALICE, mine),
        (BOB, bobs),
        (NAMESAKE, bio),
        (BOSS, mine + bobs),
        (CHIEF, bio),
        (ROOT, mine + bobs + bio),
        (person("nobody"), []),
        (person("service", "astro"), []),
    ):
        assert await seen(room, caller) == expected
        grouped = await room.queries.summary(caller, SummaryParams(grouping=["VO"]))
        assert sum(row["count"] for row in grouped) == len(expected)
        everything = [Condition("VO", "in", values=["astro", "bio"]), Condition("JobID", "gt", 0)]
        rows = await found(room, caller, parameters=["JobID"], search=everything)
        assert [row["JobID"] for row in rows] == expected
    tricks = [Condition("VO", "eq", "bio"), Condition("Owner", "like", "%")]
    assert await found(room, ALICE, search=tricks) == []
    assert await room.queries.summary(ALICE, SummaryParams(grouping=[], search=tricks)) == [{"count": 0}]


async def test_a_foreign_job_is_as_good_as_none(room: Room) -> None:
    (job_id,) = await room.submitted(ALICE)
    questions: list[Callable[[Identity, int], Awaitable[object]]] = [
        room.queries.logging,
        room.queries.jdl,
        room.queries.parameters,
        room.queries.peek,
        room.sandboxes.assigned,
    ]
    for question in questions:
        for caller in (ALICE, BOSS, ROOT):
            await question(caller, job_id)
        for caller in (BOB, NAMESAKE, CHIEF):
            with pytest.raises(NotFoundError) as foreign:
                await question(caller, job_id)
            with pytest.raises(NotFoundError) as missing:
                await question(caller, job_id + 1)
            assert str(foreign.value).replace(str(job_id), "N") == str(missing.value).replace(
                str(job_id + 1), "N"
            )
    assert await room.queries.logging(ALICE, job_id)
    with pytest.raises(NotFoundError):
        await room.queries.jdl(ALICE, 2**63 - 1)


async def test_the_log_is_in_the_order_of_time_and_fills_in_what_is_left_out(
    room: Room, clock: FakeClock
) -> None:
    (job_id,) = await room.submitted(ALICE)
    clock.advance(100)
    async with room.units.write() as unit:
        for seconds, attempt, data in (
            (20, 1, {"ApplicationStatus": "half", "Source": "JobWrapper"}),
            (10, 1, {"Status": "Running", "MinorStatus": "Job Initialization", "Source": "JobAgent"}),
            (30, 1, {"Status": "Done", "MinorStatus": "Execution Complete", "Note": "late"}),
        ):
            event = Event(
                kind="workload.job.status",
                vo="astro",
                subject_kind="job",
                subject_id=str(job_id),
                time=unit.now + timedelta(seconds=seconds),
                actor="astro:job:1:1",
                attempt=attempt,
                data=data,
            )
            unit.record(event)
    log = await room.queries.logging(ALICE, job_id)
    assert [(e.Status, e.MinorStatus, e.ApplicationStatus, e.Source, e.Attempt, e.Note) for e in log[1:]] == [
        ("Running", "Job Initialization", "Unknown", "JobAgent", 1, None),
        ("Running", "Job Initialization", "half", "JobWrapper", 1, None),
        ("Done", "Execution Complete", "half", "Unknown", 1, "late"),
    ]
    (row,) = await found(room, ALICE, parameters=["Status", "LoggingInfo"])
    assert list(row) == ["Status", "LoggingInfo"]
    assert row["LoggingInfo"] == log
    (row,) = await found(room, ALICE, parameters=["LoggingInfo"])
    assert list(row) == [*COLUMNS, "LoggingInfo"]
    with pytest.raises(InvalidInputError, match="LoggingInfo"):
        await found(room, ALICE, parameters=["LoggingInfo"], distinct=True)


async def test_what_a_run_says_can_be_seen(room: Room, clock: FakeClock) -> None:
    (job_id,) = await room.submitted(ALICE)
    assert await room.queries.peek(ALICE, job_id) == Peek(JobID=job_id, attempt=0, text="", time=None)
    assert await room.queries.parameters(ALICE, job_id) == {}
    async with room.database.write() as tx:
        for attempt in (1, 2):
            run = {"job_id": job_id, "attempt": attempt, "pilot_stamp": f"p{attempt}", "request_id": "r"}
            await tx.execute(insert(attempts).values(run | {"claimed": tx.now, "peek": f"line {attempt}"}))
        changes = {"attempt": 2, "heartbeat_time": tx.now}
        await tx.execute(update(jobs).where(jobs.c.job_id == job_id).values(changes))
        values = [{"job_id": job_id, "name": name, "value": name.upper()} for name in ("b", "a")]
        await tx.execute(insert(parameters), values)
    assert await room.queries.peek(ALICE, job_id) == Peek(
        JobID=job_id, attempt=2, text="line 2", time=clock.now()
    )
    assert list((await room.queries.parameters(ALICE, job_id)).items()) == [("a", "A"), ("b", "B")]
    by_pilot = [Condition("PilotStamp", "in", values=["p1", "other"])]
    assert [row["JobID"] for row in await found(room, ALICE, search=by_pilot)] == [job_id]
    assert await found(room, BOB, search=by_pilot) == []
    with pytest.raises(InvalidInputError, match="'eq' or 'in'"):
        await found(room, ALICE, search=[Condition("PilotStamp", "like", "p%")])


async def test_parameters_of_jobs_can_be_searched(room: Room) -> None:
    first, second, third = await room.submitted(ALICE, ECHO, ECHO, ECHO)
    async with room.database.write() as tx:
        values = [(first, "HostName", "node1"), (second, "HostName", "node2"), (second, "Other", "node1")]
        rows = [{"job_id": job_id, "name": name, "value": value} for job_id, name, value in values]
        await tx.execute(insert(parameters), rows)
    name = "JobParameter.HostName"
    for condition, expected in (
        (Condition(name, "eq", "node1"), [first]),
        (Condition(name, "neq", "node1"), [second]),
        (Condition(name, "in", values=["node1", "node2"]), [first, second]),
        (Condition(name, "like", "node_"), [first, second]),
        (Condition(name, "is null"), [third]),
        (Condition(name, "is not null"), [first, second]),
        (none_of([Condition(name, "eq", "node1")]), [second, third]),
        (any_of([Condition(name, "eq", "node2"), Condition("JobParameter.Other", "eq", "x")]), [second]),
    ):
        assert [row["JobID"] for row in await found(room, ALICE, search=[condition])] == expected, condition
    for operator, value in (("gt", "1"), ("regex", "node")):
        with pytest.raises(InvalidInputError, match=r"search\[0\].*text of any length"):
            await found(room, ALICE, search=[Condition(name, operator, value)])  # type: ignore[arg-type]
