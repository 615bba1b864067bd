#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people of a VO do with a site, on a host that has the DIRAC environment.

Usage: person.py HOME URL VO USER VERB [ARGUMENT]. Verbs: login, submit NUMBER, wait IDS, answers,
stream FILE (submit until FILE exists, a line of JSON for each job), configure (four versions), configuration,
or a command of `dirac`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ENVIRONMENT = "/opt/dirac/environments/current/bin/dirac"
JDL = """\
Executable = "work.sh";
InputSandbox = {{ "work.sh" }};
Arguments = "{text}";
StdOutput = "std.out";
OutputSandbox = {{ "std.out", "data.bin" }};
JobName = "restore";
CPUTime = 300;
"""
WORK = '#!/bin/sh\necho "$1"\nhead -c 40000 /dev/urandom > data.bin\n'


class Person:
    """Somebody at the command line, whose login is kept in a home directory."""

    def __init__(self, home: str, url: str, vo: str, user: str) -> None:
        self.home, self.vo, self.user = Path(home), vo, user
        self.home.mkdir(parents=True, exist_ok=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "LC_ALL": "C.UTF-8",
            "DIRAC_URL": url,
            "DIRAC_CREDENTIALS": f"{home}/credentials.json",
            "DIRAC_DEMO_PASSWORDS": f"{home}/passwords.json",
        }
        if user == "operator":
            self.environment["DIRAC_TOKEN_FILE"] = "/etc/dirac/secrets/operator.token"

    def run(self, *words: str, give: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return subprocess.run(
            [ENVIRONMENT, *words], env=self.environment, cwd=self.home, input=give, capture_output=True,
            text=True, timeout=300, check=False,
        )  # fmt: skip

    def ask(self, *words: str, give: str | None = None) -> Any:
        """Return what a command answers; ends the program if it fails."""
        done = self.run(*words, "--json", give=give)
        if done.returncode:
            sys.exit(f"dirac {' '.join(words)}: {done.stderr or done.stdout}")
        return json.loads(done.stdout)

    def submit(self, text: str) -> int:
        """Submit a job with an input sandbox; returns its number."""
        (self.home / "work.sh").write_text(WORK)
        (self.home / "work.sh").chmod(0o755)
        return int(self.ask("job", "submit", "-", give=JDL.format(text=text))[0]["JobID"])

    def answers(self) -> dict[str, Any]:
        """Return all that the site says of this person's jobs, with check sums of their outputs."""
        rows = self.ask("job", "list", "--limit", "10000")
        numbers = [str(row["JobID"]) for row in rows]
        ended = [str(row["JobID"]) for row in rows if row["Status"] == "Done"]
        place = self.home / "outputs"
        shutil.rmtree(place, ignore_errors=True)
        if ended:
            self.ask("job", "output", *ended, "--dir", str(place))
        return {
            "jobs": {row["JobID"]: row for row in rows},
            "logs": {number: self.ask("job", "log", number) for number in numbers},
            "parameters": {number: self.ask("job", "params", number) for number in numbers},
            "outputs": {
                str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(place.rglob("*"))
                if path.is_file()
            },
        }

    def configure(self) -> None:
        """Change the configuration a few times, and back to what the inventory says."""
        good = self.run("config", "show").stdout
        for number in (1, 2, 3):
            text = good.replace("Ask the operators", f"Ask {number} operators")
            self.ask("config", "apply", "-", "--yes", "--comment", f"change {number}", give=text)
        self.ask("config", "apply", "-", "--yes", "--comment", "back", give=good)


def main() -> None:
    """Do what the command line says."""
    home, url, vo, user, verb, *words = sys.argv[1:]
    person = Person(home, url, vo, user)
    answer: Any = None
    if verb == "login":
        answer = person.ask("login", vo, "--demo-user", user)
    elif verb == "submit":
        answer = [person.submit(f"{vo} {time.time_ns()}") for _ in range(int(words[0]))]
    elif verb == "wait":
        answer = person.ask("job", "wait", *words)
    elif verb == "answers":
        answer = person.answers()
    elif verb == "configure":
        person.configure()
    elif verb == "configuration":
        answer = {"log": person.ask("config", "log"), "now": person.run("config", "show").stdout}
    elif verb == "stream":
        while not Path(words[0]).exists():
            began = time.time()
            row = {"job": person.submit(f"{vo} stream"), "began": began, "ended": time.time()}
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()
    else:
        done = person.run(verb, *words)
        answer = {"code": done.returncode, "said": done.stdout + done.stderr}
    if verb != "stream":
        json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
