"""What a submission would do, as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dirac.cli.output import print_table
from dirac.cli.report import heading, paint

if TYPE_CHECKING:
    from dirac.systems.workload.models import Rehearsal, RehearsedClass

_CLASSES = {"jobs": "JOBS", "name": "LIKE", "queues": "QUEUES", "slots": "SLOTS", "sites": "SITES"}
_EFFECT = {
    "requirement": "REQUIREMENT",
    "wanted": "WANTED",
    "removes": "REMOVES",
    "removes_alone": "IT ALONE",
}
_OBSTACLES = {"jobs": "JOBS", "minor_status": "WHY", "detail": "DETAIL"}
_SITES = 4


def would_run(found: Rehearsal) -> bool:
    """Tell whether every job that was looked at would wait for a queue that fits."""
    return not found.obstacles and all(each.fitting for each in found.classes)


def print_rehearsal(found: Rehearsal) -> None:
    """Print what a submission would do."""
    print(f"Nothing was submitted. {_jobs(found.jobs)} would be made:")
    print(f"  {found.at_once} would wait for a pilot at once")
    if found.prepared_first:
        print(
            f"  {found.prepared_first} would be prepared first, for their data, other jobs, or further steps"
        )
    if found.dependencies:
        print(f"  {found.dependencies} dependencies between them")
    if found.not_looked_at:
        print(f"  {found.not_looked_at} of them were not looked at: they are too many")
    if found.classes:
        heading(f"Of {found.queues} queue{'' if found.queues == 1 else 's'} you may use, these fit")
        print_table([_row(each) for each in found.classes], _CLASSES)
    if found.more_classes:
        print(f"... and {found.more_classes} more kinds of jobs")
    if found.obstacles:
        heading("As things are, these would not wait for a pilot")
        rows = [{name: getattr(each, name) for name in _OBSTACLES} for each in found.obstacles]
        print_table(rows, _OBSTACLES)
    for each in found.classes:
        if not each.fitting:
            _print_unfit(each)


def _row(each: RehearsedClass) -> dict[str, object]:
    sites = ", ".join(place.site for place in each.places[:_SITES])
    more = f" and {len(each.places) - _SITES} more" if len(each.places) > _SITES else ""
    return {
        "jobs": each.jobs,
        "name": each.name,
        "queues": each.fitting,
        "slots": each.slots,
        "sites": sites + more or "none",
    }


def _print_unfit(each: RehearsedClass) -> None:
    heading(f"{_jobs(each.jobs)} like {each.name} cannot run anywhere")
    if each.requirements:
        rows = [{name: getattr(effect, name) for name in _EFFECT} for effect in each.requirements]
        print_table(rows, _EFFECT)
    if each.suggestion is not None:
        print(paint(each.suggestion.text, "green"))


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"
