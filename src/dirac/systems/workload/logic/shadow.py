"""A candidate for shares, limits and bans, evaluated beside what is in force; it decides nothing.

Of the decisions that are sampled, the same question is put to two arbiters: one with the configuration in
force, one with `workload.shadow` put over it. Each counts as served whom it chose, so that both are in the
state in which they would be had they decided; what waits and what runs is as it really is. Two equal
configurations never differ. A decision differs also where only the order does: how the jobs would be spread
over groups is told beside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping
from datetime import datetime

import msgspec

from dirac.core.time import Clock
from dirac.systems.configuration.models import Shadow, Site, Tree, VirtualOrganisation
from dirac.systems.identity.models import Identity
from dirac.systems.workload.logic.limits import Running
from dirac.systems.workload.logic.looking import Look
from dirac.systems.workload.logic.shares import VoShares
from dirac.systems.workload.models import ShadowGroup, ShadowKind, ShadowReport
from dirac.systems.workload.policy import readable
from dirac.systems.workload.ports.running import Front

_ALL = 100


def candidate(tree: Tree, shadow: Shadow) -> Tree:
    """Return the configuration as it would be."""
    changed = msgspec.structs.replace
    vos: dict[str, VirtualOrganisation] = dict(tree.virtual_organisations)
    for name, shares in shadow.shares.items():
        vo = vos[name]
        groups = {each: changed(vo.groups[each], job_share=share) for each, share in shares.groups.items()}
        users = {each: changed(vo.users[each], job_share=share) for each, share in shares.users.items()}
        vos[name] = changed(vo, groups={**vo.groups, **groups}, users={**vo.users, **users})
    sites: dict[str, Site] = dict(tree.sites)
    for name, limits in shadow.limits.items():
        sites[name] = changed(sites[name], limits=limits)
    for vo_name, banned in shadow.banned_sites.items():
        for name in banned:
            served = [each for each in sites[name].virtual_organisations if each != vo_name]
            sites[name] = changed(sites[name], virtual_organisations=served)
    return changed(tree, virtual_organisations=vos, sites=sites)


class Tally(msgspec.Struct):
    """What was found in one VO.

    Attributes:
        kinds: How many decisions, by how they differ.
        groups: By group, how many jobs it got as it is, and how many it would have got.
    """

    kinds: Counter[ShadowKind]
    groups: dict[str, list[int]]


class Arbiters(msgspec.Struct, frozen=True):
    """The shares of one VO, as they are and as they would be."""

    present: VoShares
    candidate: VoShares


class ShadowPolicy:
    """Compares decisions.

    Args:
        running: What runs where, for limits.
        clock: The time.

    Attributes:
        told: Who is told how a decision differs: the VO, and the kind.
    """

    def __init__(self, running: Running, clock: Clock) -> None:
        self._running = running
        self._clock = clock
        self._tree: Tree | None = None
        self._shadow: Shadow | None = None
        self._candidate = Tree()
        self._arbiters: dict[str, Arbiters] = {}
        self._tallies: dict[str, Tally] = {}
        self._since: datetime | None = None
        self._asked = 0
        self.told: list[Callable[[str, str], None]] = []

    def follow(self, tree: Tree) -> None:
        """Take note of the configuration in force."""
        if tree is self._tree:
            return
        self._tree, shadow = tree, tree.workload.shadow
        self._arbiters.clear()
        if shadow != self._shadow:
            self._shadow, self._asked = shadow, 0
            self._tallies.clear()
            self._since = self._clock.now() if shadow is not None else None
        if shadow is not None:
            self._candidate = candidate(tree, shadow)

    @property
    def is_on(self) -> bool:
        """Whether there is a candidate."""
        return self._shadow is not None

    def compare(self, vo: str, site: str, look: Look, unfit: Container[int]) -> None:
        """Look at a decision: what a pilot gets that is at a site, for which these classes do not fit.

        Args:
            vo: The pilot's VO.
            site: Where it is.
            look: What waits.
            unfit: Classes that do not fit.
        """
        shadow, tree = self._shadow, self._tree
        if shadow is None or tree is None:
            return
        before, self._asked = self._asked, self._asked + 1
        if self._asked * shadow.percent // _ALL == before * shadow.percent // _ALL:
            return
        arbiters = self._arbiters.get(vo)
        if arbiters is None:
            made = Arbiters(VoShares(tree, vo), VoShares(self._candidate, vo))
            arbiters = self._arbiters[vo] = made
        present = arbiters.present.choose(look.by_owner, unfit, self._running.closed(site))
        would: Front | None = None
        if not self._is_banned(vo, site):
            limits = self._candidate.sites[site].limits if site in self._candidate.sites else {}
            closed = self._running.closed_by(site, limits)
            would = arbiters.candidate.choose(look.by_owner, unfit, closed)
        for front, shares in ((present, arbiters.present), (would, arbiters.candidate)):
            if front is not None:
                shares.serve(*look.owners[front.class_id])
        self._count(vo, look, present, would)

    def correct(self, vo: str, usage: Mapping[tuple[str, str], float], look: Look | None) -> None:
        """Correct the shares of both by what is used."""
        arbiters = self._arbiters.get(vo)
        if arbiters is not None:
            for shares in (arbiters.present, arbiters.candidate):
                shares.correct(usage, look.by_owner if look is not None else {})

    def _is_banned(self, vo: str, site: str) -> bool:
        return self._shadow is not None and site in self._shadow.banned_sites.get(vo, ())

    def _count(self, vo: str, look: Look, present: Front | None, would: Front | None) -> None:
        if present is None and would is None:
            return  # nobody has decided anything
        tally = self._tallies.setdefault(vo, Tally(Counter(), {}))
        kind = _kind(look.owners, present, would)
        tally.kinds[kind] += 1
        for place, front in enumerate((present, would)):
            if front is not None:
                tally.groups.setdefault(look.owners[front.class_id][0], [0, 0])[place] += 1
        for listener in self.told:
            listener(vo, kind.value)

    def report(self, identity: Identity) -> list[ShadowReport]:
        """Return what was found in the VOs whose jobs somebody may see."""
        shadow, visible = self._shadow, readable(identity)
        if shadow is None or self._since is None:
            return []
        return [
            ShadowReport(
                vo=name,
                since=self._since,
                percent=shadow.percent,
                decisions=tally.kinds.total(),
                differing=tally.kinds.total() - tally.kinds[ShadowKind.SAME],
                kinds={kind: tally.kinds[kind] for kind in ShadowKind if tally.kinds[kind]},
                groups=[ShadowGroup(each, *numbers) for each, numbers in sorted(tally.groups.items())],
            )
            for name, tally in sorted(self._tallies.items())
            if visible.vo in (None, name)
        ]


def _kind(owners: Mapping[int, tuple[str, str]], present: Front | None, would: Front | None) -> ShadowKind:
    if present is None:
        return ShadowKind.JOB
    if would is None:
        return ShadowKind.NO_JOB
    if present.class_id == would.class_id:
        return ShadowKind.SAME
    is_, would_be = owners[present.class_id], owners[would.class_id]
    if is_ == would_be:
        return ShadowKind.OTHER_JOB
    return ShadowKind.OTHER_USER if is_[0] == would_be[0] else ShadowKind.OTHER_GROUP
