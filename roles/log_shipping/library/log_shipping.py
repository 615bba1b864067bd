# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: write a line as services do, one as all others do, and look for both at the target."""

from __future__ import annotations

import base64
import json
import os
import secrets
import ssl
import syslog
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: log_shipping
short_description: Verify that lines of logs arrive
description:
  - Writes one line to a file as svlogd does, another to syslog, and waits until both are at the target.
  - For a target C(host), whose lines cannot be read from here, a connection to it has to be there.
options:
  directory: {description: Directory of the file, required: true, type: path}
  target: {description: Where lines go, choices: [opensearch, host, file], required: true, type: str}
  file: {description: File of the target C(file), type: path}
  url: {description: Where OpenSearch answers, type: str}
  ca_file: {description: CA of it, type: str, default: ""}
  user: {description: User who may search, type: str, default: ""}
  password: {description: Password of that user, type: str, default: ""}
  index: {description: Name of the indices, type: str}
  patience: {description: Seconds to wait, type: int, default: 30}
"""


ROTATED = 65536  # bytes


def write(directory: Path, mark: str) -> None:
    """Write the lines; the file is rotated as svlogd would, so that it does not grow for ever."""
    moment = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    line = {"time": moment, "level": "INFO", "message": f"verify {mark}", "request": mark}
    current = directory / "current"
    if current.exists() and current.stat().st_size > ROTATED:
        current.replace(directory / "@verified.s")
    with os.fdopen(os.open(current, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), "a") as file:
        file.write(json.dumps(line) + "\n")
    syslog.openlog("dirac-verify")
    syslog.syslog(syslog.LOG_INFO, f"verify {mark}")


def in_file(path: Path, mark: str) -> list[dict[str, object]]:
    """Return the lines with the mark in a file of JSON lines."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1_000_000))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if mark in line]
    return [json.loads(line) for line in lines]


def in_opensearch(given: dict[str, str], mark: str) -> list[dict[str, object]]:
    """Return the lines with the mark in the indices."""
    context = ssl.create_default_context(cafile=given["ca_file"] or None)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    headers = {}
    if given["user"]:
        account = f"{given['user']}:{given['password']}"
        headers["Authorization"] = "Basic " + base64.b64encode(account.encode()).decode()
    query = urllib.parse.urlencode({"q": f"message:{mark}", "ignore_unavailable": "true"})
    for method, path in (("POST", "_refresh"), ("GET", f"_search?{query}")):
        address = f"{given['url']}/{given['index']}-*/{path}"
        request = urllib.request.Request(address, headers=headers, method=method)  # noqa: S310
        with opener.open(request, timeout=30) as answer:
            found = json.load(answer)
    return [hit["_source"] for hit in found["hits"]["hits"]]


def connected(url: str) -> bool:
    """Whether this host has a connection to the target's port."""
    port = urllib.parse.urlsplit(url).port or 0
    wanted = f":{port:04X}"
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    rows = [row.split() for table in tables if table.exists() for row in table.read_text().splitlines()[1:]]
    return any(row[2].endswith(wanted) and row[3] == "01" for row in rows)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "target": {"type": "str", "required": True, "choices": ["opensearch", "host", "file"]},
            "file": {"type": "path"},
            "url": {"type": "str"},
            "ca_file": {"type": "str", "default": ""},
            "user": {"type": "str", "default": ""},
            "password": {"type": "str", "default": "", "no_log": True},
            "index": {"type": "str"},
            "patience": {"type": "int", "default": 30},
        }
    )
    given, mark = module.params, secrets.token_hex(8)
    deadline = time.monotonic() + given["patience"]
    trouble = "no line has arrived"
    write(Path(given["directory"]), mark)
    while time.monotonic() < deadline:
        time.sleep(0.2)
        try:
            if given["target"] == "host":
                if connected(given["url"]):
                    module.exit_json(changed=False)
                trouble = "there is no connection to it"
                continue
            found = (
                in_file(Path(given["file"]), mark)
                if given["target"] == "file"
                else in_opensearch(given, mark)
            )
        except (OSError, ValueError, KeyError) as error:
            trouble = str(getattr(error, "reason", error))
            continue
        services = {str(line.get("service")) for line in found}
        if {Path(given["directory"]).name, "dirac-verify"} <= services:
            module.exit_json(changed=False, lines=found)
        if found:
            trouble = f"only lines of {', '.join(sorted(services))} have arrived"
    module.fail_json(
        msg=f"lines do not arrive at {given['target']} within {given['patience']} s: {trouble}; "
        "look at `journalctl -u log-shipping`"
    )


if __name__ == "__main__":
    main()
