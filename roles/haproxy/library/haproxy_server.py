# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: asks HAProxy over its socket, and takes servers out or in."""

from __future__ import annotations

import csv
import io
import socket
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: haproxy_server
short_description: Ask HAProxy, drain a server, or make it ready
options:
  socket: {description: HAProxy's socket, type: path, required: true}
  backends: {description: Backends; for drain and ready empty for all, type: list, elements: str, default: []}
  server: {description: The server, type: str, default: ''}
  state:
    description:
      - C(verify) fails unless all backends are there. C(drain) gives a server no new connections and waits
        until it has none. C(ready) gives it connections again.
    type: str
    choices: [verify, drain, ready]
    required: true
  seconds: {description: How long to wait for connections to end, type: int, default: 10}
"""

RETURN = r"""
servers: {description: State and connections of each server, type: dict, returned: always}
"""


class Proxy:
    """A running HAProxy."""

    def __init__(self, path: str) -> None:
        self._path = path

    def ask(self, command: str) -> str:
        """Send a command; returns the answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(self._path)
            connection.sendall(command.encode() + b"\n")
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts).decode()

    def servers(self) -> dict[tuple[str, str], dict[str, str]]:
        """Return what is known of each backend and server."""
        rows = csv.DictReader(io.StringIO(self.ask("show stat").lstrip("# ")))
        return {(row["pxname"], row["svname"]): row for row in rows}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "required": True},
            "backends": {"type": "list", "elements": "str", "default": []},
            "server": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["verify", "drain", "ready"], "required": True},
            "seconds": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    given, proxy = module.params, Proxy(module.params["socket"])
    try:
        found = proxy.servers()
        if given["state"] == "verify":
            missing = [name for name in given["backends"] if (name, "BACKEND") not in found]
            if missing:
                module.fail_json(msg=f"HAProxy does not offer {', '.join(missing)}")
            module.exit_json(changed=False, servers=_shown(found))
        targets = [
            (backend, name)
            for backend, name in found
            if name == given["server"] and (not given["backends"] or backend in given["backends"])
        ]
        if not targets:
            known = sorted({name for _, name in found} - {"BACKEND", "FRONTEND"})
            module.fail_json(msg=f"there is no server {given['server']!r}; there are {', '.join(known)}")
        drained = {target: "DRAIN" in found[target]["status"] for target in targets}
        todo = [target for target in targets if drained[target] != (given["state"] == "drain")]
        for backend, name in todo if not module.check_mode else []:
            said = proxy.ask(f"set server {backend}/{name} state {given['state']}").strip()
            if said:
                module.fail_json(msg=f"{backend}/{name}: {said}")
        if given["state"] == "drain" and not module.check_mode:
            _wait(proxy, targets, given["seconds"])
        module.exit_json(changed=bool(todo), servers=_shown(proxy.servers()))
    except OSError as error:
        module.fail_json(
            msg=f"HAProxy does not answer at {given['socket']}: {error}; systemctl status haproxy"
        )


def _wait(proxy: Proxy, targets: list[tuple[str, str]], seconds: int) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = proxy.servers()
        if all(found[target]["scur"] == "0" for target in targets):
            return
        time.sleep(0.2)


def _shown(found: dict[tuple[str, str], dict[str, str]]) -> dict[str, str]:
    return {
        f"{backend}/{name}": f"{row['status']}, {row['scur']} connections"
        for (backend, name), row in found.items()
        if name not in ("BACKEND", "FRONTEND")
    }


if __name__ == "__main__":
    main()
