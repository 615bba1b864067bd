"""Why a job does or does not run, in words and numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from dirac.core.unit import Units
from dirac.systems.configuration.models import Tree
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.access import no_such_job
from dirac.systems.workload.logic.fitting import (
    Dimension,
    JobClass,
    Offer,
    Reason,
    all_of,
    fits,
    is_derived,
    names_of,
    shown,
)
from dirac.systems.workload.logic.forecast import MOST_STARTS, forecast
from dirac.systems.workload.logic.looking import WaitingJobs
from dirac.systems.workload.logic.planning import places
from dirac.systems.workload.logic.waiting import Classes
from dirac.systems.workload.models import (
    Explanation,
    Forecast,
    JobStatus,
    RequirementEffect,
    Suggestion,
    WaitReason,
    WhyWaiting,
)
from dirac.systems.workload.policy import readable
from dirac.systems.workload.ports.running import Configured, JobRow, RunUnit

# No change of a description helps.
_NOT_THE_JOBS = frozenset({Dimension.VO, Dimension.OWNER, Dimension.OWNER_GROUP})
_EXAMPLES = 3
_TAIL = 2000
_COUNTED = 10_000
_ENDS = {
    JobStatus.DONE: "The job is done",
    JobStatus.COMPLETED: "The job's program has ended; requests on its behalf are still being carried out",
    JobStatus.KILLED: "The job was killed",
    JobStatus.DELETED: "The job was deleted",
}
_ON_THE_WAY = {
    JobStatus.MATCHED: "A pilot at {site} has the job and has not begun to run it",
    JobStatus.RUNNING: "The job runs at {site}",
    JobStatus.COMPLETING: "The job's program has ended at {site}; its outputs are being stored",
    JobStatus.STALLED: "There is no sign of life from the pilot at {site} that had the job",
}
_BARRIERS = {
    WhyWaiting.RUNNING_LIMIT: "run as many such jobs as they may",
    WhyWaiting.MATCHING_DELAY: "pause before the next such job",
}
# What a failed run leaves behind, in the order in which it helps.
_RECORDED = ("ApplicationError", "Error Message", "StandardErrorTail")


class Comparison(msgspec.Struct, frozen=True):
    """One queue against the job: no reasons if it fits."""

    offer: Offer
    reasons: list[Reason]


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """Whose turn it is before that of a job.

    Attributes:
        users_before: How many users.
        in_background: Its group is in the background, and others have work.
        closed: Sites that fit and take no such jobs now.
    """

    users_before: int
    in_background: bool = False
    closed: Mapping[str, WhyWaiting] = {}


class Explain:
    """Explains jobs.

    Args:
        units: Transactions of the workload system.
        configuration: Tells which queues there are.
        classes: The classes in memory.
        waiting: What waits, as this process knows it.

    Attributes:
        told: Who is told the reasons of each answer: what was asked about, and the reasons.
    """

    def __init__(
        self, units: Units[RunUnit], configuration: Configured, classes: Classes, waiting: WaitingJobs
    ) -> None:
        self._units = units
        self._configuration = configuration
        self._classes = classes
        self._waiting = waiting
        self.told: list[Callable[[str, Iterable[str]], None]] = []

    async def explain(self, identity: Identity, job_id: int) -> Explanation:
        """Explain one job.

        Raises:
            NotFoundError: There is no such job.
        """
        tree = (await self._configuration.current()).tree
        async with self._units.read() as unit:
            row = (await unit.runs.jobs(readable(identity), [job_id], lock=False)).get(job_id)
            if row is None:
                raise no_such_job(job_id)
            await self._classes.refresh(unit)
            waits = row.status == JobStatus.WAITING
            job_class = self._classes.get(row.class_id)
            compared = [
                Comparison(place.offer, fits(job_class, place.offer) if job_class else [])
                for place in places(tree, row.vo)
            ]
            fitting = sum(not each.reasons for each in compared)
            before = await unit.runs.waiting_before(row, self._of_owner(job_class)) if waits else None
            start = await _forecast(unit, row) if waits and fitting else None
            failed = row.status == JobStatus.FAILED
            parameters = (await unit.jobs.parameters([job_id])).get(job_id, {}) if failed else {}
        turn = await self._turn(row, job_class, compared, tree) if waits and job_class is not None else None
        suggestion = suggest(job_class, compared) if waits and job_class is not None else None
        reasons = why(row.vo, compared, before or 0, turn) if turn is not None else []
        requirements = effects(compared)
        if waits:
            self._tell(reasons, requirements)
        return Explanation(
            job_id=job_id,
            status=row.status,
            minor_status=row.minor_status,
            text=_text(row, compared, fitting, before, parameters),
            queues=len(compared),
            fitting=fitting,
            requirements=requirements,
            suggestion=suggestion,
            waiting_before=before,
            users_before=turn.users_before if turn is not None else None,
            reasons=reasons,
            forecast=start,
        )

    def _tell(self, reasons: Sequence[WaitReason], requirements: Sequence[RequirementEffect]) -> None:
        told = [*(each.reason.value for each in reasons), *(each.requirement for each in requirements)]
        for listener in self.told:
            listener("job", told)

    def _of_owner(self, job_class: JobClass | None) -> list[int]:
        """Return the classes of the same owner."""
        if job_class is None:
            return []
        return [each.class_id for each in self._classes.everything if _owner(each) == _owner(job_class)]

    async def _turn(
        self, row: JobRow, job_class: JobClass, compared: Sequence[Comparison], tree: Tree
    ) -> Turn:
        """Find out who comes first, and which sites take no such jobs now."""
        self._waiting.follow(tree)
        look = await self._waiting.present(row.vo)
        owner = job_class.owner_group, job_class.owner_sub
        order = list(look.shares.order(look.by_owner))
        background = look.shares.background
        return Turn(
            users_before=order.index(owner) if owner in order else 0,
            in_background=owner[0] in background and any(group not in background for group, _ in order),
            closed={
                site: barrier
                for site in {each.offer.site for each in compared if not each.reasons}
                if (barrier := self._waiting.running.closed(site).get(row.class_id)) is not None
            },
        )


async def _forecast(unit: RunUnit, row: JobRow) -> Forecast | None:
    """Return when a job that waits may start."""
    starts = await unit.runs.starts(row, MOST_STARTS)
    before = await unit.runs.waiting_before(row, [row.class_id])
    return forecast(before, starts, unit.now)


def _owner(job_class: JobClass) -> tuple[str, str, str]:
    return job_class.vo, job_class.owner_group, job_class.owner_sub


def why(vo: str, compared: Sequence[Comparison], before: int, turn: Turn) -> list[WaitReason]:
    """Return why a job waits: what keeps it at all first, then who comes before it."""
    sites = {each.offer.site for each in compared if not each.reasons}
    if not compared:
        return [WaitReason(WhyWaiting.NO_SITE, 0, f"No site serves {vo}.")]
    if not sites:
        text = f"None of {len(compared)} queues fits its requirements."
        return [WaitReason(WhyWaiting.NO_QUEUE_FITS, len(compared), text)]
    found = []
    for barrier in (WhyWaiting.RUNNING_LIMIT, WhyWaiting.MATCHING_DELAY):
        if number := sum(reason == barrier for reason in turn.closed.values()):
            text = f"{number} of {len(sites)} sites that fit {_BARRIERS[barrier]}."
            found.append(WaitReason(barrier, number, text))
    if turn.in_background:
        text = "Its group is served in the background: with what fits no other group."
        found.append(WaitReason(WhyWaiting.BACKGROUND, 1, text))
    if turn.users_before:
        text = f"By their shares, it is the turn of {turn.users_before} other users first."
        found.append(WaitReason(WhyWaiting.SHARE, turn.users_before, text))
    if before:
        text = f"{before} jobs of the same owner have a higher priority, or are older."
        found.append(WaitReason(WhyWaiting.OWN_JOBS, before, text))
    return found or [WaitReason(WhyWaiting.NO_PILOT, 1, "The next pilot that fits gets it.")]


def effects(compared: Sequence[Comparison]) -> list[RequirementEffect]:
    """Return what each requirement removes, the one that removes most first."""
    by_dimension: dict[Dimension, list[tuple[Offer, Reason, bool]]] = {}
    for each in compared:
        for reason in each.reasons:
            by_dimension.setdefault(reason.dimension, []).append((each.offer, reason, len(each.reasons) == 1))
    found = [
        RequirementEffect(
            requirement=str(dimension),
            wanted=all_of([reason.wanted for _, reason, _ in removed]),
            removes=len(removed),
            removes_alone=sum(alone for _, _, alone in removed),
            examples=[
                f"{offer.name} offers {shown(reason.offered)}"
                if dimension != Dimension.REQUIRED_TAGS
                else f"{offer.name} takes only jobs with the tags {shown(reason.wanted)}"
                for offer, reason, _ in removed[:_EXAMPLES]
            ],
        )
        for dimension, removed in by_dimension.items()
    ]
    return sorted(found, key=lambda effect: (-effect.removes, -effect.removes_alone, effect.requirement))


def suggest(job_class: JobClass, compared: Sequence[Comparison]) -> Suggestion | None:
    """Return the smallest change of a description after which some queue fits; None if one does already.

    As few requirements as possible are touched; among such changes, the one that opens most queues; and
    numbers are lowered no further than the best of these queues needs.
    """
    if not compared or any(not each.reasons for each in compared):
        return None
    relaxable = [each for each in compared if not any(r.dimension in _NOT_THE_JOBS for r in each.reasons)]
    if not relaxable:
        return None
    fewest = min(len(each.reasons) for each in relaxable)
    groups: dict[tuple[Dimension, ...], list[Comparison]] = {}
    for each in relaxable:
        if len(each.reasons) == fewest:
            groups.setdefault(tuple(reason.dimension for reason in each.reasons), []).append(each)
    changes: dict[tuple[tuple[str, str], ...], int] = {}
    words: dict[tuple[tuple[str, str], ...], str] = {}
    for group in groups.values():
        for each in group:
            tags = ", ".join(_tags_after(each.reasons, job_class))
            parts = [_relaxed(reason, each.offer, tags) for reason in each.reasons]
            key = tuple((name, value) for name, value, _ in parts)
            words[key] = " and ".join(text for _, _, text in parts)
            # A change for one queue opens all others that ask for no more than it.
            changes[key] = sum(_opens(each, other) for other in group)
    best = max(changes, key=lambda key: changes[key])
    number = changes[best]
    noun = "queue" if number == 1 else "queues"
    return Suggestion(
        change=dict(best), queues=number, text=f"If you {words[best]}, {number} {noun} would fit."
    )


def _opens(change: Comparison, other: Comparison) -> bool:
    """Tell whether the change that opens one queue opens another one with the same dimensions as well."""
    return all(_covers(mine, its) for mine, its in zip(change.reasons, other.reasons, strict=True))


def _covers(mine: Reason, its: Reason) -> bool:
    if isinstance(mine.offered, int) and isinstance(its.offered, int):
        return mine.offered <= its.offered
    if mine.dimension in (Dimension.TAGS, Dimension.REQUIRED_TAGS):
        return set(names_of(its.wanted)) <= set(names_of(mine.wanted))
    if mine.dimension == Dimension.BANNED_SITE:
        return mine.offered == its.offered
    return True


def _relaxed(reason: Reason, offer: Offer, tags: str) -> tuple[str, str, str]:
    """Return the attribute to change, its new value (empty: remove it), and the same in words."""
    name, wanted, offered = str(reason.dimension), reason.wanted, reason.offered
    match reason.dimension:
        case Dimension.CPU_TIME | Dimension.RAM | Dimension.PROCESSORS | Dimension.GPUS:
            return name, str(offered), f"lower {name} from {shown(wanted)} to {shown(offered)}"
        case Dimension.WHOLE_NODE:
            return name, "", "do not ask for a whole node"
        case Dimension.TAGS:
            noun = "tag" if len(names_of(wanted)) == 1 else "tags"
            return "Tags", tags, f"drop the {noun} {shown(wanted)}"
        case Dimension.REQUIRED_TAGS:
            return "Tags", tags, f"ask for the tags {shown(wanted)}, which {offer.name} insists on"
        case Dimension.BANNED_SITE:
            left = [site for site in names_of(wanted) if site != offered]
            return name, ", ".join(left), f"do not ban {shown(offered)}"
        case _:
            return name, "", f"do not insist on {name} = {shown(wanted)}"


def _tags_after(reasons: Sequence[Reason], job_class: JobClass) -> list[str]:
    """Return the tags a user should write: not those that follow from processors, nor what is missing."""
    tags = {tag for tag in job_class.needs.tags if not is_derived(tag)}
    for reason in reasons:
        if reason.dimension == Dimension.TAGS:
            tags.difference_update(names_of(reason.wanted))
        elif reason.dimension == Dimension.REQUIRED_TAGS:
            tags.update(names_of(reason.wanted))
    return sorted(tags)


def _text(
    row: JobRow,
    compared: Sequence[Comparison],
    fitting: int,
    before: int | None,
    parameters: Mapping[str, str],
) -> str:
    status = JobStatus(row.status)
    if status in _ON_THE_WAY:
        return f"{_ON_THE_WAY[status].format(site=row.site)} (run {row.attempt}, {row.minor_status})."
    if status in _ENDS:
        return f"{_ENDS[status]} ({row.minor_status})."
    if status == JobStatus.FAILED:
        return _failure(row, parameters)
    if status != JobStatus.WAITING:
        return f"The job is being prepared ({status}, {row.minor_status}); it does not wait for a pilot yet."
    if not compared:
        return f"No site serves {row.vo}: no job of this virtual organisation can run."
    if not fitting:
        return f"The job cannot run: none of the {len(compared)} queues of {row.vo} fits its requirements."
    ahead = f"more than {_COUNTED - 1}" if (before or 0) >= _COUNTED else str(before)
    return (
        f"The job waits for a pilot: {fitting} of {len(compared)} queues fit, "
        f"and {ahead} waiting jobs of the same owner come before it."
    )


def _failure(row: JobRow, parameters: Mapping[str, str]) -> str:
    parts = [f"The job failed: {row.minor_status}"]
    if row.application_status not in ("", "Unknown"):
        parts.append(f" ({row.application_status})")
    parts.append(f", in run {row.attempt} at {row.site}." if row.attempt else ".")
    parts += [
        f"\n{name}: {parameters[name].strip()[-_TAIL:]}"
        for name in _RECORDED
        if parameters.get(name, "").strip()
    ]
    return "".join(parts)
