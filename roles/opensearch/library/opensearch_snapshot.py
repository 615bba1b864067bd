# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: snapshots of indices as files of a backup, and back."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.opensearch_client import Client, FailedError

DOCUMENTATION = r"""
module: opensearch_snapshot
short_description: Make a snapshot of indices and copy it to a backup, or back
description:
  - The repository C(dirac) of snapshots is a directory of the host. A backup is a fresh snapshot, and a copy
    of that directory. A restore replaces the directory and the indices that the snapshot holds.
options:
  action: {description: What to do, choices: [backup, restore], required: true, type: str}
  url: {description: Where the service answers, required: true, type: str}
  ca_file: {description: CA of the service, type: str, default: ""}
  certificate: {description: File of the administrator's certificate, type: str, default: ""}
  key: {description: File of its key, type: str, default: ""}
  repository: {description: Directory of the repository, required: true, type: path}
  backup: {description: Directory of the backup, required: true, type: path}
  indices: {description: Which indices, required: true, type: str}
  owner: {description: User of the service, required: true, type: str}
"""

REPOSITORY = "/_snapshot/dirac"
SNAPSHOT = f"{REPOSITORY}/backup"


def back_up(client: Client, repository: Path, backup: Path, indices: str) -> None:
    """Make a snapshot and copy it.

    Raises:
        FailedError: The service refuses, or a part of the snapshot failed.
    """
    client.call("DELETE", SNAPSHOT)  # only one is kept; unchanged files are not written again
    body = {"indices": indices, "include_global_state": False, "ignore_unavailable": True}
    done = client.need("PUT", f"{SNAPSHOT}?wait_for_completion=true", body, trouble="no snapshot can be made")
    if done["snapshot"]["state"] != "SUCCESS":
        raise FailedError(f"the snapshot is not whole: {done['snapshot']['state']}")
    shutil.rmtree(backup, ignore_errors=True)
    shutil.copytree(repository, backup)


def restore(client: Client, repository: Path, backup: Path, owner: str) -> None:
    """Put a copy of the repository in place, and its indices.

    Raises:
        FailedError: There is no backup, or the service refuses.
    """
    if not (backup / "index.latest").exists():
        raise FailedError(f"{backup} holds no backup of OpenSearch")
    client.call("DELETE", REPOSITORY)  # it remembers what is in it
    shutil.rmtree(repository, ignore_errors=True)
    shutil.copytree(backup, repository)
    user = pwd.getpwnam(owner)
    for path in [repository, *repository.rglob("*")]:
        os.chown(path, user.pw_uid, user.pw_gid)
    body = {"type": "fs", "settings": {"location": str(repository)}}
    client.need("PUT", REPOSITORY, body, trouble="the repository of snapshots is refused")
    held = client.need("GET", SNAPSHOT, trouble="the backup holds no snapshot")["snapshots"][0]["indices"]
    for index in held:
        client.call("DELETE", f"/{index}")
    if held:
        body = {"indices": ",".join(held), "include_global_state": False}
        path = f"{SNAPSHOT}/_restore?wait_for_completion=true"
        done = client.need("POST", path, body, trouble="the snapshot cannot be restored")
        if done["snapshot"]["shards"]["failed"]:
            raise FailedError(f"parts could not be restored: {done['snapshot']['shards']}")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "required": True, "choices": ["backup", "restore"]},
            "url": {"type": "str", "required": True},
            "ca_file": {"type": "str", "default": ""},
            "certificate": {"type": "str", "default": ""},
            "key": {"type": "str", "default": "", "no_log": False},
            "repository": {"type": "path", "required": True},
            "backup": {"type": "path", "required": True},
            "indices": {"type": "str", "required": True},
            "owner": {"type": "str", "required": True},
        }
    )
    given = module.params
    repository, backup = Path(given["repository"]), Path(given["backup"])
    certificate = (given["certificate"], given["key"]) if given["certificate"] else None
    try:
        client = Client(given["url"], given["ca_file"], certificate=certificate)
        client.wait(60)
        if given["action"] == "backup":
            back_up(client, repository, backup, given["indices"])
        else:
            restore(client, repository, backup, given["owner"])
    except FailedError as error:
        module.fail_json(msg=str(error))
    except (OSError, KeyError) as error:
        module.fail_json(msg=f"{given['action']} of {given['url']}: {error}")
    module.exit_json(changed=True)


if __name__ == "__main__":
    main()
