# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: have a RabbitMQ broker carry a message for each of its users, as its clients do."""

from __future__ import annotations

import re
import secrets
import socket
from pathlib import Path

from ansible.module_utils.amqp_session import AmqpError, Session
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rabbitmq_api import Api, ApiError, host_account, host_password, quoted

DOCUMENTATION = r"""
module: rabbitmq_verify
short_description: Have a RabbitMQ broker carry a message for each of its users
description:
  - Logs in by AMQP (over TLS if there is a CA) as each user with rights in the virtual host, makes a queue,
    requires the wanted type, puts a message in, takes it out and deletes the queue. Says all problems at once.
options:
  address: {description: Name or address that clients use, required: true, type: str}
  port: {description: Port, required: true, type: int}
  tls_ca: {description: Certificates of the CA; empty for no TLS, type: str, default: ""}
  config: {description: Directory of the broker's settings, required: true, type: path}
  management_port: {description: Port of the management interface, required: true, type: int}
  vhost: {description: The virtual host, required: true, type: str}
  queue_type: {description: Type of its queues, required: true, type: str}
  users: {description: Users as for M(rabbitmq_state), required: true, type: list, elements: dict}
  passwords: {description: Passwords by name, type: dict}
  cluster_with: {description: Node of the same cluster; empty for none, type: str}
"""

PLAIN_PORT = 5672


class Verification:
    """What was found wrong so far."""

    def __init__(self, given: dict[str, object]) -> None:
        self.given = given
        self.problems: list[str] = []
        self.password = host_password(Path(str(given["config"])))
        self.api = Api(int(str(given["management_port"])), host_account(), self.password)

    def check_broker(self) -> None:
        """Ask for what holds for everybody.

        Raises:
            ApiError: The broker does not answer.
        """
        self.api.is_accepted(30)
        if any(row["name"] == "guest" for row in self.api.rows("/users")):
            self.problems.append("there is a user guest, which everybody knows")
        nodes = {str(row["name"]): row for row in self.api.rows("/nodes")}
        wanted = self.given["cluster_with"]
        if wanted and wanted not in nodes:
            self.problems.append(f"the broker is not in the cluster of {wanted}, only {', '.join(sorted(nodes))}")
        for name, node in nodes.items():
            for alarm in ("mem_alarm", "disk_free_alarm"):
                if node.get(alarm):
                    self.problems.append(f"{name} takes no messages: {alarm}")
        if self.given["tls_ca"] and self._answers(PLAIN_PORT):
            self.problems.append(f"{self.given['address']}:{PLAIN_PORT} answers without TLS")

    def _answers(self, port: int) -> bool:
        try:
            with socket.create_connection((str(self.given["address"]), port), timeout=5):
                return True
        except OSError:
            return False

    def check_user(self, user: str, password: str, *, address: str, tls_ca: str) -> None:
        """Carry a message as a user."""
        queue, body = f"dirac.verify.{secrets.token_hex(8)}", secrets.token_hex(8).encode()
        vhost = str(self.given["vhost"])
        try:
            with Session(address, int(str(self.given["port"])), user, password, vhost=vhost, tls_ca=tls_ca) as session:
                session.declare(queue)
                try:
                    self._check_queue(session, user, queue, body)
                finally:
                    session.delete(queue)
        except (AmqpError, OSError) as error:
            self.problems.append(f"{user} could not send a message through {address}: {error}")

    def _check_queue(self, session: Session, user: str, queue: str, body: bytes) -> None:
        found = self.api.call("GET", f"/queues/{quoted(str(self.given['vhost']))}/{quoted(queue)}?columns=type")
        kind = found.get("type") if isinstance(found, dict) else None
        if kind != self.given["queue_type"]:
            self.problems.append(f"a queue of {user} is of type {kind}, not {self.given['queue_type']}")
        session.publish(queue, body)
        if session.take(queue) != body:
            self.problems.append(f"the message of {user} came back changed")


def verify(given: dict[str, object]) -> tuple[list[str], list[str]]:
    """Return the problems, and who was tried."""
    verification, tried = Verification(given), []
    address, tls_ca = str(given["address"]), str(given["tls_ca"])
    try:
        verification.check_broker()
        for user in given["users"]:
            password = given["passwords"].get(user["name"])
            usable = user.get("state") != "absent" and re.match(user.get("configure") or "$.", "dirac.verify.")
            if password and usable:
                verification.check_user(user["name"], password, address=address, tls_ca=tls_ca)
                tried.append(user["name"])
        if not tried and not tls_ca:
            verification.check_user(host_account(), verification.password, address="127.0.0.1", tls_ca="")
    except ApiError as error:
        verification.problems.append(str(error))
    return verification.problems, tried


def main() -> None:
    """Run the module."""
    text = {"type": "str", "required": True}
    number = {"type": "int", "required": True}
    module = AnsibleModule(
        argument_spec={
            "address": text,
            "port": number,
            "tls_ca": {"type": "str", "default": ""},
            "config": {"type": "path", "required": True},
            "management_port": number,
            "vhost": text,
            "queue_type": text,
            "users": {"type": "list", "elements": "dict", "required": True},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
            "cluster_with": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    problems, tried = verify(module.params)
    if problems:
        module.fail_json(msg="; ".join(problems))
    module.exit_json(changed=False, users=tried)


if __name__ == "__main__":
    main()
