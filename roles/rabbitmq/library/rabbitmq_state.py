# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: bring a RabbitMQ broker's virtual host, users and rights to the wanted state, in one execution."""

from __future__ import annotations

import base64
import json
import os
import pwd
import secrets
import subprocess
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rabbitmq_api import Api, ApiError, hashed, host_account, host_password, quoted
from ansible.module_utils.systemd_unit import Unit, UnitError, run, want_in_group

DOCUMENTATION = r"""
module: rabbitmq_state
short_description: Bring the virtual host, users and rights of a RabbitMQ broker to the wanted state
description:
  - Writes cookie, plugins and limits before the broker starts, starts it, and compares what its management
    interface says with what is wanted. C(guest) is removed, as are rights of the named users elsewhere.
  - Uses an account of its own, which settings restrict to this host; its password is in a file of root.
    Passwords are sent as hashes.
  - Says in C(restart) whether the broker is older than its settings.
options:
  service: {description: The broker's unit, required: true, type: str}
  user: {description: The broker's user on the system, required: true, type: str}
  config: {description: Directory of its settings, required: true, type: path}
  data: {description: Directory of its data, required: true, type: path}
  dropins: {description: Directory of additions to its unit, required: true, type: path}
  plugins: {description: Plugins besides management and metrics, type: list, elements: str}
  open_files: {description: Limit of open files, required: true, type: int}
  tls_group: {description: Group that may read the host's key; empty for no TLS, type: str, default: ""}
  management_port: {description: Port of the management interface, required: true, type: int}
  vhost: {description: The virtual host, required: true, type: str}
  queue_type: {description: Type of its queues if clients do not say one, required: true, type: str}
  users:
    description: Users with C(name), C(tags), C(configure), C(write), C(read) (patterns) and C(state).
    required: true
    type: list
    elements: dict
  passwords: {description: Passwords by name; who has none is not made, type: dict}
  cookie: {description: Secret of the cluster; empty leaves the one that is there, type: str}
  cluster_with: {description: Node whose cluster to join; empty for none, type: str}
"""

PLUGINS = ["rabbitmq_management", "rabbitmq_prometheus"]
SHA256 = "rabbit_password_hashing_sha256"
PATIENCE = 90.0


def write(path: Path, content: str, mode: int, owner: str) -> None:
    """Write a file of the broker in one step."""
    fresh = path.with_name(path.name + ".part")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as writer:
        writer.write(content)
    entry = pwd.getpwnam(owner)
    os.chown(fresh, entry.pw_uid, entry.pw_gid)
    fresh.rename(path)


def holds(path: Path, content: str) -> bool:
    """Tell whether a file has this content."""
    return path.exists() and path.read_text() == content


class Host:
    """What is wanted of the host before the broker can be asked: files, group, unit."""

    def __init__(self, given: dict[str, object], *, check: bool) -> None:
        self.given, self.check, self.did = given, check, []
        self.unit = Unit(str(given["service"]))
        self.user = str(given["user"])
        self.plugins_file = Path(str(given["config"])) / "enabled_plugins"
        self.limits_file = Path(str(given["dropins"])) / "limits.conf"

    def want_all(self) -> None:
        """Bring it about."""
        group = str(self.given["tls_group"])
        if group:
            self.did += want_in_group(self.user, group, check=self.check)
        self._want_cookie(str(self.given["cookie"]))
        plugins = sorted({*PLUGINS, *self.given["plugins"]})
        self._want_file(self.plugins_file, f"[{','.join(plugins)}].\n", "set the plugins")
        limits = f"[Service]\nLimitNOFILE={self.given['open_files']}\n"
        if self._want_file(self.limits_file, limits, "set the limit of open files", owner="root"):
            run("systemctl", "daemon-reload")
        self.did += self.unit.want_running(check=self.check)

    def is_stale(self) -> bool:
        """Tell whether the broker is older than its settings."""
        settings = Path(str(self.given["config"])) / "rabbitmq.conf"
        files = [str(file) for file in (settings, self.plugins_file, self.limits_file)]
        return self.unit.is_stale(*files, group=str(self.given["tls_group"]))

    def _want_file(self, path: Path, content: str, said: str, *, owner: str = "") -> bool:
        if holds(path, content):
            return False
        self.did.append(said)
        if self.check:
            return False
        path.parent.mkdir(mode=0o755, exist_ok=True)
        write(path, content, 0o644, owner or self.user)
        return True

    def _want_cookie(self, cookie: str) -> None:
        path = Path(str(self.given["data"])) / ".erlang.cookie"
        if not cookie or holds(path, cookie):
            return
        self.did.append("set the cookie")
        if not self.check:
            # A broker that runs knows the old one only, and could not be told to stop later.
            run("systemctl", "stop", str(self.given["service"]))
            write(path, cookie, 0o400, self.user)


class Broker:
    """What is wanted of the broker, through its management interface."""

    def __init__(self, given: dict[str, object], *, check: bool) -> None:
        self.given, self.check, self.did = given, check, []
        self.account, config = host_account(), Path(str(given["config"]))
        self.password = host_password(config, make=not check)
        self.api = Api(int(str(given["management_port"])), self.account, self.password)

    def enter(self) -> bool:
        """Get an account that is of use on this host only; tells whether there is one (check mode may lack it)."""
        if self.api.is_accepted(PATIENCE):
            return True
        self.did.append(f"made the account {self.account} for this host")
        if self.check:
            return False
        user = {"name": self.account, "password_hash": hashed(self.password, secrets.token_bytes(4))}
        user |= {"hashing_algorithm": SHA256, "tags": "administrator"}
        done = subprocess.run(
            ["rabbitmqctl", "--quiet", "import_definitions"],
            input=json.dumps({"users": [user]}),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not self.api.is_accepted(5):
            raise UnitError(f"the host's account is not accepted: {(done.stderr or done.stdout).strip()[-800:]}")
        return True

    def want_all(self) -> None:
        """Bring it about.

        Raises:
            ApiError: The broker refused.
        """
        found = self.api.call("GET", "/definitions")
        assert isinstance(found, dict)
        self.users = {row["name"]: row for row in found["users"]}
        self.rights = {(row["user"], row["vhost"]): row for row in found["permissions"]}
        self._want_vhost()
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self._want_rights(self.account, str(self.given["vhost"]), everything)
        for user in self.given["users"]:
            password = self.given["passwords"].get(user["name"])
            if user.get("state") == "absent":
                self._drop_user(user["name"])
            elif password:
                self._want_user(user["name"], password, ",".join(user.get("tags") or []))
                wanted = {each: user[each] for each in everything if each in user}
                self._want_rights(user["name"], str(self.given["vhost"]), wanted)
        self._drop_user("guest")

    def _do(self, said: str, method: str, path: str, body: object = None) -> None:
        self.did.append(said)
        if not self.check:
            self.api.call(method, path, body)

    def _want_vhost(self) -> None:
        name, kind = str(self.given["vhost"]), self.given["queue_type"]
        there = {row["name"]: row for row in self.api.rows("/vhosts")}
        if name in there and there[name].get("default_queue_type") == kind:
            return
        said = f"made the virtual host {name} with queues of type {kind}"
        if name in there:
            said = f"set the type of queues of the virtual host {name} to {kind}"
        # RabbitMQ before 3.11 knows the option by the second name only.
        body = {"default_queue_type": kind, "defaultqueuetype": kind}
        self._do(said, "PUT", f"/vhosts/{quoted(name)}", body)
        if not self.check and self.api.call("GET", f"/vhosts/{quoted(name)}").get("default_queue_type") != kind:
            raise ApiError(
                f"this version cannot change the type of queues of a virtual host that is there: rename {name}"
            )

    def _drop_user(self, name: str) -> None:
        if name in self.users:
            self._do(f"removed the user {name}", "DELETE", f"/users/{quoted(name)}")

    def _want_user(self, name: str, password: str, tags: str) -> None:
        there = self.users.get(name)
        if there and self._is_password(there, password) and self._tags(there) == tags:
            return
        body = {"password_hash": hashed(password, secrets.token_bytes(4)), "tags": tags, "hashing_algorithm": SHA256}
        said = f"set the password or tags of the user {name}" if there else f"made the user {name}"
        self._do(said, "PUT", f"/users/{quoted(name)}", body)

    @staticmethod
    def _is_password(there: dict[str, object], password: str) -> bool:
        kept = str(there.get("password_hash") or "")
        if there.get("hashing_algorithm") != SHA256 or not kept:
            return False
        return hashed(password, base64.b64decode(kept)[:4]) == kept

    @staticmethod
    def _tags(there: dict[str, object]) -> str:
        tags = there.get("tags") or []
        return tags if isinstance(tags, str) else ",".join(tags)

    def _want_rights(self, user: str, vhost: str, wanted: dict[str, str]) -> None:
        for holder, place in self.rights:
            if holder == user and (place != vhost or not wanted):
                path = f"/permissions/{quoted(place)}/{quoted(user)}"
                self._do(f"took the rights of {user} in {place}", "DELETE", path)
        there = self.rights.get((user, vhost), {})
        if wanted and {each: there.get(each) for each in wanted} != wanted:
            body = {"configure": "", "write": "", "read": ""} | wanted
            said = f"set the rights of {user} in {vhost}: " + ", ".join(f"{k} {v!r}" for k, v in sorted(body.items()))
            self._do(said, "PUT", f"/permissions/{quoted(vhost)}/{quoted(user)}", body)


def join(broker: Broker, node: str) -> bool:
    """Join a node's cluster if this broker has not; tells whether it did (or would).

    Raises:
        ApiError: This broker has queues, which it would lose.
    """
    if not node or node in [row["name"] for row in broker.api.rows("/nodes")]:
        return False
    if broker.api.rows("/queues?columns=name"):
        raise ApiError(f"this broker has queues and would lose them if it joined {node}; empty and delete them")
    if not broker.check:
        for command in (["stop_app"], ["reset"], ["join_cluster", node], ["start_app"]):
            run("rabbitmqctl", "--quiet", *command)
    return True


def bring(module: AnsibleModule) -> dict[str, object]:
    """Do the module's work and return its answer.

    Raises:
        ApiError: The broker refused, or did not answer.
        UnitError: It could not be started.
    """
    host = Host(module.params, check=module.check_mode)
    host.want_all()
    broker = Broker(module.params, check=module.check_mode)
    if broker.enter():
        node = module.params["cluster_with"]
        if join(broker, node):
            broker.did.append(f"joined the cluster of {node}")
            if not module.check_mode:
                broker.enter()
        broker.want_all()
    did, restart = host.did + broker.did, host.is_stale()
    return {"changed": bool(did) or restart, "did": did, "restart": restart}


def main() -> None:
    """Run the module."""
    text = {"type": "str", "required": True}
    path = {"type": "path", "required": True}
    number = {"type": "int", "required": True}
    module = AnsibleModule(
        argument_spec={
            "service": text,
            "user": text,
            "config": path,
            "data": path,
            "dropins": path,
            "plugins": {"type": "list", "elements": "str", "default": []},
            "open_files": number,
            "tls_group": {"type": "str", "default": ""},
            "management_port": number,
            "vhost": text,
            "queue_type": text,
            "users": {"type": "list", "elements": "dict", "required": True},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
            "cookie": {"type": "str", "default": "", "no_log": True},
            "cluster_with": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    try:
        answer = bring(module)
    except (ApiError, UnitError, OSError) as error:
        module.fail_json(msg=f"the broker could not be brought to the wanted state: {error}")
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
