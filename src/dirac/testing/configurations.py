"""Configurations like those of real installations, as large as you like."""

from __future__ import annotations

from typing import Any

_COUNTRIES = ("ch", "de", "es", "fr", "it", "nl", "pl", "uk", "us", "jp")
_GRIDS = ("LCG", "EGI", "Cloud", "HPC")
_PROTOCOLS = (("https", 443), ("root", 1094))


def names_of_vos(number: int) -> list[str]:
    """Return names of VOs."""
    return [f"vo{index}.example.org" for index in range(number)]


def vo(index: int, users: int) -> dict[str, Any]:
    """Return a VO with groups and users."""
    groups = {
        f"vo{index}_user": {},
        f"vo{index}_prod": {"properties": ["NormalUser", "JobSharing"], "job_share": 3000},
        f"vo{index}_admin": {"properties": ["NormalUser", "JobAdministrator"]},
    }
    return {
        "default_group": f"vo{index}_user",
        "groups": groups,
        "users": {
            f"user{index}x{number}": {
                "groups": [f"vo{index}_user"] + ([f"vo{index}_prod"] if number % 7 == 0 else []),
                "sub": f"{index:08x}-{number:08x}-4a1b",
                "email": f"user{number}@vo{index}.example.org",
            }
            for number in range(users)
        },
        "support": {"email": f"support@vo{index}.example.org"},
    }


def site_name(index: int) -> str:
    """Return the name of a site."""
    return f"{_GRIDS[index % len(_GRIDS)]}.Site{index}.{_COUNTRIES[index % len(_COUNTRIES)]}"


def site(index: int, vos: list[str]) -> dict[str, Any]:
    """Return a site with computing elements and queues, for twenty of the VOs."""
    served = [vos[(index * 13 + step) % len(vos)] for step in range(min(20, len(vos)))]
    queues = {
        "short": {"cpu_time": 10_000, "max_waiting": 50},
        "long": {"cpu_time": 500_000, "processors": 8, "max_ram": 16_000, "tags": ["MultiProcessor"]},
        "gpu": {"gpus": 1, "required_tags": ["GPU"], "platforms": ["x86_64_el9"]},
    }
    return {
        "virtual_organisations": sorted(set(served)),
        "computing_elements": {
            f"ce{number}.site{index}.example.org": {"type": "local", "queues": queues}
            for number in range(1 + index % 2)
        },
    }


def storage(number: int) -> dict[str, Any]:
    """Return storage elements with protocols at the first sites."""
    return {
        f"SE{index}-disk": {
            "sites": [site_name(index)],
            "backend": "EOS",
            "protocols": {
                scheme: {"protocol": scheme, "host": f"se{index}.example.org", "port": port, "path": "/eos"}
                for scheme, port in _PROTOCOLS
            },
        }
        for index in range(number)
    }


def tree(vos: int, users: int, sites: int) -> dict[str, Any]:
    """Return a whole configuration as plain values.

    Args:
        vos: How many VOs.
        users: How many users each of them has.
        sites: How many sites.
    """
    names = names_of_vos(vos)
    return {
        "virtual_organisations": {name: vo(index, users) for index, name in enumerate(names)},
        "sites": {site_name(index): site(index, names) for index in range(sites)},
        "data": {
            "storage_elements": storage(min(sites, 50)),
            "catalogs": {"FileCatalog": {"type": "FileCatalog", "master": True}},
            "transfer_servers": {"FTS1": {"url": "https://fts.example.org:8446"}},
        },
        "workload": {"max_priority": 20},
        "operations": {"JobDescription": {"DefaultCPUTime": 86400}, "Pilot": {"Version": "9.1.0"}},
    }
