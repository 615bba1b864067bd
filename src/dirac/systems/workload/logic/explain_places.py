"""Why waiting jobs do or do not come to a pilot or a site, in words and numbers.

Jobs are counted by class, of each no further than `MOST`; so an explanation costs the same whatever waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from dirac.core.errors import InvalidInputError, NotFoundError
from dirac.core.search import Condition, SummaryParams
from dirac.core.unit import Units
from dirac.systems.configuration.models import Tree
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.fitting import JobClass, Offer, plain_tags
from dirac.systems.workload.logic.held import Demand, Sorted, in_words, reasons, sort_out
from dirac.systems.workload.logic.looking import Look, WaitingJobs
from dirac.systems.workload.logic.offers import LastOffers
from dirac.systems.workload.logic.pilot_factory import ABORTED_WITHIN
from dirac.systems.workload.logic.planning import QueueState, places, state_of
from dirac.systems.workload.logic.waiting import Classes
from dirac.systems.workload.models import (
    Capability,
    Held,
    LimitExplanation,
    PilotExplanation,
    PilotStatus,
    QueueExplanation,
    SiteExplanation,
    WhyWaiting,
)
from dirac.systems.workload.policy import Visibility, is_service_administrator, readable, readable_pilots
from dirac.systems.workload.ports.pilots import PilotRow, QueueLoad
from dirac.systems.workload.ports.running import Configured, RunUnit
from dirac.systems.workload.states import PILOT_LIFE

MOST = 300
"""Waiting jobs of one class that are counted."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in a VO, as far as somebody may see it.

    Attributes:
        vo: The VO.
        sub: Only jobs of this subject are seen; None for all.
        look: What waits, for the question whose turn it is.
        demand: The classes that are seen, with their numbers of waiting jobs.
        at_least: Of some class there are more.
    """

    vo: str
    sub: str | None
    look: Look
    demand: Demand
    at_least: bool

    @property
    def number(self) -> int:
        """How many jobs wait, as far as they are counted."""
        return sum(number for _, number in self.demand)


class ExplainPlaces:
    """Explains pilots and sites.

    Args:
        units: Transactions of the workload system.
        configuration: Tells which queues there are.
        classes: The classes in memory.
        waiting: What waits, as this process knows it.
        offers: What pilots said they have.

    Attributes:
        told: Who is told the reasons of each answer: the kind of place, and the reasons.
    """

    def __init__(
        self,
        units: Units[RunUnit],
        configuration: Configured,
        classes: Classes,
        waiting: WaitingJobs,
        offers: LastOffers,
    ) -> None:
        self._units = units
        self._configuration = configuration
        self._classes = classes
        self._waiting = waiting
        self._offers = offers
        self.told: list[Callable[[str, Iterable[str]], None]] = []

    async def pilot(self, identity: Identity, name: str) -> PilotExplanation:
        """Explain one pilot, by its stamp or reference.

        Raises:
            NotFoundError: There is no such pilot.
            InvalidInputError: Several pilots have this reference.
        """
        tree = (await self._configuration.current()).tree
        async with self._units.read() as unit:
            # What waits for a pilot is its VO's: who looks after the site of another one's is not told.
            own = msgspec.structs.replace(readable_pilots(identity), places=())
            found = await unit.pilots.named(own, name)
        row = _only(found, name)
        waiting = await self._seen(identity, row.vo, tree)
        measured, offer = self._offers.get(row.pilot_stamp) or (None, _of_queue(row, tree))
        here = sort_out(waiting.demand, [offer] if offer else [], self._waiting.running.closed(row.grid_site))
        over = not PILOT_LIFE.successors(PilotStatus(row.status))
        held = [] if over or offer is None else [*reasons(here), *self._turns(waiting, here, [offer])]
        self._tell("pilot", held)
        return PilotExplanation(
            pilot_stamp=row.pilot_stamp,
            pilot_reference=row.pilot_reference,
            vo=row.vo,
            status=row.status,
            status_reason=row.status_reason,
            site=row.grid_site,
            ce=row.destination_site,
            queue=row.queue,
            text=_pilot_text(row, waiting, here, known=offer is not None, over=over),
            own_only=waiting.sub is not None,
            waiting=waiting.number,
            fitting=here.fitting,
            at_least=waiting.at_least,
            reasons=held,
            offer=capability(offer) if offer is not None else None,
            measured=measured,
            job_id=row.current_job_id,
        )

    async def site(self, identity: Identity, site: str, vo: str | None = None) -> SiteExplanation:
        """Explain a site for a VO: the caller's, or for who operates the installation any.

        Raises:
            NotFoundError: There is no such site, or none that this VO may use.
        """
        tree = (await self._configuration.current()).tree
        known, vo = tree.sites.get(site), vo or identity.vo
        foreign = vo != identity.vo and not is_service_administrator(identity)
        if known is None or foreign or vo not in known.virtual_organisations:
            raise NotFoundError(
                f"there is no site {site!r} that {vo!r} may use", hint="See `dirac config show`"
            )
        waiting = await self._seen(identity, vo, tree)
        async with self._units.read() as unit:
            loads = await unit.pilots.loads()
            aborted = await unit.pilots.aborted(unit.now - ABORTED_WITHIN)
            rows = await unit.jobs.summary(
                Visibility(vo=vo, owner_sub=waiting.sub),
                SummaryParams(["Status"], [Condition("Site", "eq", site)]),
            )
        queues = [state_of(place, vo, loads, aborted) for place in places(tree, vo) if place.site == site]
        offers = [state.place.offer for state in queues]
        here = sort_out(waiting.demand, offers, self._waiting.running.closed(site))
        pilots = sum(state.coming for state in queues) + sum(_load(loads, vo, each).busy for each in queues)
        held = [*reasons(here), *_no_pilot(here, vo, pilots), *self._turns(waiting, here, offers)]
        self._tell("site", held)
        return SiteExplanation(
            site=site,
            vo=vo,
            text=_site_text(waiting, here, queues, site),
            own_only=waiting.sub is not None,
            waiting=waiting.number,
            fitting=here.fitting,
            at_least=waiting.at_least,
            only_here=sum(number for each, number in waiting.demand if each.needs.sites == (site,)),
            jobs={str(row["Status"]): int(row["count"]) for row in rows if row["Status"] != "Waiting"},
            reasons=held,
            queues=[_queue(state, waiting, _load(loads, vo, state)) for state in queues],
            limits=self._limits(site, waiting, here, tree),
        )

    async def _seen(self, identity: Identity, vo: str, tree: Tree) -> Waiting:
        """Find out what waits in a VO, of what somebody may see."""
        self._waiting.follow(tree)
        look = await self._waiting.present(vo)
        async with self._units.read() as unit:
            await self._classes.refresh(unit)
            counts = await unit.runs.waiting_counts(vo, MOST)
        sub = readable(identity).owner_sub
        demand = [
            (job_class, number)
            for class_id, number in counts.items()
            if (job_class := self._classes.get(class_id)) is not None and sub in (None, job_class.owner_sub)
        ]
        at_least = any(number >= MOST for _, number in demand)
        return Waiting(vo=vo, sub=sub, look=look, demand=demand, at_least=at_least)

    def _turns(self, waiting: Waiting, here: Sorted, offers: Sequence[Offer]) -> list[Held]:
        """Say for which of the jobs that fit and may come it is not the turn, and whose it is."""
        if not here.open:
            return []
        owners = self._owners(waiting, offers)
        background = waiting.look.shares.background
        found = []
        if any(group not in background for group, _ in owners):
            kept = sum(number for each, number in here.open if each.owner_group in background)
            if kept:
                text = f"{in_words(kept)} of groups in the background: others come first."
                found.append(Held(reason=WhyWaiting.BACKGROUND.value, jobs=kept, jobs_alone=kept, text=text))
        own = sum(number for _, number in here.open)
        before = next((i for i, (_, sub) in enumerate(owners) if sub == waiting.sub), len(owners))
        if waiting.sub is not None and before:
            text = (
                f"By their shares, it is the turn of {before} other user{'' if before == 1 else 's'} first."
            )
            found.append(Held(reason=WhyWaiting.SHARE.value, jobs=own, jobs_alone=own, text=text))
        return found

    def _owners(self, waiting: Waiting, offers: Sequence[Offer]) -> list[tuple[str, str]]:
        """Return who has jobs that fit and may come, in the order of service."""
        unfit = [self._classes.fit(waiting.vo, offer) for offer in offers]
        closed = self._waiting.running.closed(offers[0].site)
        return [
            (group, owner)
            for group, owner in waiting.look.shares.order(waiting.look.by_owner)
            if any(
                front.class_id not in closed and not all(front.class_id in some for some in unfit)
                for front in waiting.look.by_owner[group][owner]
            )
        ]

    def _limits(self, site: str, waiting: Waiting, here: Sorted, tree: Tree) -> list[LimitExplanation]:
        running = self._waiting.running
        at_site, barriers = running.here(site), running.barriers(site)
        fitting = {each.class_id: number for each, number in (*here.open, *here.closed_classes)}
        found = []
        for name, limit in sorted(tree.sites[site].limits.items()):
            if limit.vo not in (None, waiting.vo):
                continue
            members = [each for each in map(self._classes.get, running.members(limit)) if each is not None]
            seen = [each for each in members if _is_seen(each, waiting)]
            found.append(
                LimitExplanation(
                    name=name,
                    max_running=limit.max_running,
                    delay=limit.delay,
                    running=sum(at_site[each.class_id] for each in seen),
                    waiting=sum(fitting.get(each.class_id, 0) for each in seen),
                    closed=barriers[name],
                )
            )
        return found

    def _tell(self, kind: str, held: Sequence[Held]) -> None:
        for listener in self.told:
            listener(kind, [each.reason for each in held])


def _is_seen(job_class: JobClass, waiting: Waiting) -> bool:
    return job_class.vo == waiting.vo and waiting.sub in (None, job_class.owner_sub)


def _only(found: Sequence[PilotRow], name: str) -> PilotRow:
    if not found:
        raise NotFoundError(f"there is no pilot {name!r}", hint="See `dirac pilot list`")
    if len(found) > 1:
        stamps = ", ".join(sorted(row.pilot_stamp for row in found))
        raise InvalidInputError(f"several pilots have the reference {name!r}", hint=f"Name a stamp: {stamps}")
    return found[0]


def _of_queue(row: PilotRow, tree: Tree) -> Offer | None:
    """Return what the configuration says of the place of a pilot."""
    where = row.grid_site, row.destination_site, row.queue
    return next((one.offer for one in places(tree, row.vo) if (one.site, one.ce, one.name) == where), None)


def _load(loads: Mapping[tuple[str, str, str, str], QueueLoad], vo: str, state: QueueState) -> QueueLoad:
    return loads.get((vo, state.place.site, state.place.ce, state.place.name), QueueLoad())


def _queue(state: QueueState, waiting: Waiting, load: QueueLoad) -> QueueExplanation:
    return QueueExplanation(
        ce=state.place.ce,
        queue=state.place.name,
        offer=capability(state.place.offer),
        fitting=sort_out(waiting.demand, [state.place.offer], {}).fitting,
        pilots_waiting=load.waiting,
        pilots_idle=load.idle,
        pilots_busy=load.busy,
        takes_pilots="blocked" if state.blocked else "yes" if state.room else "full",
    )


def capability(offer: Offer) -> Capability:
    """Return what people are told of an offer; who the users are that it is for is left out."""
    return Capability(
        cpu_time=offer.cpu_time,
        max_ram=offer.max_ram,
        processors=offer.processors,
        gpus=offer.gpus,
        whole_node=offer.whole_node,
        platforms=sorted(offer.platforms),
        tags=list(plain_tags(offer.tags)),
        required_tags=sorted(offer.required_tags),
        groups=sorted(offer.groups),
        users=len(offer.owners),
    )


def _no_pilot(here: Sorted, vo: str, pilots: int) -> list[Held]:
    """Say that nobody is there who would take the jobs that fit."""
    number = here.fitting
    if pilots or not number:
        return []
    text = f"{in_words(number)} fit, and no pilot of {vo} is there or on its way."
    return [Held(reason=WhyWaiting.NO_PILOT.value, jobs=number, jobs_alone=number, text=text)]


def _pilot_text(row: PilotRow, waiting: Waiting, here: Sorted, *, known: bool, over: bool) -> str:
    why = f" ({row.status_reason})" if row.status_reason else ""
    if over:
        return f"The pilot is {row.status}{why}; it gets no more jobs."
    if row.status != PilotStatus.RUNNING:
        first = f"The pilot is {row.status}{why}: it has not begun to work."
    elif row.current_job_id is not None:
        first = f"The pilot runs job {row.current_job_id}."
    else:
        first = "The pilot runs, and has no job."
    if not known:
        return f"{first} What its node has is known once it has asked this server for work."
    return f"{first} {_numbers(waiting, here)}"


def _site_text(waiting: Waiting, here: Sorted, queues: Sequence[QueueState], site: str) -> str:
    if not queues:
        return f"{site} has no queue: nothing can run there."
    number = len(queues)
    return (
        f"{site} has {number} queue{'' if number == 1 else 's'} for {waiting.vo}. {_numbers(waiting, here)}"
    )


def _numbers(waiting: Waiting, here: Sorted) -> str:
    whose = "of yours" if waiting.sub is not None else f"of {waiting.vo}"
    if not waiting.number:
        return f"No job {whose} waits."
    least = "at least " if waiting.at_least else ""
    text = (
        f"Of {least}{waiting.number} waiting jobs {whose}, {least if here.fitting else ''}{here.fitting} fit"
    )
    kept = sum(number for *_, number in here.closed_classes)
    return f"{text}; {kept} of these a limit keeps away now." if kept else f"{text}."
