# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: ask Prometheus, or an exporter, whether it does its work."""

from __future__ import annotations

import json
import re
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: prometheus_verify
short_description: Ask Prometheus for its targets and rules, or an exporter for a metric
options:
  url: {description: Address without a path, required: true, type: str}
  ca: {description: Authorities of its certificate, type: str, default: ""}
  certificate: {description: Certificate to show, type: str, default: ""}
  key: {description: Key of that certificate, type: str, default: ""}
  jobs: {description: Jobs of which each target has to be up, type: list, elements: str, default: []}
  rules: {description: Directory of the rule files whose alerts have to be loaded, type: str, default: ""}
  metric: {description: Ask an exporter for this metric instead, type: str, default: ""}
  patience: {description: Seconds to wait, type: int, default: 60}
"""

ALERT = re.compile(r"^\s*- (?:alert|record): *(\S+)", re.MULTILINE)


class NotYetError(Exception):
    """It is not as it should be; perhaps it will be."""


class Service:
    """What is asked.

    Args:
        given: The module's parameters.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.context = None
        if given["certificate"]:
            self.context = ssl.create_default_context(cafile=given["ca"])
            self.context.load_cert_chain(given["certificate"], given["key"])

    def get(self, path: str) -> str:
        """Return the answer to a request.

        Raises:
            NotYetError: There is none, or it is an error.
        """
        url = self.given["url"] + path
        try:
            with urllib.request.urlopen(url, timeout=10, context=self.context) as answer:  # noqa: S310
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError) as error:
            raise NotYetError(f"{url}: {error}") from None

    def ask(self, path: str) -> Any:
        """Return the data of an answer of Prometheus."""
        return json.loads(self.get(f"/api/v1/{path}"))["data"]

    def look(self) -> dict[str, Any]:
        """Look once.

        Raises:
            NotYetError: Something is not as it should be.
        """
        if self.given["metric"]:
            if not re.search(f"^{re.escape(self.given['metric'])}[ {{]", self.get("/metrics"), re.MULTILINE):
                raise NotYetError(f"{self.given['url']}/metrics has no {self.given['metric']}")
            return {}
        self.get("/-/ready")
        targets = self.ask("targets?state=active")["activeTargets"]
        down = [
            f"{one['scrapeUrl']}: {one['lastError'] or 'not yet asked'}"
            for one in targets
            if one["health"] != "up"
        ]
        down += [
            f"no target of the job {job}"
            for job in set(self.given["jobs"]) - {one["scrapePool"] for one in targets}
        ]
        loaded = {rule["name"] for group in self.ask("rules")["groups"] for rule in group["rules"]}
        files = sorted(Path(self.given["rules"]).glob("*.yml"))
        wanted = {name.strip("\"'") for path in files for name in ALERT.findall(path.read_text("utf-8"))}
        reload = self.ask("query?query=prometheus_config_last_reload_successful")["result"]
        if any(row["value"][1] != "1" for row in reload):
            raise NotYetError(
                "Prometheus has refused its new configuration; `journalctl -u prometheus` says why"
            )
        if missing := sorted(wanted - loaded):
            raise NotYetError(f"rules are not loaded: {', '.join(missing)}")
        if down:
            raise NotYetError(f"targets are not up: {'; '.join(sorted(down))}")
        return {"targets": len(targets), "rules": len(loaded)}


def main() -> None:
    """Run the module."""
    text = {"type": "str", "default": ""}
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "ca": text,
            "certificate": text,
            "key": text | {"no_log": False},
            "jobs": {"type": "list", "elements": "str", "default": []},
            "rules": text,
            "metric": text,
            "patience": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    service, deadline = Service(module.params), time.monotonic() + module.params["patience"]
    while True:
        try:
            module.exit_json(changed=False, **service.look())
        except NotYetError as error:
            if time.monotonic() > deadline:
                module.fail_json(msg=str(error))
        time.sleep(0.5)


if __name__ == "__main__":
    main()
