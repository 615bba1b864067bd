"""What a change does to people: who can no longer log in, and what they may no longer do."""

from __future__ import annotations

from collections.abc import Iterator

from dirac.systems.configuration.models import Effect, Tree, VirtualOrganisation

_SHOWN = 3


class PeopleEffects:
    """Implements `ports.Effects` for the registry, which this tree declares itself."""

    async def effects(self, old: Tree, new: Tree) -> list[Effect]:
        """Return what changes for members of VOs."""
        found: list[Effect] = []
        for name, before in old.virtual_organisations.items():
            after = new.virtual_organisations.get(name)
            if after is None:
                number = len(before.users)
                found.append(Effect(name, f"the VO {name} is removed, with its {_people(number)}", number))
            elif after is not before:
                found += _members(name, before, after)
        for name in new.virtual_organisations.keys() - old.virtual_organisations.keys():
            number = len(new.virtual_organisations[name].users)
            found.append(Effect(name, f"{name} is a new VO, with {_people(number)}", number, harm=False))
        return found


def _members(name: str, before: VirtualOrganisation, after: VirtualOrganisation) -> Iterator[Effect]:
    was = {user for user, options in before.users.items() if not options.suspended}
    now = {user for user, options in after.users.items() if not options.suspended}
    if out := sorted(was - now):
        yield Effect(name, f"{_people(len(out))} of {name} can no longer log in: {_some(out)}", len(out))
    if new := sorted(now - was):
        yield Effect(
            name, f"{_people(len(new))} of {name} can log in now: {_some(new)}", len(new), harm=False
        )
    for group, options in before.groups.items():
        kept = after.groups.get(group)
        lost = {str(each) for each in options.properties} - {
            str(each) for each in (kept.properties if kept else ())
        }
        members = [user for user in was & now if group in before.users[user].groups]
        if kept is not None and lost and members:
            yield Effect(
                name,
                f"{_people(len(members))} in {group} of {name} may no longer act as "
                f"{', '.join(sorted(lost))}",
                len(members),
            )


def _people(number: int) -> str:
    return "1 user" if number == 1 else f"{number:,} users".replace(",", " ")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
