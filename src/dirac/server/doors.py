"""Who can do something: the policies of the routes, asked about everybody whom the registry has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from fastapi import APIRouter, Query
from fastapi.routing import APIRoute

from dirac.core.errors import InvalidInputError, NotFoundError
from dirac.core.search import Condition, Paging, SearchParams
from dirac.systems.configuration.logic import Configuration
from dirac.systems.configuration.managing import declared
from dirac.systems.configuration.models import Tree
from dirac.systems.identity import policy
from dirac.systems.identity.logic.registry import Registry
from dirac.systems.identity.logic.rights import allows, openings, somebody, used
from dirac.systems.identity.models import Able, Identity, Place, RegisteredVO, WhoCan
from dirac.systems.workload import policy as workload
from dirac.systems.workload.logic.pilots import Pilots
from dirac.systems.workload.logic.queries import Queries
from dirac.transport.routing import Allowed, Open, Policy, SystemRouter, allowed, dependencies, provided

router = SystemRouter("/api/auth", "auth")

_MOST_NAMED = 100
# Routes of other parts that are about one site.
_OF_SITES = ("revoke_holdings", "list_holders")


class Thing(NamedTuple):
    """What something is to be done to.

    Attributes:
        vo: Its VO.
        owner: Name of the user that it belongs to; None if it is the VO's.
        place: Where it is, of what those look after who manage that.
    """

    vo: str
    owner: str | None
    place: Place | None = None


class Doors:
    """Answers who may pass which route's policy.

    Args:
        routers: All routes.
        registry: Who there is.
        queries: Finds jobs.
        pilots: Finds pilots.
        configuration: Tells who looks after which sites.
    """

    def __init__(
        self,
        routers: Sequence[APIRouter],
        registry: Registry,
        queries: Queries,
        pilots: Pilots,
        configuration: Configuration,
    ) -> None:
        self._configuration = configuration
        self._routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
        self._registry = registry
        self._queries = queries
        self._pilots = pilots

    async def who(self, caller: Identity, verb: str, thing: str) -> WhoCan:
        """Return who can do something, of those whom the caller may know: the VO's members, or all.

        Raises:
            InvalidInputError: There is no such verb for such a thing; the hint lists those there are.
            NotFoundError: There is no such thing that the caller may see.
        """
        noun, _, name = thing.partition(":")
        route = self._route(verb, noun)
        guard = next(need for need in dependencies(route.dependant) if isinstance(need, Allowed | Open))
        request = f"{min(route.methods or ())} {route.path}"
        if isinstance(guard, Open):
            return WhoCan(route.unique_id, request, ["everybody, without a token"], [])
        found = await self._thing(caller, noun, name) if name else None
        own = None if policy.is_operator(caller) else caller.vo
        vos = await self._registry.vos(own)
        able = [one for vo in vos for one in _able(guard.policy, vo, found)]
        if found is not None and found.place is not None:
            tree = (await self._configuration.current()).tree
            able += _looking_after(guard.policy, tree, found.place, own)
        return WhoCan(route.unique_id, request, openings(guard.policy), able)

    def _route(self, verb: str, noun: str) -> APIRoute:
        same = [
            route
            for route in self._routes
            if (noun and any(noun.startswith(str(tag).strip(".").rstrip("s")) for tag in route.tags))
            or (noun == "site" and route.name in _OF_SITES)
        ]
        if not same:
            nouns = sorted({str(tag).rstrip("s") for route in self._routes for tag in route.tags})
            raise InvalidInputError(
                f"nothing can be done to {noun!r}", where="object", hint=f"Things are: {', '.join(nouns)}"
            )
        for wanted in (verb, verb.replace("-", "_")):
            for route in same:
                if wanted in (route.name, route.unique_id, route.name.partition("_")[0]):
                    return route
        verbs = sorted({route.name.partition("_")[0] for route in same})
        raise InvalidInputError(
            f"there is no way to {verb[:64]!r} a {noun}", where="verb", hint=f"Verbs are: {', '.join(verbs)}"
        )

    async def _thing(self, caller: Identity, noun: str, name: str) -> Thing:
        if noun == "job":
            workload.read_jobs(caller)
            page = await self._queries.search(caller, _wanted("JobID", name, "VO", "Owner"), Paging())
        elif noun == "pilot":
            workload.read_pilots(caller)
            wanted = _wanted("PilotStamp", name, "VO", "GridSite", "DestinationSite")
            page = await self._pilots.search(caller, wanted, Paging())
        elif noun == "site":
            tree = (await self._configuration.current()).tree
            known = tree.sites.get(name)
            if known is None or not (
                policy.is_operator(caller)
                or caller.vo in known.virtual_organisations
                or caller.looks_after(name)
            ):
                raise NotFoundError(f"there is no site {name!r}")
            return Thing(caller.vo, None, Place(name))
        else:
            raise InvalidInputError(
                f"a {noun} has no owner of its own", where="object", hint=f"Leave out {':' + name!r}"
            )
        if not page.rows:
            raise NotFoundError(f"there is no {noun} {name!r}")
        row = page.rows[0]
        place = Place(row["GridSite"], row["DestinationSite"]) if noun == "pilot" else None
        return Thing(row["VO"], row.get("Owner"), place)


def _wanted(parameter: str, value: str, *shown: str) -> SearchParams:
    return SearchParams(parameters=[*shown], search=[Condition(parameter, "eq", value)])


def _able(door: Policy, vo: RegisteredVO, thing: Thing | None) -> Iterator[Able]:
    """Yield the groups of a VO that open a door, with their members who reach a thing behind it."""
    reach = workload.REACH.get(door)
    for group in vo.groups:
        member = somebody("user", vo=vo.name, group=group.name, properties=group.properties)
        if not allows(door, member):
            continue
        named = [
            user.username
            for user in vo.users
            if group.name in user.groups
            and not user.suspended
            and (thing is None or reach is None or _reaches(reach(member), vo.name, user.username, thing))
        ]
        if named:
            yield Able(vo.name, group.name, used(door, member), len(named), named[:_MOST_NAMED])


def _looking_after(door: Policy, tree: Tree, place: Place, vo: str | None) -> Iterator[Able]:
    """Yield those who look after a place, if that opens a door: of one VO, or of all; groups have a `*`."""
    for managed, whose, managers in declared(tree):
        if not managed.covers(place.site, place.ce) or vo not in (None, whose):
            continue
        person = somebody("user", vo=whose)
        rights = used(door, msgspec.structs.replace(person, manages=frozenset({managed})))
        names = [*managers.users, *(f"{group}/*" for group in managers.groups)]
        if rights and names:
            yield Able(whose, "", rights, len(names), names[:_MOST_NAMED])


def _reaches(visible: workload.Visibility, vo: str, username: str, thing: Thing) -> bool:
    """Tell whether a member of a VO, who sees this much, gets to a thing."""
    if visible.vo is None:
        return True
    if vo != thing.vo:
        return False
    return visible.owner_sub is None or thing.owner is None or username == thing.owner


Words = Annotated[str, Query(min_length=1, max_length=128)]


@router.get("/who-can")
async def who_can(
    caller: Annotated[Identity, allowed(policy.person)],
    doors: Annotated[Doors, provided(Doors)],
    verb: Words,
    thing: Annotated[str, Query(alias="object", min_length=1, max_length=128)],
) -> WhoCan:
    """Tell who can do something, for instance `kill` to `job:42`, or `apply` to the `configuration`."""
    return await doors.who(caller, verb, thing)


def furnish(provided_: dict[type, Any], routers: Sequence[APIRouter]) -> None:
    """Provide what this module's routes ask for."""
    provided_[Doors] = Doors(
        routers, provided_[Registry], provided_[Queries], provided_[Pilots], provided_[Configuration]
    )
