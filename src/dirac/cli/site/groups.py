"""Which groups of an inventory have hosts: membership switches roles on, and says what secrets are needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dirac.cli.site.places import Site, load_yaml


def groups_of(site: Site) -> set[str]:
    """Return the groups that have hosts, in the common inventory and the site's together.

    Raises:
        InvalidInputError: A file cannot be read.
    """
    trees = [load_yaml(path) for path in sorted(site.distribution.common.glob("*.yml"))]
    return populated([*trees, load_yaml(site.hosts_file)])


def hosts_of(site: Site) -> list[str]:
    """Return the names of a site's hosts."""
    found: dict[str, None] = {}
    for group in _walk(load_yaml(site.hosts_file)):
        found.update(dict.fromkeys(group[1]))
    return list(found)


def populated(trees: list[dict[str, Any]]) -> set[str]:
    """Return the groups of some inventories that have hosts, of their own or of a child."""
    members: dict[str, bool] = {}
    children: dict[str, set[str]] = {}
    for tree in trees:
        for name, hosts, below in _walk(tree):
            members[name] = members.get(name, False) or bool(hosts)
            children.setdefault(name, set()).update(below)

    def has_hosts(name: str, seen: frozenset[str]) -> bool:
        if members.get(name):
            return True
        return any(has_hosts(child, seen | {name}) for child in children.get(name, ()) if child not in seen)

    return {name for name in members if has_hosts(name, frozenset())}


def _walk(tree: Mapping[str, Any]) -> list[tuple[str, list[str], list[str]]]:
    """Return for each group of an inventory its name, its hosts and its children."""
    found: list[tuple[str, list[str], list[str]]] = []
    waiting = list(tree.items())
    while waiting:
        name, group = waiting.pop()
        group = group if isinstance(group, Mapping) else {}
        children = group.get("children") or {}
        found.append((str(name), list(map(str, group.get("hosts") or {})), list(children)))
        waiting += children.items() if isinstance(children, Mapping) else []
    return found
