"""The tree as DIRAC's configuration has it, and back.

What has no place in the tree is kept under `extensions/dirac`, by comparison: whatever an export of what was
understood does not say, or says in another way, is kept as it was. So nothing is lost, and nothing is there
twice. Names of sections and options are DIRAC's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from dirac.formats.cfg import Section, split
from dirac.systems.configuration.checks import secrets_in
from dirac.systems.configuration.legacy_resources import (
    exported_data,
    exported_site,
    imported_data,
    imported_site,
    number,
)
from dirac.systems.configuration.legacy_rules import rules_of, take_rules
from dirac.systems.configuration.models import Site, Tree, VirtualOrganisation
from dirac.systems.configuration.trees import overlaid, plain
from dirac.systems.identity.models import Property

KEPT = "dirac"
_SHOWN = 50


class Imported(Struct, frozen=True):
    """What was read of another system's configuration.

    Attributes:
        tree: What was understood and what is kept, as plain values of our tree.
        report: What was not understood, or left out, and why; in words.
    """

    tree: dict[str, Any]
    report: list[str]


def imported(cfg: Section, computing: Collection[str]) -> Imported:
    """Return DIRAC's configuration as a tree.

    Args:
        cfg: Its options (text) and sections.
        computing: Names of the plugins for computing elements that are here.
    """
    report: list[str] = []
    vos = _vos(cfg, report)
    tree: dict[str, Any] = {"virtual_organisations": vos}
    sites = {}
    for name, section in sites_of(cfg):
        site = imported_site(section, set(vos), computing, name, report)
        if sound(site, Site, f"the site {name}", report):
            sites[name] = site
    tree["sites"] = fitting(sites, "sites", report)
    tree["data"] = imported_data(below(cfg, "Resources"), set(vos), report)
    set_operations(tree, below(cfg, "Operations"), report)
    rest = _rest(cfg, exported(msgspec.convert(tree, Tree)))
    rest = without_secrets(rest, KEPT, report)
    if rest:
        tree["extensions"] = {KEPT: rest}
        places = list(_leaves(rest))
        more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
        report.append(
            f"{len(places)} options have no place of their own and are kept under extensions/{KEPT}: "
            + ", ".join(places[:_SHOWN])
            + more
        )
    return Imported({name: value for name, value in tree.items() if value}, report)


def exported(tree: Tree) -> Section:
    """Return a tree as DIRAC's configuration; options that have their default are left out."""
    registry: Section = {"VO": {}, "Groups": {}, "Users": {}}
    defaults = overlaid(as_text(tree.operations), as_text(rules_of(tree, every=False)))
    operations: Section = {"Defaults": defaults} if defaults else {}
    for name, vo in tree.virtual_organisations.items():
        _export_vo(registry, name, vo)
        if vo.operations:
            operations[name] = as_text(vo.operations)
    sites: Section = {}
    for name, site in tree.sites.items():
        sites.setdefault(name.partition(".")[0], {})[name] = exported_site(site)
    cfg: Section = {
        "Registry": registry,
        "Resources": {"Sites": sites, **exported_data(tree)},
        "Operations": operations,
    }
    kept = tree.extensions.get(KEPT)
    return overlaid(_pruned(cfg), as_text(kept) if isinstance(kept, Mapping) else {})


def below(section: Mapping[str, Any], *names: str) -> Section:
    """Return a section below another one; an empty one if there is none."""
    for name in names:
        inner = section.get(name)
        section = inner if isinstance(inner, Mapping) else {}
    return dict(section)


def sound(value: Any, kind: Any, what: str, report: list[str]) -> bool:
    """Tell whether a value is one of a type; if not, report it."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        report.append(f"{what} cannot be taken over: {error}")
        return False
    return True


def without_secrets(section: dict[str, Any], place: str, report: list[str]) -> dict[str, Any]:
    """Leave out what looks like a secret, and report it."""
    for path, _ in list(secrets_in(section, ())):
        inner: Any = section
        for name in path[:-1]:
            inner = inner[int(name)] if isinstance(inner, list) else inner[name]
        if isinstance(inner, dict):
            del inner[path[-1]]
        else:
            inner[int(path[-1])] = ""
        full = "/".join((place, *path))
        report.append(f"{full} looks like a secret and is left out; put it into a file of the server")
    return section


def set_operations(tree: dict[str, Any], operations: dict[str, Any], report: list[str]) -> None:
    """Set options of all VOs and of each in a tree, as far as the VO is there; rules come to their place."""
    defaults = below(operations, "Defaults")
    for name, rules in take_rules(defaults).items():
        tree[name] = {**tree.get(name, {}), **rules}
    if defaults:
        tree["operations"] = without_secrets(defaults, "Operations/Defaults", report)
    for name, vo in tree["virtual_organisations"].items():
        if own := below(operations, name):
            vo["operations"] = without_secrets(own, f"Operations/{name}", report)


def as_text(value: Mapping[str, Any]) -> Section:
    """Return plain values as options: text, lists with commas."""
    return {
        name: as_text(each) if isinstance(each, Mapping) else _option(each) for name, each in value.items()
    }


def _option(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_option(each) for each in value)
    if value is None:
        return ""
    return " ".join(str(value).split()) if isinstance(value, str) else str(value)


def _vos(cfg: Section, report: list[str]) -> dict[str, Any]:
    """Return the VOs: DIRAC has their groups and users in lists for all of them."""
    registry = below(cfg, "Registry")
    found: dict[str, Any] = {}
    for name, group in below(registry, "Groups").items():
        if not isinstance(group, Mapping):
            continue
        vo = str(group.get("VO", "")).strip()
        if not vo:
            report.append(f"the group {name} is of no VO, and kept only")
            continue
        _add_group(found.setdefault(vo, {"groups": {}, "users": {}}), vo, name, group, registry)
    sound_ones = {}
    for vo, options in found.items():
        defaults = [
            *split(str(below(registry, "VO", vo).get("DefaultGroup", ""))),
            *split(str(registry.get("DefaultGroup", ""))),
        ]
        known = [name for name in defaults if name in options["groups"]]
        options["default_group"] = known[0] if known else next(iter(options["groups"]))
        if sound(options, VirtualOrganisation, f"the VO {vo}", report):
            sound_ones[vo] = options
    return fitting(sound_ones, "virtual_organisations", report)


def _add_group(
    vo: dict[str, Any], name_of_vo: str, name: str, group: Mapping[str, Any], registry: Section
) -> None:
    known = {str(each) for each in Property}
    properties = split(str(group.get("Properties", "")))
    made: dict[str, Any] = {"properties": [each for each in properties if each in known]}
    if (share := number(group.get("JobShare"))) is not None and share > 0:
        made["job_share"] = share
    vo["groups"][name] = made
    for username in split(str(group.get("Users", ""))):
        user = below(registry, "Users", username)
        entry = vo["users"].setdefault(username, {"groups": []})
        if name not in entry["groups"]:
            entry["groups"].append(name)
        if email := user.get("Email"):
            entry["email"] = str(email)
        if name_of_vo in split(str(user.get("Suspended", ""))):
            entry["suspended"] = True


def _export_vo(registry: Section, name: str, vo: VirtualOrganisation) -> None:
    registry["VO"][name] = {"DefaultGroup": vo.default_group}
    for group, options in vo.groups.items():
        made = registry["Groups"][group] = {
            "VO": name,
            "Properties": ", ".join(map(str, options.properties)),
            "Users": ", ".join(user for user, each in vo.users.items() if group in each.groups),
        }
        if "job_share" in plain(options):
            made["JobShare"] = str(options.job_share)
    for username, user in vo.users.items():
        made = registry["Users"].setdefault(username, {})
        if user.email:
            made["Email"] = user.email
        if user.suspended:
            made["Suspended"] = ", ".join([*split(made.get("Suspended", "")), name])


def sites_of(cfg: Section) -> Iterator[tuple[str, Section]]:
    """Yield the sites of all grids, by name."""
    for grid in below(cfg, "Resources", "Sites").values():
        if isinstance(grid, Mapping):
            for name, site in grid.items():
                if isinstance(site, Mapping):
                    yield name, dict(site)


def fitting(entries: dict[str, Any], section: str, report: list[str]) -> dict[str, Any]:
    """Leave out entries whose names do not fit."""
    return {
        name: value
        for name, value in entries.items()
        if sound({section: {name: value}}, Tree, f"{section}/{name}", report)
    }


def _rest(wanted: Mapping[str, Any], said: Mapping[str, Any]) -> Section:
    """Return what is wanted and not said, or said in another way."""
    rest: Section = {}
    for name, value in wanted.items():
        other = said.get(name)
        if isinstance(value, Mapping):
            inner = _rest(value, other if isinstance(other, Mapping) else {})
            if inner or (not value and not isinstance(other, Mapping)):
                rest[name] = inner
        elif not isinstance(other, str) or not _same(value, other):
            rest[name] = value
    return rest


def _same(one: str, other: str) -> bool:
    return one == other or split(one) == split(other)


def _pruned(section: Section) -> Section:
    """Leave out sections that became empty, but those of named things."""
    return {name: value for name, value in section.items() if value or not isinstance(value, dict)}


def _leaves(section: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}{name}/")
        else:
            yield f"{path}{name}"
