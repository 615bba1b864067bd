# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: a service under runit, from its files to a process that stays up, in one execution."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host_files import Files, HostError
from ansible.module_utils.runit import LIMITS, Service, Wanted

DOCUMENTATION = r"""
module: runit_service
short_description: Have a service run under runit
description:
  - Writes the service's directory and its logger's, enables it, and waits until the process stays up.
  - The process is restarted only if what it was started with is different from what it would be started with
    now - the program, its user, groups, limits and environment, I(restart_if), or what I(restart_on) names.
  - A run that was interrupted before the restart is made good by the next one.
  - It is asked to end by SIGTERM; after I(stop_timeout) seconds it is killed, and the module says so.
options:
  name: {description: Name of the service, required: true, type: str}
  instances:
    description:
      - Run NAME-1 to NAME-n instead of NAME; each finds its number in the variable INSTANCE.
      - They are restarted one after the other, each when the one before is up and its check is content.
      - Instances with higher numbers are removed.
    type: int
    default: 0
  run:
    description:
      - The program's text, run as the user with limits and environment; a shell's unless it begins with #!.
      - It must end in C(exec), so that signals reach the service. Needed unless the state is C(absent).
    type: str
  user: {description: User that runs it, with all its groups; empty for root, type: str, default: ''}
  directory: {description: Directory to run in, type: path, default: /}
  environment: {description: Variables; secrets belong into files, type: dict, default: {}}
  umask: {description: Umask of the process, type: str, default: '0027'}
  limits:
    description: Limits of each process - nofile and processes (numbers), memory and core (bytes).
    type: dict
    default: {}
  finish: {description: Text of a program that runs when the process has ended, type: str, default: ''}
  check:
    description: Text of a program that succeeds once the service does its work; also used by C(sv check).
    type: str
    default: ''
  log: {description: Log what it prints by svlogd, type: bool, default: true}
  log_dir: {description: Directory of its logs; empty for /var/log/dirac/SERVICE, type: str, default: ''}
  log_user: {description: User that writes the logs, type: str, default: _runit-log}
  log_group: {description: Group that may read the logs, type: str, default: adm}
  log_size: {description: Bytes after which a log file is put aside, type: int, default: 10000000}
  log_keep: {description: Log files kept besides the current one, type: int, default: 20}
  log_age: {description: Seconds after which a log file is put aside; 0 for never, type: int, default: 0}
  log_timestamps: {description: Put the time before each line, type: bool, default: false}
  keep_logs: {description: Leave the logs when the service is removed, type: bool, default: false}
  restart_if: {description: Any text; another one restarts the service, type: str, default: ''}
  restart_on:
    description: Paths on the host; the service is restarted if a file's content or a link's target changes.
    type: list
    elements: path
    default: []
  stop_timeout: {description: Seconds the process has to end, type: int, default: 60}
  start_timeout: {description: Seconds it has to come up and stay up, type: int, default: 60}
  stable: {description: Seconds for which it has to be up, type: int, default: 2}
  settle:
    description:
      - Seconds to wait after a restart, before the next instance is stopped; so long a balancer may take to
        notice that the one before is back.
    type: int
    default: 0
  state:
    description:
      - C(started) runs, C(stopped) does not, also after a reboot, C(restarted) is restarted in any case.
      - C(present) is as started, but what runs is left alone; C(once) is not started again when it ends.
    type: str
    choices: [started, stopped, restarted, present, once, absent]
    default: started
  enabled: {description: Whether the supervisor sees it at all, type: bool, default: true}
  sv_root: {description: Where service directories are, type: path, default: /etc/sv}
  enabled_root: {description: Where the supervisor looks, type: path, default: /etc/service}
"""

RETURN = r"""
restarted: {description: Services that were restarted, type: list, returned: always}
started: {description: Services that were started, type: list, returned: always}
killed: {description: Services that had to be killed, type: list, returned: always}
pids: {description: The processes, by service, type: dict, returned: not in check mode}
"""

STATES = ["started", "stopped", "restarted", "present", "once", "absent"]
# What a Wanted takes from the options as they are.
AS_GIVEN = [
    "user", "directory", "umask", "limits", "finish", "check", "log", "log_user", "log_group", "log_size",
    "log_keep", "log_age", "log_timestamps", "restart_if",
]  # fmt: skip


def wanted_of(given: dict[str, Any]) -> list[Wanted]:
    """Return the services that the options ask for.

    Raises:
        HostError: An option is not usable.
    """
    if not re.fullmatch(r"[a-zA-Z0-9][\w.-]*", given["name"]):
        raise HostError(f"{given['name']!r} is no name for a service")
    unknown = set(given["limits"]) - set(LIMITS)
    if unknown:
        raise HostError(f"there are no limits {sorted(unknown)}; there are {sorted(LIMITS)}")
    base = Wanted(
        name=given["name"],
        run=given["run"] or "",
        environment={name: str(value) for name, value in given["environment"].items()},
        log_dir=given["log_dir"] or f"/var/log/dirac/{given['name']}",
        restart_on=tuple(given["restart_on"]),
        **{name: given[name] for name in AS_GIVEN},
    )
    return [_instance(base, number) for number in range(1, given["instances"] + 1)] or [base]


def _instance(base: Wanted, number: int) -> Wanted:
    return replace(
        base,
        name=f"{base.name}-{number}",
        environment={**base.environment, "INSTANCE": str(number)},
        log_dir=f"{base.log_dir}-{number}",
    )


def superfluous(name: str, instances: int, sv_root: str) -> list[str]:
    """Return the services that are there, but have a number above that of the instances."""
    there = list(Path(sv_root).iterdir()) if instances and Path(sv_root).is_dir() else []
    found = [match for each in there if (match := re.fullmatch(rf"{re.escape(name)}-(\d+)", each.name))]
    return sorted(match[0] for match in found if int(match[1]) > instances)


class Run:
    """One execution of the module."""

    def __init__(self, given: dict[str, Any], check: bool) -> None:
        self.given, self.check = given, check
        self.files = Files(check)
        self.answer: dict[str, Any] = {
            "restarted": [],
            "started": [],
            "stopped": [],
            "killed": [],
            "pids": {},
        }

    def execute(self) -> dict[str, Any]:
        """Do all; returns what the module answers.

        Raises:
            HostError: It cannot be done.
        """
        services = [self._service(wanted) for wanted in wanted_of(self.given)]
        if self.given["state"] == "absent":
            for service in services:
                self._remove(service)
            return self._finished(services)
        for name in superfluous(self.given["name"], self.given["instances"], self.given["sv_root"]):
            self._remove(self._service(replace(services[0].wanted, name=name, log_dir=self._log_dir(name))))
        running = {service.wanted.name: service.status().state for service in services}
        for service in services:
            self._write(service)
        for service in services:
            self._bring(service, running[service.wanted.name])
        return self._finished(services)

    def _service(self, wanted: Wanted) -> Service:
        return Service(wanted, self.files, self.given["sv_root"], self.given["enabled_root"])

    def _log_dir(self, name: str) -> str:
        """Return where an instance that is to be removed has logged."""
        base = self.given["log_dir"] or f"/var/log/dirac/{self.given['name']}"
        return base + name[len(self.given["name"]) :]

    def _write(self, service: Service) -> None:
        service.write()
        down = f"{service.place}/down"
        if self.given["state"] in ("stopped", "once"):
            self.files.file(down, "")
        else:
            self.files.absent(down)
        if self.given["enabled"]:
            self.files.link(service.enabled, service.place)

    def _bring(self, service: Service, before: str) -> None:
        """Bring the process where it should be."""
        if not self.given["enabled"]:
            if Path(service.enabled).is_symlink():
                self._note("stopped", service, before == "run")
                if self.check:
                    self.files.absent(service.enabled)
                else:
                    service.forget(self.given["stop_timeout"])
            return
        if not self.check:
            service.wait_seen(self.given["start_timeout"])
        if self.given["state"] == "stopped":
            self._stop(service, before)
        elif self.given["state"] == "once":
            self._once(service, before)
        elif self.given["state"] != "present":
            self._start(service, before)

    def _start(self, service: Service, before: str) -> None:
        wrong = service.applied() != service.digest() or self.given["state"] == "restarted"
        if before != "run":
            self._note("started", service)
        elif wrong:
            self._note("restarted", service)
        if self.check:
            return
        # A process that has been started between writing and now, by the supervisor, has what was written.
        if before == "run" and wrong:
            service.stop(self.given["stop_timeout"])
        if service.status().state != "run":
            service.start()
        pid = service.wait_stable(self.given["start_timeout"], self.given["stable"])
        self.answer["pids"][service.wanted.name] = pid
        if wrong:
            service.mark_applied()
        if before == "run" and wrong:
            time.sleep(self.given["settle"])

    def _stop(self, service: Service, before: str) -> None:
        self._note("stopped", service, before == "run")
        if not self.check:
            service.stop(self.given["stop_timeout"])

    def _once(self, service: Service, before: str) -> None:
        self._note("started", service, before != "run")
        if not self.check and before != "run":
            service.start(once=True)

    def _remove(self, service: Service) -> None:
        if not self.check and Path(service.place).exists():
            service.forget(self.given["stop_timeout"])
        self.files.absent(service.enabled)
        self.files.absent(service.place)
        if not self.given["keep_logs"]:
            self.files.absent(service.wanted.log_dir)

    def _note(self, what: str, service: Service, true: bool = True) -> None:
        if true:
            self.answer[what].append(service.wanted.name)

    def _finished(self, services: list[Service]) -> dict[str, Any]:
        self.answer["killed"] = [service.wanted.name for service in services if service.killed]
        done = any(self.answer[what] for what in ("restarted", "started", "stopped"))
        return {**self.answer, "changed": bool(self.files.changed) or done, "diff": self.files.diff}


def main() -> None:
    """Run the module."""
    text: dict[str, Any] = {"type": "str", "default": ""}
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "instances": {"type": "int", "default": 0},
            "run": {"type": "str"},
            "user": text,
            "directory": {"type": "path", "default": "/"},
            "environment": {"type": "dict", "default": {}},
            "umask": {"type": "str", "default": "0027"},
            "limits": {"type": "dict", "default": {}},
            "finish": text,
            "check": text,
            "log": {"type": "bool", "default": True},
            "log_dir": text,
            "log_user": {"type": "str", "default": "_runit-log"},
            "log_group": {"type": "str", "default": "adm"},
            "log_size": {"type": "int", "default": 10_000_000},
            "log_keep": {"type": "int", "default": 20},
            "log_age": {"type": "int", "default": 0},
            "log_timestamps": {"type": "bool", "default": False},
            "keep_logs": {"type": "bool", "default": False},
            "restart_if": text,
            "restart_on": {"type": "list", "elements": "path", "default": []},
            "stop_timeout": {"type": "int", "default": 60},
            "start_timeout": {"type": "int", "default": 60},
            "stable": {"type": "int", "default": 2},
            "settle": {"type": "int", "default": 0},
            "state": {
                "type": "str",
                "choices": STATES,
                "default": "started",
            },
            "enabled": {"type": "bool", "default": True},
            "sv_root": {"type": "path", "default": "/etc/sv"},
            "enabled_root": {"type": "path", "default": "/etc/service"},
        },
        required_if=[
            ("state", state, ["run"]) for state in ("started", "stopped", "restarted", "present", "once")
        ],
        supports_check_mode=True,
    )
    try:
        answer = Run(module.params, module.check_mode).execute()
    except (HostError, OSError) as error:
        module.fail_json(msg=str(error))
    for name in answer["killed"]:
        module.warn(f"{name} did not end within {module.params['stop_timeout']} s and was killed")
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
