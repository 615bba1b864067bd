"""What a new site is made of: answers in, groups of hosts out. Free of files and questions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from dirac.core.errors import InvalidInputError

_host = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,252}[a-zA-Z0-9])?").fullmatch
_address = re.compile(r"[a-zA-Z0-9:][a-zA-Z0-9.:-]{0,252}").fullmatch
_identifier = re.compile(r"[a-z][a-z0-9_.-]{0,63}").fullmatch
_user = re.compile(r"[a-z_][a-z0-9_.-]{0,31}", re.IGNORECASE).fullmatch


class Profile(StrEnum):
    """The size of a site."""

    SINGLE = "single"
    CLUSTER = "cluster"


class Engine(StrEnum):
    """A database engine."""

    MARIADB = "mariadb"
    POSTGRESQL = "postgresql"


class Certificates(StrEnum):
    """Where the certificates of hosts come from."""

    OWN = "own"
    GIVEN = "given"


class Extra(StrEnum):
    """What a site may have beyond what it needs."""

    SEARCH = "search"
    OBJECTS = "objects"
    MONITOR = "monitor"


@dataclass(frozen=True)
class Host:
    """A host: how it is called, and where it is if its name is not known everywhere."""

    name: str
    address: str | None = None


# What hosts are for, and the groups they get for it. `mariadb` stands for the chosen engine.
PURPOSES: Mapping[str, tuple[str, ...]] = {
    "balancer": ("haproxy",),
    "server": (
        "runit",
        "diracos",
        "dirac_server",
        "dirac_worker",
        "dirac_scheduler",
    ),
    "database": ("mariadb",),
    "broker": ("rabbitmq",),
    "search": ("opensearch",),
    "objects": ("object_store",),
    "node": ("runit", "diracos", "pilot_node"),
    "monitor": ("prometheus", "grafana"),
}
# Where a purpose goes that was given no host.
_OTHERWISE = {
    "balancer": "server",
    "broker": "database",
    "objects": "broker",
    "search": "database",
    "monitor": "balancer",
}
_EVERYWHERE = ("base", "pki")
# The configuration is applied and VOs are made from one place.
_ONCE = ("dirac_config", "dirac_vo")
# What has state is saved. The last host keeps the backups of all, so one that has least to lose with them.
_WITH_STATE = ("server", "database", "broker", "search", "objects", "monitor")
ORDER = (
    "base", "pki", "runit", "mariadb", "postgresql", "rabbitmq", "opensearch", "object_store", "haproxy",
    "diracos", "dirac_server", "dirac_worker", "dirac_scheduler", "dirac_config", "dirac_vo", "pilot_node",
    "prometheus", "grafana", "log_shipping", "backup",
)  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """What is asked for a new site.

    Attributes:
        name: The site.
        profile: Its size.
        hosts: For each purpose its hosts.
        ssh_user: Who logs in to the hosts; others than root become root by sudo.
        ssh_port: Port of ssh.
        address: The host name that users type.
        vos: Its VOs.
        admin: Name of the first member and administrator of each VO.
        engine: The database.
        certificates: Where certificates come from.
        production: Whether all changes have to be confirmed.
    """

    name: str
    profile: Profile
    hosts: Mapping[str, Sequence[Host]]
    address: str
    vos: Sequence[str]
    admin: str
    ssh_user: str = "root"
    ssh_port: int = 22
    engine: Engine = Engine.MARIADB
    certificates: Certificates = Certificates.OWN
    production: bool = False

    def all_hosts(self) -> list[Host]:
        """Return each host once, in the order they were named."""
        found: dict[str, Host] = {}
        for purpose in PURPOSES:
            for host in self.hosts.get(purpose, ()):
                if host.name not in found or host.address:
                    found[host.name] = host
        return list(found.values())

    def groups(self) -> dict[str, list[str]]:
        """Return the groups with the names of their hosts, in the order of the roles."""
        found: dict[str, dict[str, None]] = {name: {} for name in ORDER}
        for host in self.all_hosts():
            for group in _EVERYWHERE:
                found[group][host.name] = None
        for purpose, groups in PURPOSES.items():
            for host in self.hosts.get(purpose, ()):
                for group in groups:
                    found[self.engine if group == "mariadb" else group][host.name] = None
        first = self.hosts["server"][0].name
        for group in _ONCE:
            found[group][first] = None
        for purpose in _WITH_STATE:
            found["backup"] |= dict.fromkeys(host.name for host in self.hosts.get(purpose, ()))
        if self.hosts.get("search"):
            found["log_shipping"] = dict(found["base"])
        return {group: list(hosts) for group, hosts in found.items() if hosts}


@dataclass
class Hosts:
    """Hosts by purpose, as they are typed one by one."""

    by_purpose: dict[str, list[Host]] = field(default_factory=dict)

    def add(self, text: str) -> None:
        """Add what ``--host`` was given: ``HOST``, ``HOST@ADDRESS`` or ``PURPOSE=HOST[,HOST...]``.

        Raises:
            InvalidInputError: It is none of these.
        """
        purpose, equals, names = text.rpartition("=")
        if equals and purpose not in PURPOSES:
            raise InvalidInputError(
                f"there is no purpose {purpose!r}", where="--host", hint=f"Purposes are {', '.join(PURPOSES)}"
            )
        for word in names.split(","):
            self.by_purpose.setdefault(purpose if equals else "", []).append(parse_host(word))


def parse_host(text: str) -> Host:
    """Return the host that ``NAME`` or ``NAME@ADDRESS`` names.

    Raises:
        InvalidInputError: It names none.
    """
    name, at, address = text.strip().partition("@")
    if not _host(name) or (at and not _address(address)):
        raise InvalidInputError(
            f"{text!r} is no host",
            where="--host",
            hint="Type a name such as dirac.example.org, or with its address: dirac.example.org@192.0.2.7",
        )
    return Host(name, address or None)


def parse_vo(text: str) -> str:
    """Return the name of a VO.

    Raises:
        InvalidInputError: It is none.
    """
    if not _identifier(text):
        raise InvalidInputError(
            f"{text!r} cannot be the name of a VO",
            where="--vo",
            hint="Use small letters, digits, hyphens, underscores and dots, a letter first: astro",
        )
    return text


def parse_user(text: str) -> str:
    """Return the name of a user.

    Raises:
        InvalidInputError: It is none.
    """
    if not _user(text):
        raise InvalidInputError(
            f"{text!r} cannot be the name of a user", hint="Use letters, digits, . _ and -"
        )
    return text


def spread(
    profile: Profile, named: Mapping[str, Sequence[Host]], extras: Sequence[str]
) -> dict[str, list[Host]]:
    """Give every purpose its hosts.

    Args:
        profile: The size.
        named: Hosts by purpose; for ``single`` the one host is under the empty name.
        extras: Purposes wanted beyond what is needed.

    Raises:
        InvalidInputError: Hosts are missing, or there are too many.
    """
    if profile is Profile.SINGLE:
        hosts = {host for some in named.values() for host in some}
        if len(hosts) != 1:
            raise InvalidInputError(
                f"a site of profile single has one host, not {len(hosts)}",
                where="--host",
                hint="Type --host dirac.example.org, or --profile cluster for more",
            )
        wanted = [purpose for purpose in PURPOSES if purpose not in set(Extra) or purpose in extras]
        return {purpose: list(hosts) for purpose in wanted}
    if named.get(""):
        raise InvalidInputError(
            f"what is {named[''][0].name} for?",
            where="--host",
            hint=f"For a cluster type --host PURPOSE=HOST,HOST; purposes are {', '.join(PURPOSES)}",
        )
    found = {purpose: list(hosts) for purpose, hosts in named.items()}
    for purpose in ("server", "database", "node"):
        if not found.get(purpose):
            raise InvalidInputError(
                f"a cluster needs a host for {purpose}", where="--host", hint=f"Type --host {purpose}=HOST"
            )
    # Several servers cannot share a directory of sandboxes.
    wanted = ["balancer", "broker", *extras, *(["objects"] if len(found["server"]) > 1 else [])]
    for purpose in wanted:
        if not found.get(purpose):
            found[purpose] = found[_OTHERWISE[purpose]][:1]
    return {purpose: found[purpose] for purpose in PURPOSES if found.get(purpose)}
