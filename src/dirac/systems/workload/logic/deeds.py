"""What is done to jobs in one transaction: collected job by job, written in bulk.

Everything that changes a job's state goes through here, so that each change has its line in the log, a run
that is given up is told so, and a job that waits gets pilots.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from dirac.core.errors import NotFoundError
from dirac.systems.configuration.models import Workload
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.access import no_such_job, require_present
from dirac.systems.workload.logic.pipeline_moves import is_news, is_rescheduled, readmitted, undecided
from dirac.systems.workload.logic.waiting import Classes
from dirac.systems.workload.models import KILL_CONFIRMED, JobStatus, Outcome, StatusChange
from dirac.systems.workload.policy import Visibility, changeable
from dirac.systems.workload.ports.pipeline import Handling
from dirac.systems.workload.ports.running import Change, JobRow, Order, RunUnit
from dirac.systems.workload.states import (
    HELD,
    OF_A_RUN,
    Judgement,
    Standing,
    line_event,
)

ANY_SITE = "ANY"
_GONE = (JobStatus.KILLED, JobStatus.DELETED)


def standing_of(row: JobRow, *, run: bool) -> Standing:
    """Return where a job is.

    Reports of a run are compared with the run's own earlier ones: they are by another clock than ours.
    """
    return Standing(
        status=JobStatus(row.status),
        minor_status=row.minor_status,
        application_status=row.application_status,
        start_exec_time=row.start_exec_time,
        end_exec_time=row.end_exec_time,
        newest=row.last_report if run else row.last_update_time,
    )


class Found:
    """The jobs that somebody wants to do something to, and what is wrong with the others."""

    def __init__(self, rows: dict[int, JobRow], missing: list[int]) -> None:
        self.rows = rows
        self.missing = missing
        self.failed = {job_id: {"detail": str(no_such_job(job_id))} for job_id in missing}

    def require_any(self) -> None:
        """Refuse a request of which no job was found.

        Raises:
            NotFoundError: There is none.
        """
        if self.rows or not self.missing:
            return
        if len(self.missing) == 1:
            raise no_such_job(self.missing[0])
        raise NotFoundError(f"there are no jobs {', '.join(map(str, sorted(self.missing)[:20]))}")


async def find(unit: RunUnit, identity: Identity, job_ids: list[int]) -> Found:
    """Find and lock those jobs that somebody may act upon.

    A run reaches its own job, a pilot the jobs whose present run it has, a person what they may change.

    Raises:
        ConflictError: It is a run that is not the job's present one any more.
    """
    if identity.kind == "job":
        wanted = [job_id for job_id in job_ids if job_id == identity.job_id]
    else:
        wanted = list(dict.fromkeys(job_ids))
    visible = Visibility(vo=identity.vo) if is_run(identity) else changeable(identity)
    rows = await unit.runs.jobs(visible, wanted, lock=True) if wanted else {}
    if identity.kind == "pilot":
        rows = {
            job_id: row
            for job_id, row in rows.items()
            if row.pilot_stamp == identity.stamp and row.status in OF_A_RUN
        }
    for row in rows.values():
        if identity.kind == "job":
            require_present(identity, row.job_id, row.attempt, row.status, row.pilot_stamp)
    return Found(rows, [job_id for job_id in dict.fromkeys(job_ids) if job_id not in rows])


def is_run(identity: Identity) -> bool:
    """Tell whether somebody is a run of a job, or a pilot that has one."""
    return identity.kind in ("pilot", "job")


class Deeds:
    """Collects what becomes of jobs.

    Args:
        unit: The transaction.
        actor: Who does it, for the history.
        rules: The configuration's rules for jobs.
        classes: The classes in memory: they tell where a job may run.
    """

    def __init__(self, unit: RunUnit, actor: str, rules: Workload, classes: Classes) -> None:
        self._unit = unit
        self._actor = actor
        self._rules = rules
        self._classes = classes
        self._lease = unit.now + timedelta(seconds=rules.lease_seconds)
        self._changes: list[Change] = []
        self._orders: list[Order] = []
        self._answered: list[int] = []
        self._delays: dict[int, datetime] = {}
        self._undelayed: list[int] = []
        self._readmitted: list[int] = []
        self._followed: list[int] = []
        self.success: dict[int, StatusChange] = {}
        self.failed: dict[int, dict[str, str]] = {}

    def add(
        self,
        row: JobRow,
        judgement: Judgement,
        *,
        run: bool = False,
        counter: int | None = None,
        outcome: str | None = None,
        delay: float = 0,
    ) -> None:
        """Take in what was judged of a job.

        Args:
            row: The job as it was.
            judgement: What becomes of it.
            run: Its present run says so itself.
            counter: Its new number of reschedules, if it waits again.
            outcome: What its run ended with, if that is not simply the job's new state.
            delay: Seconds until it waits again, if it was left `Rescheduled`.
        """
        if run and row.status in _GONE and judgement.standing.minor_status == KILL_CONFIRMED:
            self._answered.append(row.job_id)
        if row.handling:
            judgement, outcome = self._handled(row, judgement, outcome)
        for line in judgement.lines:
            self._unit.record(
                line_event(line, vo=row.vo, job_id=row.job_id, attempt=row.attempt, actor=self._actor)
            )
        if judgement.refusals:
            self.failed[row.job_id] = {"detail": "; ".join(dict.fromkeys(judgement.refusals))}
        if judgement.counted and delay:
            self._delays[row.job_id] = self._unit.now + timedelta(seconds=delay)
        elif judgement.counted and row.status == JobStatus.RESCHEDULED:
            self._undelayed.append(row.job_id)
        if judgement.counted:
            self._change(row, judgement.standing, run=run, counter=counter, outcome=outcome)
        if judgement.counted or not judgement.refusals:
            self.success[row.job_id] = self._told(judgement.standing)

    def _handled(
        self, row: JobRow, judgement: Judgement, outcome: str | None
    ) -> tuple[Judgement, str | None]:
        """Take care of a job that most others are not like."""
        if row.handling & Handling.PIPED and is_rescheduled(row.status, judgement):
            judgement = readmitted(judgement)
            self._readmitted.append(row.job_id)
        if row.handling & (Handling.NEEDED | Handling.RETRIED) and is_news(row.status, judgement):
            self._followed.append(row.job_id)
            if row.handling & Handling.RETRIED and judgement.standing.status == JobStatus.FAILED:
                judgement, outcome = undecided(judgement), outcome or str(JobStatus.FAILED)
        return judgement, outcome

    def _change(
        self, row: JobRow, standing: Standing, *, run: bool, counter: int | None, outcome: str | None
    ) -> None:
        was_held = row.status in HELD
        held = standing.status in HELD
        lease = self._lease
        if was_held and (counter is not None or not held):
            outcome = outcome or str(standing.status)
            # A run of a job that waits again needs no order: whatever it says is refused.
            if not run and row.attempt and counter is None:
                answer = lease if standing.status in _GONE else None
                self._orders.append(Order(row.job_id, row.attempt, "Kill", answer_until=answer))
        else:
            outcome = None
        if standing.status == JobStatus.WAITING and (counter is not None or row.status != standing.status):
            key = f"start_pilots:{row.vo}"
            self._unit.enqueue("workload.start_pilots", {"vo": row.vo}, key=key)
        self._changes.append(
            Change(
                job=row,
                standing=standing,
                outcome=outcome,
                reported=standing.newest if run else None,
                lease_until=lease if run and held else None,
                rescheduled=None if counter is None else (counter, self._site(row.class_id)),
            )
        )

    def _site(self, class_id: int) -> str:
        job_class = self._classes.get(class_id)
        sites = job_class.needs.sites if job_class else ()
        return ANY_SITE if not sites else sites[0] if len(sites) == 1 else "Multiple"

    def _told(self, standing: Standing) -> StatusChange:
        return StatusChange(
            Status=str(standing.status),
            MinorStatus=standing.minor_status,
            ApplicationStatus=standing.application_status,
            StartExecTime=standing.start_exec_time,
            EndExecTime=standing.end_exec_time,
            LastUpdateTime=self._unit.now,
        )

    async def write(self) -> None:
        """Write everything."""
        if self._changes:
            await self._unit.runs.apply(self._changes)
        await self._unit.runs.order(self._orders)
        await self._unit.control.answer(self._answered)
        await self._unit.control.undelay(self._undelayed)
        await self._unit.control.delay(self._delays)
        if self._readmitted:
            await self._unit.pipeline.admit(self._readmitted)
            self._unit.enqueue("workload.advance_jobs", key="advance_jobs")
        if self._followed:
            self._unit.enqueue("workload.follow_jobs", {"job_ids": self._followed})

    def outcome(self, found: Found) -> Outcome:
        """Return what the caller is told."""
        return Outcome(success=self.success, failed=found.failed | self.failed)
