"""The words that choose jobs, which are the same for every command that takes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from dirac.cli.filters import Since, Sites, Statuses, Where, conditions, names
from dirac.core.search import Condition

_ATTRIBUTES = {
    "sites": ("Site", Sites),
    "owners": ("Owner", names("--owner", "Of this user")),
    "owner_groups": ("OwnerGroup", names("--owner-group", "Of this group of users")),
    "vos": ("VO", names("--vo", "Of this VO, for those who see several")),
    "groups": ("JobGroup", names("--group", "Of this JobGroup", "-g")),
    "names": ("JobName", names("--name", "Of this JobName")),
    "types": ("JobType", names("--type", "Of this JobType")),
}
_OPTIONS = {
    "statuses": Statuses,
    **{name: option for name, (_, option) in _ATTRIBUTES.items()},
    "since": Since,
    "where": Where,
}


def chooses_jobs(function: Callable[..., None]) -> Callable[..., None]:
    """Let a command take the words that choose jobs.

    Its parameter ``search`` gets the conditions that they stand for. In its help, the words are where this
    parameter is.
    """

    @wraps(function)
    def command(**given: Any) -> None:
        words = {name: given.pop(name) for name in _OPTIONS}
        function(**given, search=_search(**words))

    given = inspect.signature(function, eval_str=True).parameters
    place = list(given).index("search")
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in _OPTIONS.items()
    ]
    others = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in given.values()]
    taken = [*others[:place], *options, *others[place + 1 :]]
    vars(command)["__signature__"] = inspect.Signature(taken)
    command.__annotations__ = {each.name: each.annotation for each in taken}
    return command


def _search(
    *, statuses: list[str] | None, since: str | None, where: list[str] | None, **named: list[str] | None
) -> list[Condition]:
    known = None
    if statuses:
        from dirac.systems.workload.models import JobStatus

        known = JobStatus
    values = {attribute: named[name] for name, (attribute, _) in _ATTRIBUTES.items()}
    return conditions(states=statuses, known=known, named=values, since=since, where=where)
