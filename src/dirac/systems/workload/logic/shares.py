"""Who comes next: shares of groups in a VO and of users in a group, pure arithmetic.

It is stride scheduling: who has got a job moves on by one divided by their share, and who has moved least is
served. An entity that had nothing to run, or nothing that fitted, is put no further back than `CREDIT` jobs:
it catches up a little, and does not take everything.

What somebody uses corrects their share: the processors that they have running at this moment, and those that
they had on the recent average (`logic/usage.py`). With ``due`` their part of all shares, and ``u`` what they
use of ``U`` that all use together,

    corrected share = share * min(4, max(1/4, due / has)),  has = (u + due * I) / (U + I)

where `INERTIA`, I, is one processor that counts as used by all as is due to them. So who has used more than
is due to them gets less, who has used less gets more, and among equal shares who has used more is behind. It
is the idea of Slurm's factor for fair shares (priority/multifactor): compare the part of the usage with the
part of the shares; here the result is a share again, and bounded. With nothing used all is as configured, and
that is where it comes back to when nobody uses anything: ``|has - due| <= U / I``, and the past in U is
halved with each half-life.

While somebody always has a job that fits, the others of the same level get before their next one at most
``sum over the others of (their share / own share + CREDIT + 1)`` jobs, by corrected shares; when these change
meanwhile, ``16 * their share / own share + 16 * CREDIT + 1`` of each, by configured ones
(`most_between`). A user waits as many turns of the group as that says for users, and the group for each turn
as it says for groups. Groups in the background have no such bound: they get what fits nobody else.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Final

from dirac.systems.configuration.models import Tree
from dirac.systems.workload.ports.running import Front

CREDIT: Final = 10
"""Jobs by which somebody may be behind."""

MOST_CORRECTION: Final = 4.0
"""By how much, at most, what is running raises or lowers a share."""

INERTIA: Final = 1.0
"""Processors; what is used weighs little beside shares as long as it is less."""

_DEFAULT_SHARE: Final = 1000.0

Fronts = Mapping[str, Mapping[str, list[Front]]]
"""Fronts by group and subject, each list in the order of service."""


class Siblings:
    """Those who share something.

    Args:
        shares: What each is to get, in parts; whoever is not named has 1000.
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        self._given = dict(shares)
        self._corrected: dict[str, float] = {}
        self._passes: dict[str, float] = {}
        self._now = 0.0

    def share(self, name: str) -> float:
        """Return a share as it is at present."""
        return self._corrected.get(name) or self._given.get(name, _DEFAULT_SHARE)

    def position(self, name: str) -> float:
        """Return how far somebody is: the smallest comes next."""
        least = self._now - CREDIT / self.share(name)
        return max(self._passes.get(name, self._now), least)

    def order(self, names: Iterable[str]) -> list[str]:
        """Return these in the order in which they come next."""
        some = list(names)
        return sorted(some, key=self._place) if len(some) > 1 else some

    def _place(self, name: str) -> tuple[float, float, str]:
        """Return the sort key: of those who are equally far, the one with the greatest share comes first."""
        return self.position(name), -self.share(name), name

    def serve(self, name: str) -> None:
        """Note that somebody has got a job."""
        reached = self.position(name)
        self._now = max(self._now, reached)
        self._passes[name] = reached + 1 / self.share(name)

    def correct(self, usage: Mapping[str, float], active: Iterable[str]) -> None:
        """Correct the shares by what each uses.

        Args:
            usage: Processors, in use and on the recent average.
            active: Those who wait for something.
        """
        names = {*usage, *active}
        parts = {name: self._given.get(name, _DEFAULT_SHARE) for name in names}
        all_parts, all_used = sum(parts.values()), sum(usage.values())
        self._corrected = {}
        if not all_used:
            return
        for name, part in parts.items():
            due = part / all_parts
            has = (usage.get(name, 0.0) + due * INERTIA) / (all_used + INERTIA)
            self._corrected[name] = part * max(1 / MOST_CORRECTION, min(MOST_CORRECTION, due / has))


def most_between(share: float, others: Iterable[float], *, change: float = 1.0) -> float:
    """Return how many jobs others of the same level get, at most, before it is one's turn again.

    Args:
        share: One's own.
        others: The shares of the others.
        change: By how much each of them may be greater or smaller at times.
    """
    most = change * change
    return sum(most * other / share + most * CREDIT + 1 for other in others)


class VoShares:
    """The shares in one VO.

    Args:
        tree: The configuration.
        vo: The virtual organisation.
    """

    def __init__(self, tree: Tree, vo: str) -> None:
        known = tree.virtual_organisations.get(vo)
        groups = known.groups if known is not None else {}
        users = known.users if known is not None else {}
        self.groups = Siblings({name: group.job_share for name, group in groups.items()})
        self.background = frozenset(name for name, group in groups.items() if group.background)
        self._of_users = {user.sub or name: float(user.job_share) for name, user in users.items()}
        self._users: dict[str, Siblings] = {}

    def users(self, group: str) -> Siblings:
        """Return the users of a group."""
        found = self._users.get(group)
        if found is None:
            found = self._users[group] = Siblings(self._of_users)
        return found

    def order(self, fronts: Fronts) -> Iterable[tuple[str, str]]:
        """Yield groups with their users in the order of service, those in the background last."""
        ordered = self.groups.order(fronts)
        if self.background:
            ordered.sort(key=self.background.__contains__)
        for group in ordered:
            for owner in self.users(group).order(fronts[group]):
                yield group, owner

    def choose(self, fronts: Fronts, *unfit: Container[int]) -> Front | None:
        """Return the front that is to be served, None if all are of classes that do not fit.

        Who comes next is a matter of shares; of their jobs it is the one with the highest priority, and among
        these the oldest.
        """
        for group, owner in self.order(fronts):
            for front in fronts[group][owner]:
                if not any(front.class_id in some for some in unfit):
                    return front
        return None

    def serve(self, group: str, owner: str) -> None:
        """Note that a user has got a job."""
        self.groups.serve(group)
        self.users(group).serve(owner)

    def correct(self, usage: Mapping[tuple[str, str], float], fronts: Fronts) -> None:
        """Correct all shares by the processors used, by group and subject."""
        of_groups: dict[str, float] = {}
        of_users: dict[str, dict[str, float]] = {}
        for (group, owner), used in usage.items():
            of_groups[group] = of_groups.get(group, 0.0) + used
            of_users.setdefault(group, {})[owner] = used
        self.groups.correct(of_groups, fronts)
        for group in {*of_users, *fronts}:
            self.users(group).correct(of_users.get(group, {}), fronts.get(group, {}))
