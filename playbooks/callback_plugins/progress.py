# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible output for people: a line per role, failures in full, a summary at the end; a report as JSON."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ansible import context
from ansible.plugins.callback import CallbackBase

# Ansible loads a plugin as a file of its own; what it is made of is beside its directory.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from callback_support.record import Record, risk
from callback_support.screen import DIM, GREEN, RED, YELLOW, Screen, some, summary
from callback_support.segments import Segments
from callback_support.times import TYPICAL, Forecast, History, left, shape

DOCUMENTATION = """
name: progress
type: stdout
short_description: A line per role, failures in full, a summary
description:
  - Shows which role is at work, how long each took and how much it changed; a failure is shown in full.
  - On a terminal a line lives that tells the task, the hosts still busy, and how long it may still take.
  - Roles tell people what they need to know by C(set_stats) with C(report) in C(data), a mapping of
    C(addresses) (name, url), C(accounts) (vo, user, where), C(jobs) (vo, user, job, host),
    C(checks) (check, ok, detail, cause, mend), C(warnings), C(next) and C(facts); those of all hosts are
    merged.
  - DIRAC_SITE_REPORT names a file for the report as JSON, DIRAC_SITE_TIMES one for how long runs take.
"""

VALIDATE = "Validate"  # the name of the play in validate.yml
WAITING = ("linear", "debug")  # strategies in which hosts wait for each other
DEPLOYING = ("deploy", "site", "plan", "restore")
UNNAMED = "preparation"  # tasks outside of roles
DETAILS = ("msg", "stderr", "stdout", "module_stderr", "module_stdout")


class CallbackModule(CallbackBase):
    """The callback."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "progress"

    def __init__(self):
        super().__init__()
        self._task = None
        self._play = ""
        self._busy = set()
        self._segments = Segments(self._end_of_role)
        self._segment = None
        self._forecast, self._kind = None, None
        self._shown = None
        self._record = Record(
            os.environ.get("DIRAC_SITE"),
            os.environ.get("DIRAC_SITE_VERB"),
            check=bool(context.CLIARGS.get("check")),
            log=os.environ.get("ANSIBLE_LOG_PATH"),
        )
        self._report_path = os.environ.get("DIRAC_SITE_REPORT")
        times = os.environ.get("DIRAC_SITE_TIMES")
        self._history = History(times) if times else None
        self._screen = Screen(lambda text: self._display.display(text, log_only=True), self._live)

    # What is being done

    def v2_playbook_on_start(self, playbook):
        """Remember what is done, if nobody has said so."""
        self._record.verb = self._record.verb or Path(playbook._file_name).stem

    def v2_playbook_on_play_start(self, play):
        """Remember which play it is; before the first, estimate how long all will take."""
        self._play = play.get_name()
        self._segments.play(self._play, is_free=play.strategy not in WAITING)
        if self._forecast is None:
            self._forecast = Forecast({})
            manager = play.get_variable_manager()
            if self._history is not None and manager is not None:
                self._estimate(manager._inventory)

    def _estimate(self, inventory):
        sizes = {name: len(group.get_hosts()) for name, group in inventory.groups.items()}
        self._kind = f"{self._record.verb} {shape(sizes)}"
        expected = self._history.last(self._kind, self._record.site)
        if not expected and self._record.verb in DEPLOYING:
            # A role is at work where its group has hosts.
            expected = {name: seconds for name, seconds in TYPICAL.items() if sizes.get(name)}
        self._forecast = Forecast(expected)

    def v2_playbook_on_task_start(self, task, is_conditional):
        """Notice when another role begins."""
        self._display.display(f"{self._play}: {task.get_name()}", log_only=True)
        self._segment = self._segments.begin(self._role_of(task))
        self._task = task.get_name().split(" : ")[-1]
        self._busy.clear()
        self._screen.refresh()

    def v2_playbook_on_handler_task_start(self, task):
        """Handlers belong to the role that has them."""
        self.v2_playbook_on_task_start(task, False)

    def v2_runner_on_start(self, host, task):
        """Note that a host is busy."""
        self._segments.enter(self._role_of(task), host.get_name())
        self._busy.add(host.get_name())

    def _role_of(self, task):
        outer = task._role
        while outer and outer.get_parents():  # a role that another one makes use of is a part of that
            outer = outer.get_parents()[0]
        role = outer.get_name() if outer else None
        # All roles in turn: one line is enough.
        return VALIDATE.lower() if role and self._play == VALIDATE else role

    def _live(self):
        segment = self._segment
        if not self._task or segment is None:
            return None
        parts = [f"  {segment.role or UNNAMED:<20} {self._task}"]
        if len(segment.hosts) > 1 and self._busy:
            parts.append(some(self._busy.copy()))
        seen = self._forecast.look(segment.key, segment.seconds) if self._forecast else None
        parts.append(f"{seen[0]:.0%}, {left(seen[1])}" if seen else f"{segment.seconds:.0f} s")
        return "  ·  ".join(parts)

    def _end_of_role(self, segment):
        seconds = segment.took
        if segment.role is not None or segment.changed or segment.failed:
            self._show(segment, seconds)
            name = segment.role or UNNAMED
            self._record.role(name, segment.hosts, seconds, segment.changed, failed=segment.failed)
        if self._forecast is not None:
            self._forecast.end(segment.key or UNNAMED, seconds)
        if self._report_path:
            self._record.write(self._report_path)
        self._task = None

    def _show(self, segment, seconds):
        screen = self._screen
        mark = screen.paint(RED, "failed") if segment.failed else screen.paint(GREEN, "ok    ")
        word = "would change" if self._record.check else "changed"
        told = f"{segment.changed} {word}" if segment.changed else "nothing changed"
        if segment.changed:
            told = screen.paint(YELLOW, told) + " " * max(15 - len(told), 0)
        hosts = screen.paint(DIM, some(segment.hosts))
        screen.line(f"  {segment.role or UNNAMED:<20} {mark}  {seconds:5.1f} s  {told}  {hosts}")
        for line in segment.would:
            screen.line(f"    {screen.paint(DIM, line)}")

    # What came of it

    def v2_runner_on_ok(self, result):
        """Count, and keep what the role tells."""
        host, task, facts = _parts(result)
        self._busy.discard(host)
        changed = bool(facts.get("changed"))
        name = task.get_name().split(" : ")[-1]
        segment = self._segments.begin(self._role_of(task))
        segment.touch()
        self._record.result(host, role=segment.role, task=name, changed=changed)
        if changed:
            segment.changed += 1
            if self._record.check:
                reach = risk(name)
                segment.would.append(f"{host}: {name}" + ("" if reach == "safe" else f"  ({reach})"))
        if self._display.verbosity:
            self._tell(host, name, facts, changed=changed)
        # Ansible's own sum of these replaces lists; ours joins them.
        for one in (facts, *(facts.get("results") or ())):
            told = one.get("ansible_stats") if isinstance(one, dict) else None
            if told:
                self._record.add(host, told.get("data", {}).get("report"))

    def _tell(self, host, name, facts, *, changed):
        self._screen.line(f"    {'changed' if changed else 'ok'}: {host}: {name}")
        if self._display.verbosity > 1:
            self._screen.line(self._dump_results(facts, indent=2))

    def v2_runner_on_skipped(self, result):
        """A skipped host is not busy any more."""
        host, task, _ = _parts(result)
        self._busy.discard(host)
        self._segments.begin(self._role_of(task)).touch()

    def v2_on_file_diff(self, result):
        """Show the lines that change, if they are wanted."""
        facts = _parts(result)[2]
        for one in facts.get("results", [facts]):
            if one.get("diff") and one.get("changed"):
                self._screen.line(self._get_diff(one["diff"]).rstrip())

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Show what failed, unless the play goes on all the same."""
        host, task, facts = _parts(result)
        self._busy.discard(host)
        if ignore_errors or _is_rescued(task):
            self._display.display(f"{host}: {task.get_name()}: failed, which is provided for", log_only=True)
            return
        self._fail(host, task, facts)

    def v2_runner_on_unreachable(self, result):
        """Show which host does not answer."""
        host, task, facts = _parts(result)
        self._busy.discard(host)
        self._fail(host, task, facts, unreachable=True)

    def _fail(self, host, task, facts, *, unreachable=False):
        segment = self._segments.begin(self._role_of(task))
        segment.touch()
        segment.failed = True
        name, where = task.get_name().split(" : ")[-1], _where(task)
        message = _message(facts)
        self._record.failure(
            host, role=segment.role, task=name, where=where, message=message, unreachable=unreachable
        )
        screen = self._screen
        if self._shown == (where, message):
            screen.line(f"  {screen.paint(RED, host)}: the same")
            return
        self._shown = (where, message)
        kind = "cannot be reached" if unreachable else "failed"
        title = f"{segment.role}: {name}" if segment.role else name
        screen.line(f"{screen.paint(RED, f'{host} {kind}')}  {title}")
        screen.line(f"  {screen.paint(DIM, where)}")
        for line in message.splitlines():
            screen.line(f"  {line}")

    # The end

    def v2_playbook_on_stats(self, stats):
        """Sum up."""
        self._segments.close()
        self._screen.close()
        record = self._record
        for host in sorted(stats.processed):
            counts = stats.summarize(host)
            record.hosts[host] = {
                "ok": counts["ok"],
                "changed": counts["changed"],
                "failed": counts["failures"],
                "unreachable": bool(counts["unreachable"]),
            }
        record.ended = True
        document = record.document()
        word = "would change" if record.check else "changed"
        self._screen.line(f"  {record.tasks} tasks, {record.changed} {word}, {record.seconds:.1f} s")
        for line in summary(record, self._screen.paint, complete=document["ok"]):
            self._screen.line(line)
        if document["ok"] and record.verb == "plan":
            self._conclude()
        if not document["ok"]:
            self._advise()
        elif self._history is not None and self._kind and not _is_partial():
            self._history.add(self._kind, record.site, self._forecast.done)
        if self._report_path:
            record.write(self._report_path)

    def _conclude(self):
        """Say in one line what a plan comes to."""
        facts, screen = self._record.report["facts"], self._screen
        screen.line()
        if not (self._record.changes or facts.get("migrations") or facts.get("configuration")):
            screen.line(screen.paint(GREEN, "Nothing to do: the site is as its inventory says."))
            return
        hosts = {change["host"] for change in self._record.changes}
        restarts = sorted({str(one["role"]) for one in self._record.changes if one["risk"] == "restarts"})
        screen.line(
            f"{len(self._record.changes)} changes on {some(hosts) or 'no host'}, "
            f"{len(facts.get('migrations') or ())} migrations, "
            f"{len(facts.get('configuration') or ())} changes of the configuration; "
            + (f"started or restarted: {', '.join(restarts)}" if restarts else "nothing is restarted")
        )

    def _advise(self):
        screen, record = self._screen, self._record
        away = sorted({failure["host"] for failure in record.failures if failure["unreachable"]})
        bad = sorted({failure["host"] for failure in record.failures if not failure["unreachable"]})
        screen.line()
        if bad:
            screen.line(screen.paint(RED, f"Failed: {', '.join(bad)}"))
        if away:
            screen.line(screen.paint(RED, f"Not reached: {', '.join(away)}"))
            screen.line("  Do they run, and does ssh let you in? See hosts.yml for their addresses")
        if record.log:
            screen.line(f"  All of it is in {_short(record.log)}")
        again = os.environ.get("DIRAC_SITE_COMMAND", "the same command")
        word = "run it again, it goes on where it has to" if record.changed else "run it again"
        screen.line(f"  Mend the cause and {word}: {screen.paint(GREEN, again)}")


def _parts(result):
    """Return host, task and result, whatever the version of Ansible calls them."""
    host = result.host if hasattr(result, "host") else result._host
    task = result.task if hasattr(result, "task") else result._task
    return host.get_name(), task, result.result if hasattr(result, "result") else result._result


def _is_partial():
    return any(context.CLIARGS.get(name) for name in ("check", "subset", "start_at_task"))


def _is_rescued(task):
    """Tell whether a block around a task has tasks for when it fails."""
    child, parent = task, getattr(task, "_parent", None)
    while parent is not None:
        inner = [getattr(one, "_uuid", None) for one in getattr(parent, "block", None) or ()]
        if getattr(parent, "rescue", None) and child._uuid in inner:
            return True
        child, parent = parent, getattr(parent, "_parent", None)
    return False


def _where(task):
    return _short(task.get_path() or "")


def _short(path):
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def _message(facts):
    """Return all that a failed task says; of a loop, what its failed rounds say."""
    failed = [one for one in facts.get("results") or () if isinstance(one, dict) and one.get("failed")]
    if failed:
        parts = []
        for one in failed:
            label = one.get("_ansible_item_label", one.get("item"))
            parts.append(f"{label}: {_message(one)}" if isinstance(label, (str, int)) else _message(one))
        return "\n".join(parts)
    said = []
    for name in DETAILS:
        text = str(facts.get(name) or "").strip()
        if text and not any(text in earlier for earlier in said):
            said.append(text)
    return "\n".join(said) or str(facts.get("censored", "it says nothing"))
