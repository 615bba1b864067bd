"""Who looks after which sites and computing elements, as the configuration declares it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator

from dirac.systems.configuration.models import Managers, Snapshot, Tree
from dirac.systems.configuration.trees import subject
from dirac.systems.identity.models import Identity, Place

_NONE: frozenset[Place] = frozenset()


class Managing:
    """The managers of a tree, found by who they are.

    Args:
        tree: The tree.
    """

    def __init__(self, tree: Tree) -> None:
        users: defaultdict[tuple[str, str], set[Place]] = defaultdict(set)
        groups: defaultdict[tuple[str, str], set[Place]] = defaultdict(set)
        for place, vo, managers in declared(tree):
            known = tree.virtual_organisations.get(vo)
            for name in managers.users:
                user = known.users.get(name) if known else None
                if user is not None:
                    users[vo, subject(name, user.sub)].add(place)
            for name in managers.groups:
                groups[vo, name].add(place)
        self._users = {key: frozenset(places) for key, places in users.items()}
        self._groups = {key: frozenset(places) for key, places in groups.items()}

    def places(self, identity: Identity) -> frozenset[Place]:
        """Return what somebody looks after: a person, who does not show a limited proxy."""
        if identity.kind != "user" or identity.limited:
            return _NONE
        vo = identity.vo
        return self._users.get((vo, identity.sub), _NONE) | self._groups.get((vo, identity.group), _NONE)


class Managed:
    """The managers of the configuration in force.

    Args:
        current: Gives it, at no cost.
    """

    def __init__(self, current: Callable[[], Awaitable[Snapshot]]) -> None:
        self._current = current
        self._known: tuple[Tree, Managing] | None = None

    async def current(self) -> Managing:
        """Return them; they are looked for once in each version."""
        tree = (await self._current()).tree
        known = self._known
        if known is None or known[0] is not tree:
            known = self._known = tree, Managing(tree)
        return known[1]


def declared(tree: Tree) -> Iterator[tuple[Place, str, Managers]]:
    """Yield places, VOs and their members who look after these."""
    for site, options in tree.sites.items():
        for vo, managers in options.managers.items():
            yield Place(site), vo, managers
        for name, element in options.computing_elements.items():
            for vo, managers in element.managers.items():
                yield Place(site, name), vo, managers
