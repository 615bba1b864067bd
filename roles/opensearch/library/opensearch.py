# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: users, rights, templates of indices, and a test of what the service promises."""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.opensearch_client import OK, Client, FailedError

DOCUMENTATION = r"""
module: opensearch
short_description: Make users and templates in OpenSearch or Elasticsearch, or verify the service
description:
  - C(configured) makes, in one execution, users with rights on patterns of indices, templates of indices and
    the repository of snapshots.
  - C(verified) writes, searches and removes as a user of the service and tries what has to be refused.
options:
  state: {description: What to do, choices: [configured, verified], required: true, type: str}
  url: {description: Where the service answers, required: true, type: str}
  ca_file: {description: CA of the service; the system's if empty, type: str, default: ""}
  flavour: {description: Which API for users, choices: [opensearch, elasticsearch], type: str}
  secured: {description: Whether it has users, type: bool, default: true}
  certificate: {description: File of the administrator's certificate, type: str, default: ""}
  key: {description: File of its key, type: str, default: ""}
  user: {description: "The administrator without a certificate, or whom to verify with", type: str}
  password: {description: The password of that user, type: str, default: ""}
  users: {description: "name, password, indices, rights (all, write, admin)", type: list, elements: dict}
  templates: {description: Bodies of templates by name, type: dict}
  snapshots: {description: Directory of snapshots; empty for none, type: str, default: ""}
  prefix: {description: Prefix of indices to verify with, type: str, default: dirac}
  patience: {description: Seconds to wait for the service, type: int, default: 600}
"""

RIGHTS = {
    "opensearch": {
        "all": ["indices_all"],
        "write": ["create_index", "write", "indices:admin/mapping/put"],
    },
    "elasticsearch": {"all": ["all"], "write": ["create_doc", "create_index", "auto_configure"]},
}
CLUSTER = {
    "opensearch": ["cluster_composite_ops", "cluster_monitor"],
    "elasticsearch": ["monitor"],
}


class Service:
    """The service, with a note of each change.

    Args:
        given: The module's arguments.
        check: Only find out what would be changed.
    """

    def __init__(self, given: dict[str, Any], *, check: bool) -> None:
        self.given = given
        self.check = check
        self.changes: list[str] = []
        self.flavour = given["flavour"]
        self.client = self._client()

    def _client(self) -> Client:
        given = self.given
        user = (given["user"], given["password"]) if given["user"] else None
        certificate = (given["certificate"], given["key"]) if given["certificate"] else None
        return Client(given["url"], given["ca_file"], user=user, certificate=certificate)

    def _note(self, change: str) -> bool:
        self.changes.append(change)
        return not self.check

    def template(self, name: str, body: dict[str, Any]) -> None:
        """Put a template; a digest in it tells whether it is the one wanted."""
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
        there = self.client.call("GET", f"/_index_template/{name}")
        known = there.body["index_templates"][0]["index_template"] if there.status in OK else {}
        if known.get("_meta", {}).get("digest") != digest and self._note(f"template {name}"):
            body = {**body, "_meta": {"digest": digest}}
            self.client.need("PUT", f"/_index_template/{name}", body, trouble=f"template {name} is refused")

    def user(self, name: str, password: str, rights: str, indices: list[str] | None = None) -> None:
        """Make a user, with a role of the same name unless it is an administrator."""
        if self.flavour == "opensearch":
            self._user_of_opensearch(name, password, rights, indices or [])
        else:
            self._user_of_elasticsearch(name, password, rights, indices or [])

    def _user_of_opensearch(self, name: str, password: str, rights: str, indices: list[str]) -> None:
        api = "/_plugins/_security/api"
        role = "all_access" if rights == "admin" else name
        if rights != "admin":
            permissions = [{"index_patterns": indices, "allowed_actions": RIGHTS["opensearch"][rights]}]
            wanted = {"cluster_permissions": CLUSTER["opensearch"], "index_permissions": permissions}
            self._put(f"{api}/roles/{name}", name, wanted, f"role {name}")
        self._put(f"{api}/rolesmapping/{role}", role, {"users": [name]}, f"users of role {role}")
        self._password(name, password, f"{api}/internalusers/{name}", {"password": password})

    def _user_of_elasticsearch(self, name: str, password: str, rights: str, indices: list[str]) -> None:
        api = "/_security"
        if rights != "admin":
            permissions = [{"names": indices, "privileges": RIGHTS["elasticsearch"][rights]}]
            wanted = {"cluster": CLUSTER["elasticsearch"], "indices": permissions}
            self._put(f"{api}/role/{name}", name, wanted, f"role {name}")
        roles = ["superuser"] if rights == "admin" else [name]
        self._password(name, password, f"{api}/user/{name}", {"password": password, "roles": roles})

    def _put(self, path: str, key: str, wanted: dict[str, Any], change: str) -> None:
        there = self.client.call("GET", path)
        known = there.body.get(key, {}) if there.status in OK else {}
        if not _holds(known, wanted) and self._note(change):
            self.client.need("PUT", path, wanted, trouble=f"{change}: refused")

    def _password(self, name: str, password: str, path: str, body: dict[str, Any]) -> None:
        own = Client(self.given["url"], self.given["ca_file"], user=(name, password))
        if own.call("GET", "/").status == 401 and self._note(f"user {name}"):
            self.client.need("PUT", path, body, trouble=f"user {name} is refused")

    def snapshots(self, location: str) -> None:
        """Register the repository of snapshots."""
        if self.client.call("GET", "/_snapshot/dirac").status not in OK and self._note(
            "repository of snapshots"
        ):
            body = {"type": "fs", "settings": {"location": location}}
            self.client.need(
                "PUT", "/_snapshot/dirac", body, trouble="the repository of snapshots is refused"
            )

    def verify(self) -> None:
        """Write, search and remove as a user; with users, try what has to be refused.

        Raises:
            FailedError: A promise is not kept.
        """
        mark = secrets.token_hex(8)
        index, client = f"/{self.given['prefix']}-verify-{mark}", self.client
        try:
            client.need("PUT", f"{index}/_doc/1?refresh=true", {"mark": mark}, trouble="writing fails")
            found = client.need("GET", f"{index}/_search?q=mark:{mark}", trouble="searching fails")
            if [hit["_source"] for hit in found["hits"]["hits"]] != [{"mark": mark}]:
                raise FailedError(f"a document that was written is not found: {json.dumps(found)[:300]}")
        finally:
            gone = client.call("DELETE", index)
        if gone.status not in OK or client.call("GET", index).status != 404:
            raise FailedError(f"what was written cannot be removed: {gone.said}")
        if self.given["secured"]:
            self._verify_refusals(mark)

    def _verify_refusals(self, mark: str) -> None:
        nobody = Client(self.given["url"], self.given["ca_file"])
        forger = Client(self.given["url"], self.given["ca_file"], user=(self.given["user"], mark))
        for who, client in (("anybody", nobody), ("a wrong password", forger)):
            if (answer := client.call("GET", "/")).status != 401:
                raise FailedError(f"{who} is let in: {answer.said}")
        answer = self.client.call("PUT", f"/other-{mark}/_doc/1", {"mark": mark})
        if answer.status != 403:
            self.client.call("DELETE", f"/other-{mark}")
            raise FailedError(f"user {self.given['user']} can write indices of others: {answer.said}")


def _holds(known: Any, wanted: Any) -> bool:
    """Whether what is known has all that is wanted, whatever else the service adds."""
    if isinstance(wanted, dict) and isinstance(known, dict):
        return all(_holds(known.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(known, list) and len(wanted) == len(known):
        return all(_holds(one, other) for one, other in zip(known, wanted))
    return bool(known == wanted)


def run(service: Service) -> None:
    """Do what is asked.

    Raises:
        FailedError: It cannot be done.
    """
    given = service.given
    service.client.wait(given["patience"])
    if given["state"] == "verified":
        service.verify()
        return
    if given["secured"]:
        if given["flavour"] == "opensearch":
            # After its first start the service needs some time until it knows users at all.
            service.client.wait(given["patience"], "/_plugins/_security/health")
        for user in given["users"] or []:
            service.user(**user)
    for name, body in (given["templates"] or {}).items():
        service.template(name, body)
    if given["snapshots"]:
        service.snapshots(given["snapshots"])


def main() -> None:
    """Run the module."""
    text: dict[str, Any] = {"type": "str", "default": ""}
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": ["configured", "verified"]},
            "url": {"type": "str", "required": True},
            "ca_file": text,
            "flavour": {"type": "str", "choices": ["opensearch", "elasticsearch"], "default": "opensearch"},
            "secured": {"type": "bool", "default": True},
            "certificate": text,
            "key": {**text, "no_log": False},
            "user": text,
            "password": {**text, "no_log": True},
            "users": {"type": "list", "elements": "dict", "no_log": True},
            "templates": {"type": "dict"},
            "snapshots": text,
            "prefix": {"type": "str", "default": "dirac"},
            "patience": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    given = module.params
    if module.check_mode and given["certificate"] and not Path(given["certificate"]).exists():
        module.exit_json(changed=True)
    try:
        service = Service(given, check=module.check_mode)
        run(service)
    except FailedError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{given['url']}: {getattr(error, 'reason', error)}")
    module.exit_json(changed=bool(service.changes), changes=service.changes)


if __name__ == "__main__":
    main()
