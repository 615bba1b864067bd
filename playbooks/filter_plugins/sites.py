# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration tree of a site, put together from its own part and one file per virtual organisation."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError

_OWN = ("name", "sites")  # keys of a VO's file that are not part of its section


def vo_definitions(files: list[str]) -> dict[str, dict[str, Any]]:
    """Return what the files say of their virtual organisations, by the names of the files.

    Raises:
        AnsibleFilterError: One is no YAML, or not a mapping.
    """
    found = {}
    for file in sorted(files):
        try:
            content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise AnsibleFilterError(f"{file} cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise AnsibleFilterError(f"{file} does not describe a virtual organisation")
        found[Path(file).stem] = content
    return found


def dirac_tree(site: Mapping[str, Any], vos: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the whole configuration.

    Args:
        site: The site's own part: `sites`, `pilot`, `workload`; VOs may be in it as well.
        vos: Virtual organisations by name; `sites` of one are those that it may use, all if there is none.

    Raises:
        AnsibleFilterError: A VO wants to use a site that there is not.
    """
    tree = _copied(site)
    organisations = tree.setdefault("virtual_organisations", {})
    for name, described in vos.items():
        section = {key: value for key, value in described.items() if key not in _OWN}
        organisations[name] = _copied(section)
        for used in described.get("sites", tree.get("sites", {})):
            place = tree.get("sites", {}).get(used)
            if place is None:
                known = ", ".join(tree.get("sites", {})) or "none"
                raise AnsibleFilterError(f"{name}: there is no site {used}; there are: {known}")
            allowed = place.setdefault("virtual_organisations", [])
            if name not in allowed:
                allowed.append(name)
    return tree


def password_accounts(tree: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the users of each VO that log in with the built-in password provider."""
    return {
        name: sorted(vo.get("users", {}))
        for name, vo in tree.get("virtual_organisations", {}).items()
        if vo.get("identity_provider", "password") == "password"
    }


def provider_secrets(tree: Mapping[str, Any], vos: list[str], directory: str) -> dict[str, Any]:
    """Return the tree with the files of the secrets at outside identity providers.

    Args:
        tree: The configuration.
        vos: Virtual organisations whose secrets the servers have.
        directory: Where they have them.

    Raises:
        AnsibleFilterError: One of them logs in nowhere else.
    """
    tree = _copied(tree)
    organisations = tree.get("virtual_organisations", {})
    for name in vos:
        provider = organisations.get(name, {}).get("identity_provider")
        if not isinstance(provider, dict):
            raise AnsibleFilterError(
                f"vault_identity_secrets has a secret for {name}, which has no identity provider of its own"
            )
        if "client_secret_variable" not in provider and "client_secret" not in provider:
            provider.setdefault("client_secret_file", f"{directory}/identity-{name}")
    return tree


def reachable_ports(
    ports: list[dict[str, Any]], groups: Mapping[str, list[str]], hosts: list[str], where: str = ""
) -> list[dict[str, Any]]:
    """Return what has to answer: name, host and port of each.

    Args:
        ports: What listens: `of` (a role), `port` (or a range), `groups` that use it; everybody without.
        groups: Hosts of each group.
        hosts: Those that have been deployed; others are left out.
        where: The host that asks; empty for somebody outside.
    """
    found = []
    for entry in ports:
        users = [host for group in entry.get("groups", []) for host in groups.get(group, [])]
        # Of a range only some listen.
        if "-" in str(entry["port"]) or (where not in users if where else "groups" in entry):
            continue
        found += [
            {"name": entry["of"], "host": host, "port": entry["port"]}
            for host in groups.get(entry["of"], [])
            if host in hosts and host != where
        ]
    return found


def host_to_address(port: dict[str, Any], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return a port with the address by which this machine reaches its host, in place of the host's name."""
    return {**port, "host": hostvars[port["host"]].get("ansible_host", port["host"])}


def dirac_migrations(package: str) -> dict[str, dict[str, str]]:
    """Return the migrations of a source tree by revision, each with its phase and risk."""
    found = {}
    for file in sorted(Path(package).rglob("migrations/*.py")):
        said = {
            target.id: ast.literal_eval(node.value)
            for node in ast.parse(file.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and target.id in ("phase", "risk")
        }
        phase = said.get("phase", "expand")
        found[file.stem] = {
            "phase": phase,
            "risk": said.get("risk", "breaking" if phase == "contract" else "safe"),
        }
    return found


def _copied(value: Any) -> Any:
    """Copy plain data. Not by deepcopy: Ansible's own containers would bring their whole engine along."""
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_copied(each) for each in value]
    return value


class FilterModule:
    """The filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {
            "vo_definitions": vo_definitions,
            "dirac_migrations": dirac_migrations,
            "dirac_tree": dirac_tree,
            "password_accounts": password_accounts,
            "provider_secrets": provider_secrets,
            "reachable_ports": reachable_ports,
            "host_to_address": host_to_address,
        }
