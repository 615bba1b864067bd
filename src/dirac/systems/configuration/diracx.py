"""The tree in the shape in which DiracX serves its configuration; option names are DIRAC's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dirac.systems.configuration.legacy import Imported, below, fitting, set_operations, sites_of, sound
from dirac.systems.configuration.legacy_resources import imported_site, listed, number
from dirac.systems.configuration.legacy_rules import rules_of, take_rules
from dirac.systems.configuration.models import (
    ComputingElement,
    Queue,
    Site,
    Tree,
    User,
    VirtualOrganisation,
)
from dirac.systems.configuration.trees import overlaid, subject
from dirac.systems.identity.models import Property

_CLIENT_ID = "dirac"


def served(tree: Tree, issuer: str) -> dict[str, Any]:
    """Return the tree as DiracX has it.

    Settings of computing elements are not in it: they are between the server and the element.

    Args:
        tree: What the reader may see.
        issuer: Address of the installation's own identity provider.
    """
    sites: dict[str, dict[str, Any]] = {}
    for name, site in tree.sites.items():
        sites.setdefault(name.partition(".")[0], {})[name] = _site(site)
    return {
        "DIRAC": {"NoSetup": False},
        "Registry": {name: _registry(name, vo, issuer) for name, vo in tree.virtual_organisations.items()},
        "Operations": {
            # What is in force comes before what is only written down.
            name: overlaid(overlaid(tree.operations, vo.operations), rules_of(tree, every=True))
            for name, vo in tree.virtual_organisations.items()
        },
        "Resources": {"Sites": sites, "Computing": {"OSCompatibility": {}}},
        "LocalSite": None,
        "LogLevel": None,
        "MCTestingDestination": None,
        "Systems": None,
        "WebApp": None,
    }


def _registry(name: str, vo: VirtualOrganisation, issuer: str) -> dict[str, Any]:
    return {
        "IdP": {"URL": issuer, "ClientID": _CLIENT_ID},
        "Support": {
            "Email": vo.support.email,
            "Webpage": vo.support.webpage,
            "Message": vo.support.message,
        },
        "DefaultGroup": vo.default_group,
        "Users": {
            subject(username, user.sub): _user(name, username, user) for username, user in vo.users.items()
        },
        "Groups": {
            group: {
                "JobShare": options.job_share,
                "Properties": sorted(options.properties),
                "Users": sorted(
                    subject(username, user.sub) for username, user in vo.users.items() if group in user.groups
                ),
            }
            for group, options in vo.groups.items()
        },
    }


def _user(vo: str, username: str, user: User) -> dict[str, Any]:
    # "Prefered" is how DiracX spells it.
    return {
        "PreferedUsername": username,
        "Email": user.email,
        "Suspended": [vo] if user.suspended else [],
    }


def _site(site: Site) -> dict[str, Any]:
    return {
        "VO": site.virtual_organisations,
        "CEs": {name: _element(element) for name, element in site.computing_elements.items()},
    }


def _element(element: ComputingElement) -> dict[str, Any]:
    return {
        "CEType": element.type,
        "Queues": {name: _queue(queue) for name, queue in element.queues.items()},
    }


def _queue(queue: Queue) -> dict[str, Any]:
    return {
        "CPUTime": queue.cpu_time,
        "MaxTotalJobs": queue.max_running,
        "MaxWaitingJobs": queue.max_waiting,
        "NumberOfProcessors": queue.processors,
        "MaxRAM": queue.max_ram,
        "Tag": queue.tags,
        "RequiredTag": queue.required_tags,
        "Platform": queue.platforms,
    }


def imported(config: Mapping[str, Any], computing: Collection[str]) -> Imported:
    """Return DiracX's configuration as a tree; what has no place in it is reported, and not kept.

    Args:
        config: What its YAML says.
        computing: Names of the plugins for computing elements that are here.
    """
    report: list[str] = []
    vos = {}
    for name, registry in below(config, "Registry").items():
        vo = _vo(registry if isinstance(registry, Mapping) else {}, name)
        if sound(vo, VirtualOrganisation, f"the VO {name}", report):
            vos[name] = vo
    vos = fitting(vos, "virtual_organisations", report)
    tree: dict[str, Any] = {"virtual_organisations": vos}
    sites = {
        name: imported_site(site, set(vos), computing, name, report) for name, site in sites_of(dict(config))
    }
    tree["sites"] = fitting(sites, "sites", report)
    operations = below(config, "Operations")
    for name in vos:
        # There is one set of rules for all VOs here; DiracX has them in each.
        operations[name] = below(operations, name)
        tree = overlaid(take_rules(operations[name]), tree)
    set_operations(tree, operations, report)
    known = {"Registry", "Operations", "Resources"}
    report += [f"{name} has no place here, and is left out" for name in config if name not in known]
    return Imported({name: value for name, value in tree.items() if value}, report)


def _vo(registry: Mapping[str, Any], name: str) -> dict[str, Any]:
    groups, users, known = {}, {}, {str(each) for each in Property}
    for sub, user in below(registry, "Users").items():
        options = user if isinstance(user, Mapping) else {}
        username = str(options.get("PreferedUsername") or sub)
        made: dict[str, Any] = {"groups": []}
        if username != sub:
            made["sub"] = sub
        if options.get("Email"):
            made["email"] = options["Email"]
        if name in (options.get("Suspended") or ()):
            made["suspended"] = True
        users[sub] = username, made
    for group, options in below(registry, "Groups").items():
        if not isinstance(options, Mapping):
            continue
        properties = [each for each in listed(options.get("Properties")) if each in known]
        share = number(options.get("JobShare"))
        groups[group] = {"properties": properties, **({"job_share": share} if share else {})}
        for sub in listed(options.get("Users")):
            if sub in users:
                users[sub][1]["groups"].append(group)
    support = {name.lower(): value for name, value in below(registry, "Support").items() if value}
    default = str(registry.get("DefaultGroup") or "")
    return {
        # One that is not there would make all of the VO unsound.
        "default_group": default if default in groups else next(iter(groups), ""),
        "groups": groups,
        "users": {username: made for username, made in users.values() if made["groups"]},
        **({"support": support} if support else {}),
    }
