# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: ask Grafana whether it is healthy and has what was provisioned."""

from __future__ import annotations

import base64
import json
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: grafana_verify
short_description: Ask Grafana for its health, data source and dashboards
options:
  url: {description: Address without a path, required: true, type: str}
  ca: {description: Authorities of its certificate, type: str, default: ""}
  user: {description: Administrator, required: true, type: str}
  password_file: {description: File with the administrator's password, required: true, type: path}
  dashboards: {description: Directory of the dashboards it has to know, required: true, type: path}
  patience: {description: Seconds to wait, type: int, default: 90}
"""


class NotYetError(Exception):
    """It is not as it should be; perhaps it will be."""


def get(given: dict[str, Any], path: str, *, known: bool = True) -> Any:
    """Return the answer to a request, of the administrator or of nobody.

    Raises:
        NotYetError: There is none, or it is an error.
    """
    request = urllib.request.Request(given["url"] + path)  # noqa: S310
    if known:
        words = f"{given['user']}:{Path(given['password_file']).read_text('utf-8')}"
        request.add_header("Authorization", "Basic " + base64.b64encode(words.encode()).decode())
    context = ssl.create_default_context(cafile=given["ca"]) if given["ca"] else None
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:  # noqa: S310
            return json.loads(answer.read())
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise NotYetError(f"{given['url']}{path}: {error}") from None


def look(given: dict[str, Any]) -> dict[str, Any]:
    """Look once.

    Raises:
        NotYetError: Something is not as it should be.
    """
    health = get(given, "/api/health")
    if health.get("database") != "ok":
        raise NotYetError(f"Grafana says of its database: {health.get('database')}")
    get(given, "/api/datasources/uid/prometheus")
    wanted = {json.loads(path.read_text("utf-8"))["uid"] for path in Path(given["dashboards"]).glob("*.json")}
    found = {one["uid"] for one in get(given, "/api/search?type=dash-db&limit=1000")}
    if missing := sorted(wanted - found):
        raise NotYetError(f"dashboards are not there: {', '.join(missing)}")
    try:
        get(given, "/api/search", known=False)
    except NotYetError:
        return {"version": health.get("version"), "dashboards": len(wanted)}
    raise NotYetError("Grafana answers people it does not know")


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "ca": {"type": "str", "default": ""},
            "user": {"type": "str", "required": True},
            "password_file": {"type": "path", "required": True, "no_log": False},
            "dashboards": {"type": "path", "required": True},
            "patience": {"type": "int", "default": 90},
        },
        supports_check_mode=True,
    )
    deadline = time.monotonic() + module.params["patience"]
    while True:
        try:
            module.exit_json(changed=False, **look(module.params))
        except (NotYetError, OSError) as error:
            if time.monotonic() > deadline:
                module.fail_json(msg=str(error))
        time.sleep(0.5)


if __name__ == "__main__":
    main()
