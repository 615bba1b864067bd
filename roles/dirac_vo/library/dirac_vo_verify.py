# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: be a member of each virtual organisation for a moment, and run a job."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: dirac_vo_verify
short_description: Run a job for each virtual organisation
description:
  - Logs in as the first account of each VO with the command line, submits a job that prints a text made up
    now, waits for its end, fetches its output and compares. All VOs at a time.
options:
  environment: {description: The DIRAC environment, type: path, required: true}
  url: {description: Address of the server, type: str, required: true}
  passwords: {description: File of the passwords, type: path, required: true}
  accounts: {description: Users per VO, type: dict, required: true}
  patience: {description: Seconds a job may take, type: int, default: 120}
"""

JDL = """\
Executable = "/bin/sh";
Arguments = "-c 'echo {text} on $(hostname)'";
StdOutput = "std.out";
StdError = "std.err";
OutputSandbox = {{ "std.out", "std.err" }};
JobName = "verify";
CPUTime = 300;
"""


class FailedError(Exception):
    """A step did not work; the text says which, and what to look at."""


class Member:
    """A member of a VO at the command line.

    Args:
        given: The module's options.
        vo: The VO.
        user: The account.
        home: Directory for the login and the output.
    """

    def __init__(self, given: dict, vo: str, user: str, home: Path) -> None:
        self.given, self.vo, self.user, self.home = given, vo, user, home
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "DIRAC_URL": given["url"],
            "DIRAC_CREDENTIALS": str(home / "credentials.json"),
            "DIRAC_DEMO_PASSWORDS": given["passwords"],
        }

    def dirac(self, *arguments: str, given: str | None = None) -> str:
        """Run the command line and return what it prints.

        Raises:
            FailedError: It fails, or takes too long.
        """
        try:
            done = subprocess.run(
                [f"{self.given['environment']}/bin/dirac", *arguments],
                env=self.environment, cwd=self.home, input=given, capture_output=True, text=True, check=False,
                timeout=self.given["patience"],
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            job = f"; why: dirac job explain {arguments[-1]}" if arguments[0] == "job" else ""
            raise FailedError(
                f"{self.vo}: `dirac {' '.join(arguments)}` took more than {self.given['patience']} s{job}"
            ) from None
        if done.returncode:
            raise FailedError(
                f"{self.vo}: `dirac {' '.join(arguments)}`: {(done.stderr or done.stdout).strip()}"
            )
        return done.stdout

    def run_a_job(self) -> dict:
        """Log in, run a job, compare its output; returns what happened.

        Raises:
            FailedError: A step did not work.
        """
        began = time.monotonic()
        self.dirac("login", self.vo, "--demo-user", self.user, "--json")
        text = f"{self.vo} {secrets.token_hex(8)}"
        [job] = json.loads(self.dirac("job", "submit", "-", "--json", given=JDL.format(text=text)))
        number = str(job["JobID"])
        try:
            self.dirac("job", "wait", number)
            self.dirac("job", "output", number, "--dir", "output")
            [output] = (self.home / "output").rglob("std.out")
            said = output.read_text().strip()
        finally:
            self.dirac("logout")
        if not said.startswith(f"{text} on "):
            raise FailedError(f"{self.vo}: job {number} said {said!r}, not {text!r}")
        seconds = round(time.monotonic() - began, 1)
        return {
            "vo": self.vo,
            "user": self.user,
            "job": int(number),
            "host": said.rpartition(" ")[2],
            "seconds": seconds,
        }


def verify_one(given: dict, vo: str, user: str) -> tuple[dict, str]:
    """Run a job for a VO; returns what happened, or else what did not work."""
    with tempfile.TemporaryDirectory(prefix="dirac-verify-") as home:
        try:
            return Member(given, vo, user, Path(home)).run_a_job(), ""
        except FailedError as error:
            return {}, str(error)
        except (OSError, LookupError, TypeError, ValueError) as error:
            return {}, f"{vo}: the answer is not understood: {error!r}"


def verify(given: dict) -> tuple[list[dict], list[str]]:
    """Run a job for each VO that has accounts, at a time; returns the jobs and what did not work."""
    members = [(vo, users[0]) for vo, users in sorted(given["accounts"].items()) if users]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda member: verify_one(given, *member), members))
    return [job for job, _ in found if job], [failure for _, failure in found if failure]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "environment": {"type": "path", "required": True},
            "url": {"type": "str", "required": True},
            "passwords": {"type": "path", "required": True, "no_log": False},
            "accounts": {"type": "dict", "required": True},
            "patience": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    jobs, failures = ([], []) if module.check_mode else verify(module.params)
    if failures:
        module.fail_json(msg="; ".join(failures), jobs=jobs)
    module.exit_json(changed=False, jobs=jobs)


if __name__ == "__main__":
    main()
