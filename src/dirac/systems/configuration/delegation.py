"""What administrators of a VO may change: their own VO's part, in files of its own, within limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dirac.systems.configuration.managing import declared
from dirac.systems.configuration.models import Change, Delegation, Managers, Tree, VirtualOrganisation
from dirac.systems.configuration.trees import normal_form

VOS = "virtual_organisations"


def own_only(tree: Tree, vo: str) -> bool:
    """Tell whether a part of the tree says nothing but what concerns one VO."""
    return list(tree.virtual_organisations) in ([], [vo]) and normal_form(tree) == normal_form(
        Tree(virtual_organisations=tree.virtual_organisations)
    )


def refused(
    old: Tree, new: Tree, changes: Sequence[Change], vo: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what an administrator of a VO may not change of all this: its place, and why.

    The limits are those of the old tree: nobody widens them with the change that needs it.
    """
    limits = old.delegation
    options = {str(option.value) for option in limits.options}
    before, after = (tree.virtual_organisations.get(vo) for tree in (old, new))
    allowed = ", ".join(sorted(options)) or "nothing"
    for change in changes:
        path = tuple(change.path.split("/"))
        if path[:2] != (VOS, vo):
            yield path, f"this is not a part of the VO {vo}"
        elif before is None or after is None:
            yield path, "the VO itself is the installation's"
        elif path[2] not in options:
            yield path, f"the installation keeps this option for itself; of {vo} you may change: {allowed}"
    if before is not None and after is not None:
        managers = [one for _, whose, one in declared(old) if whose == vo]
        yield from _beyond(before, after, limits, vo, managers)


def _beyond(
    before: VirtualOrganisation,
    after: VirtualOrganisation,
    limits: Delegation,
    vo: str,
    managers: Sequence[Managers],
) -> Iterator[tuple[tuple[str, ...], str]]:
    free = frozenset(limits.properties)
    tied: dict[str, list[str]] = {
        name: sorted(set(group.properties) - free)
        for vo_ in (before, after)
        for name, group in vo_.groups.items()
        if not free.issuperset(group.properties)
    }
    for one in managers:
        for name in one.groups:
            tied.setdefault(name, []).append("sites to look after")
    looking_after = {name for one in managers for name in one.users}
    for name in _differing(before.groups, after.groups):
        if name in tied:
            properties = ", ".join(tied[name])
            yield (VOS, vo, "groups", name), f"a group with {properties} is the installation's to change"
    for name in _differing(before.users, after.users):
        old, new = before.users.get(name), after.users.get(name)
        known, wanted = set(old.groups if old else ()), set(new.groups if new else ())
        for group in sorted((known ^ wanted) & tied.keys()):
            properties = ", ".join(tied[group])
            yield (
                (VOS, vo, "users", name, "groups"),
                (f"who is in the group {group}, which has {properties}, is the installation's to say"),
            )
        if old and new and (known & tied.keys() or name in looking_after):
            # Another subject or certificate is another person, who would get the rights of the one before.
            reason = "this user has rights that only the installation gives"
            if (old.sub or name) != (new.sub or name):
                yield (VOS, vo, "users", name, "sub"), reason
            if set(old.dns) != set(new.dns):
                yield (VOS, vo, "users", name, "dns"), reason
            if old.suspended != new.suspended:
                # Who is suspended is in no group, and who is restored in all of them.
                yield (VOS, vo, "users", name, "suspended"), reason
    most = limits.max_users
    if most is not None and len(after.users) > max(most, len(before.users)):
        yield (VOS, vo, "users"), f"there would be {len(after.users)} users; the installation allows {most}"


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[str]:
    return [
        name
        for name in before.keys() | after.keys()
        if normal_form(before.get(name)) != normal_form(after.get(name))
    ]
