"""A fleet: hosts with addresses of their own on a network of their own, and the inventory to reach them."""

from __future__ import annotations

import json
import socket
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import images
from .podman import HostsError, podman, raise_limits, run

DOMAIN = "dirac.test"
_LABEL = "dirac-tests-fleet"
_CAPABILITIES = "SYS_ADMIN,NET_ADMIN,SYS_PTRACE,AUDIT_WRITE,NET_RAW,SYS_NICE,MKNOD"
_PATIENCE = 60.0
_SSH = (
    "-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR "
    "-o ControlMaster=auto -o ControlPersist=120s"
)


@dataclass(frozen=True)
class Host:
    """A host to be made.

    Attributes:
        name: Its short name, or a full one.
        suite: Its Debian release.
        aliases: Further names that the others know it by.
        volumes: Mounts, in podman's notation.
    """

    name: str
    suite: str = "bookworm"
    aliases: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """Its name with its domain."""
        return self.name if "." in self.name else f"{self.name}.{DOMAIN}"


class Fleet:
    """Hosts on one network.

    Args:
        name: Name of the fleet; a machine can have several.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._network = f"dirac-{name}"

    def up(self, hosts: Sequence[Host]) -> dict[str, str]:
        """Make the hosts; returns their addresses when all of them answer.

        Raises:
            HostsError: They cannot be made, or do not answer.
        """
        self.down()
        raise_limits()
        tags = {suite: images.ensure(suite) for suite in sorted({host.suite for host in hosts})}
        prefix = self._make_network()
        addresses = {host.name: f"{prefix}.{number}" for number, host in enumerate(hosts, start=10)}
        names = [
            f"--add-host={known}:{addresses[host.name]}"
            for host in hosts
            for known in (host.full_name, host.name.partition(".")[0], *host.aliases)
        ]
        for host in hosts:
            self._start(host, addresses[host.name], tags[host.suite], names)
        for name, address in addresses.items():
            self._await(name, address)
        return addresses

    def replace(self, old: str, new: Host, address: str, known: Mapping[str, str]) -> None:
        """Destroy a host for good, and make another on the same network.

        Args:
            old: The host that is lost.
            new: The host that is made.
            address: Its address, another one than any other host's.
            known: Addresses of further hosts that it is to know, by name.

        Raises:
            HostsError: It cannot be made, or does not answer.
        """
        podman("rm", "-ft0", self.container(old), failure=f"{old} cannot be removed")
        own = dict.fromkeys((new.full_name, new.name.partition(".")[0], *new.aliases), address)
        names = [f"--add-host={name}:{where}" for name, where in {**known, **own}.items()]
        self._start(new, address, images.ensure(new.suite), names)
        self._await(new.name, address)

    def down(self) -> None:
        """Remove the hosts and their network; nothing is left of them."""
        mine = podman(
            "ps", "-aq", "--filter", f"label={_LABEL}={self.name}", failure="podman does not work"
        ).split()
        if mine:
            podman("rm", "-ft0", *mine, failure="the hosts cannot be removed")
        with suppress(HostsError):
            subnet = json.loads(podman("network", "inspect", self._network, failure="no network"))[0][
                "subnets"
            ][0]
            podman("network", "rm", "-f", self._network, failure="the network cannot be removed")
            run(
                "ip", "route", "del", "unreachable", subnet["subnet"], "metric", "4000000", failure="no route"
            )

    def container(self, host: str) -> str:
        """Return the name of a host's container."""
        return f"dirac-{self.name}-{host}"

    def cut(self, host: str) -> None:
        """Cut a host off from the network."""
        podman(
            "network", "disconnect", self._network, self.container(host), failure=f"{host} cannot be cut off"
        )

    def mend(self, host: str) -> None:
        """Bring a host back to the network, at its old address."""
        podman(
            "network", "connect", "--ip", self.address(host), self._network, self.container(host),
            failure=f"{host} is lost",
        )  # fmt: skip

    def is_connected(self, host: str) -> bool:
        """Whether a host is on the network."""
        return self._network in self._inspect(host)["NetworkSettings"]["Networks"]

    def address(self, host: str) -> str:
        """Return the address of a host, also while it is cut off."""
        known = dict(entry.split(":", 1) for entry in self._inspect(host)["HostConfig"]["ExtraHosts"])
        return str(known[host])

    def _inspect(self, host: str) -> dict[str, Any]:
        found = podman("container", "inspect", self.container(host), failure=f"there is no host {host}")
        return dict(json.loads(found)[0])

    def _start(self, host: Host, address: str, image: str, names: Sequence[str]) -> None:
        podman(
            "run", "-d", "--name", self.container(host.name), "--hostname", host.full_name,
            "--label", f"{_LABEL}={self.name}", "--network", f"{self._network}:ip={address}",
            "--systemd=always", "--cap-add", _CAPABILITIES, *names,
            *(f"--volume={volume}" for volume in host.volumes), image,
            failure=f"host {host.name} cannot be started",
        )  # fmt: skip

    def _make_network(self) -> str:
        """Make the network; returns the first three numbers of its addresses."""
        first = zlib.crc32(self.name.encode()) % 200
        trouble = ""
        for offset in range(200):
            prefix = f"10.213.{20 + (first + offset) % 200}"
            try:
                podman("network", "create", "--subnet", f"{prefix}.0/24", self._network, failure="no network")
            except HostsError as error:
                trouble = str(error)
                continue
            # What is for a host that is down must not leave by the default route.
            with suppress(HostsError):
                run(
                    "ip",
                    "route",
                    "add",
                    "unreachable",
                    f"{prefix}.0/24",
                    "metric",
                    "4000000",
                    failure="no route",
                )
            return prefix
        raise HostsError(f"no network can be made: {trouble}")

    def _await(self, name: str, address: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection((address, 22), timeout=1) as probe:
                probe.settimeout(2)
                if probe.recv(4) == b"SSH-":
                    return
            time.sleep(0.1)
        log = podman("logs", "--tail", "20", self.container(name), failure="no log")
        raise HostsError(f"host {name} ({address}) does not answer within {_PATIENCE} s:\n{log}")


def connection(address: str) -> dict[str, str]:
    """Return the variables with which Ansible reaches a host."""
    return {
        "ansible_host": address,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(images.key()),
        "ansible_ssh_common_args": _SSH,
        "ansible_python_interpreter": "/usr/bin/python3",
    }


def write_inventory(path: Path, addresses: Mapping[str, str]) -> None:
    """Write how the hosts are reached as an inventory (JSON is YAML), to be chained after a site's own."""
    hosts = {name: connection(address) for name, address in addresses.items()}
    path.write_text(json.dumps({"all": {"hosts": hosts}}, indent=2))
