"""Dependencies between the jobs of one submission: from names to jobs; pure."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import Final, NamedTuple

from dirac.core.errors import InvalidInputError, TooLargeError

MOST: Final = 100_000
"""Dependencies in one submission: each is a row."""

_SHOWN = 5


class Dependent(NamedTuple):
    """A job that depends on others.

    Attributes:
        place: Its place among the jobs of the submission.
        names: Names of those that it depends on.
        where: Its place in what was sent, for messages.
    """

    place: int
    names: tuple[str, ...]
    where: str


def resolved(dependents: Sequence[Dependent], names: Sequence[str]) -> list[tuple[int, int]]:
    """Return pairs of a job and one that it depends on, by their places.

    A name that several jobs have, as those of a parametric description do, stands for all of them.

    Args:
        dependents: Jobs that depend on others.
        names: The names of all jobs of the submission.

    Raises:
        InvalidInputError: No job has that name, or jobs depend on each other in a circle.
        TooLargeError: There are more dependencies than are accepted.
    """
    if not dependents:
        return []
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    pairs: dict[tuple[int, int], None] = {}
    for one in dependents:
        for name in one.names:
            if name not in places:
                raise _unknown(name, one, list(places))
            if len(pairs) + len(places[name]) > MOST:
                raise TooLargeError(
                    f"there are more than {MOST} dependencies between these jobs",
                    where=one.where,
                    hint="let single jobs stand between groups of jobs that depend on each other",
                )
            pairs.update(dict.fromkeys((one.place, needed) for needed in places[name]))
    _check_circles(pairs, names, dependents)
    return list(pairs)


def _unknown(name: str, one: Dependent, known: Sequence[str]) -> InvalidInputError:
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(map(repr, known[:_SHOWN]))}"
    return InvalidInputError(
        f"no job of this submission has the name {name!r}", where=f"{one.where} DependsOn", hint=hint
    )


def _check_circles(
    pairs: dict[tuple[int, int], None], names: Sequence[str], dependents: Sequence[Dependent]
) -> None:
    graph: dict[int, list[int]] = {}
    for job, needed in pairs:
        graph.setdefault(job, []).append(needed)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1]
        where = {one.place: one.where for one in dependents}
        shown = " -> ".join(names[place] for place in reversed(circle))
        raise InvalidInputError(
            f"these jobs wait for each other: {shown}", where=f"{where[circle[0]]} DependsOn"
        ) from None
