"""Options of Operations that are in force here: rules for jobs and pilots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dirac.systems.configuration.legacy_resources import listed, number
from dirac.systems.configuration.models import Pilot, Tree, Workload
from dirac.systems.configuration.trees import plain

_RULES = {
    ("JobDescription", "MinCPUTime"): "min_cpu_time",
    ("JobDescription", "MaxCPUTime"): "max_cpu_time",
    ("JobDescription", "DefaultCPUTime"): "default_cpu_time",
    ("JobDescription", "MaxInputData"): "max_input_data",
    ("Services", "JobScheduling", "MaxRescheduling"): "max_reschedules",
}
_RELEASE, _LOCATIONS = ("Pilot", "Version"), ("Pilot", "CVMFS_locations")


def take_rules(operations: dict[str, Any]) -> dict[str, Any]:
    """Take the rules out of operations; return them as plain values of our tree: `workload` and `pilot`."""
    workload: dict[str, Any] = {}
    for place, ours in _RULES.items():
        value = number(_at(operations, place))
        if value is not None and _fits({ours: value}, Workload):
            workload[ours] = value
            _drop(operations, place)
    pilot: dict[str, Any] = {}
    if len(releases := listed(_at(operations, _RELEASE))) == 1 and _fits({"release": releases[0]}, Pilot):
        pilot["release"] = releases[0]
        _drop(operations, _RELEASE)
    if _fits({"locations": (locations := listed(_at(operations, _LOCATIONS)))}, Pilot):
        pilot["locations"] = locations
        _drop(operations, _LOCATIONS)
    return {name: value for name, value in (("workload", workload), ("pilot", pilot)) if value}


def rules_of(tree: Tree, *, every: bool) -> dict[str, Any]:
    """Return the rules as Operations have them.

    Args:
        tree: The tree.
        every: Those as well that have their default.
    """
    found: dict[str, Any] = {}
    workload, pilot = plain(tree.workload), plain(tree.pilot)
    for place, ours in _RULES.items():
        if every or ours in workload:
            _put(found, place, getattr(tree.workload, ours))
    if every or "release" in pilot:
        _put(found, _RELEASE, [tree.pilot.release])
    if every or "locations" in pilot:
        _put(found, _LOCATIONS, tree.pilot.locations)
    return found


def _at(section: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    value: Any = section
    for name in place:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _put(section: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    for name in place[:-1]:
        section = section.setdefault(name, {})
    section[place[-1]] = value


def _drop(section: dict[str, Any], place: tuple[str, ...]) -> None:
    if len(place) == 1:
        section.pop(place[0], None)
        return
    inner = dict(section[place[0]])
    _drop(inner, place[1:])
    if inner:
        section[place[0]] = inner
    else:
        del section[place[0]]


def _fits(value: dict[str, Any], kind: type) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True
