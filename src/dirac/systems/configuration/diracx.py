"""The tree in the shape in which DiracX serves its configuration; option names are DIRAC's."""

from __future__ import annotations

from typing import Any

from dirac.systems.configuration.models import (
    ComputingElement,
    Queue,
    Site,
    Tree,
    User,
    VirtualOrganisation,
)
from dirac.systems.configuration.trees import subject

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
        "Operations": {name: _operations(tree) for name in tree.virtual_organisations},
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


def _operations(tree: Tree) -> dict[str, Any]:
    workload, pilot = tree.workload, tree.pilot
    return {
        "JobDescription": {
            "MinCPUTime": workload.min_cpu_time,
            "MaxCPUTime": workload.max_cpu_time,
            "MaxInputData": workload.max_input_data,
        },
        "Services": {"JobScheduling": {"MaxRescheduling": workload.max_reschedules}},
        "Pilot": {"Version": [pilot.release], "CVMFS_locations": pilot.locations},
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
