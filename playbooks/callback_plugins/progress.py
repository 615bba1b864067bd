# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible output for people: a line per role and host, what failed in full, a summary at the end."""

from __future__ import annotations

import re
import sys
import time

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: progress
type: stdout
short_description: A line per role, failures in full
description:
  - Shows which role is at work, how long each took and how much it changed; a failure is shown in full.
"""

GREEN, YELLOW, RED, DIM, PLAIN = "\033[32m", "\033[33m", "\033[31m", "\033[2m", "\033[0m"
VALIDATE = "Validate"  # the name of the play in validate.yml


class CallbackModule(CallbackBase):
    """The callback."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "progress"

    def __init__(self):
        super().__init__()
        self._terminal = sys.stdout.isatty()
        self._role = None
        self._since = self._begun = time.monotonic()
        self._changed = self._total_changed = self._tasks = 0
        self._failed = False
        self._play = ""

    def _print(self, text):
        """Print for people, and keep it in Ansible's log if there is one."""
        print(text, flush=True)
        self._display.display(re.sub("\033\\[[0-9]+m|\r|\033\\[K", "", text), log_only=True)

    def _paint(self, colour, text):
        return colour + text + PLAIN if self._terminal else text

    def _close_role(self):
        if self._role is None:
            return
        seconds = time.monotonic() - self._since
        mark = self._paint(RED, "failed") if self._failed else self._paint(GREEN, "ok")
        changed = self._paint(YELLOW, f"{self._changed} changed") if self._changed else "nothing changed"
        start = "\r\033[K" if self._terminal else ""
        self._print(f"{start}  {self._role:<20} {mark}  {seconds:5.1f} s  {changed}")
        self._role = None

    def v2_playbook_on_play_start(self, play):
        """Remember which play it is."""
        self._play = play.get_name()

    def v2_playbook_on_task_start(self, task, is_conditional):
        """Notice when another role begins."""
        role = task._role.get_name() if task._role else None
        if role and self._play == VALIDATE:  # all roles in turn: one line is enough
            role = VALIDATE.lower()
        self._display.display(f"{self._play}: {task.get_name()}", log_only=True)
        if role != self._role:
            self._close_role()
            self._role, self._since, self._changed = role, time.monotonic(), 0
        if self._terminal and role:
            name = self._paint(DIM, task.get_name().split(" : ")[-1])
            print(f"\r\033[K  {role:<20} {name}", end="", flush=True)

    def v2_runner_on_ok(self, result):
        """Count."""
        self._tasks += 1
        if result.is_changed():
            self._changed += 1
            self._total_changed += 1

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Show what failed."""
        if ignore_errors:
            return
        self._failed = True
        self._close_role()
        facts = result.result if hasattr(result, "result") else result._result
        task = result.task if hasattr(result, "task") else result._task
        self._print(self._paint(RED, f"failed: {task.get_name()}"))
        for name in ("msg", "stderr", "stdout"):
            if facts.get(name):
                self._print(f"  {facts[name]}")

    def v2_runner_on_unreachable(self, result):
        """Show which host does not answer."""
        self.v2_runner_on_failed(result)

    def v2_playbook_on_stats(self, stats):
        """Sum up."""
        self._close_role()
        seconds = time.monotonic() - self._begun
        self._print(f"  {self._tasks} tasks, {self._total_changed} changed, {seconds:.1f} s")
