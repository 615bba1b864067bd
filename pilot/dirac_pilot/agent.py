"""The job agent as a child: its settings, its signals, its end."""

from __future__ import absolute_import, division, print_function

import json
import os
import signal
import subprocess

from .compat import write_private
from .errors import PilotError, Stopped
from .process import CLOSE_FDS, exit_code_of, find_program, prepare_child

AGENT = "dirac-agent"
SETTINGS_FILE = "agent.json"


class Signals(object):
    """What signals mean to the pilot, which changes when the agent starts.

    Before, SIGTERM and SIGINT raise Stopped in the main thread. Then they are passed on to the agent, and
    if it is still there after the grace period it is killed.
    """

    def __init__(self, say):
        self._say = say
        self._grace = None
        self._child = None
        self._holding = False
        self._missed = []
        self._stopping = False
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def hold(self):
        """Keep signals back: an exception while the agent is being started would lose track of it."""
        self._holding = True

    def watch(self, child, grace, limit):
        """Pass signals on to the child from now on, those kept back first.

        Args:
            child: The process.
            grace: Seconds it has to stop once it was asked.
            limit: Seconds after which it is asked to stop; 0 for never.
        """
        self._grace = grace
        signal.signal(signal.SIGALRM, self._alarm)
        signal.setitimer(signal.ITIMER_REAL, limit)
        self._child = child  # last: from here on a signal goes to it
        for signum in self._missed:
            self._handle(signum, None)

    def ignore(self):
        """Let signals do nothing: the pilot is about to end anyway."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _handle(self, signum, _frame):
        if self._child is not None:
            self._say("signal %d: passed on to the agent, which has %g s" % (signum, self._grace))
            if not self._stopping:
                self._stopping = True
                signal.setitimer(signal.ITIMER_REAL, max(0.001, self._grace))
            self._send(signum)
        elif self._holding:
            self._missed.append(signum)
        else:
            raise Stopped(signum)

    def _alarm(self, _signum, _frame):
        if self._stopping:
            self._say("the agent did not stop in time and is killed")
            self._send(signal.SIGKILL)
        else:
            self._say("the time of this slot is over")
            self._handle(signal.SIGTERM, None)

    def _send(self, signum):
        try:
            os.kill(self._child.pid, signum)
        except OSError:
            pass  # it has just ended


def agent_settings(settings, node, token, workdir):
    """Return what the agent is told, as an object for `agent.json`."""
    processors = settings["processors"] or node["processors_allocated"] or 1
    content = {
        "server": settings["url"],
        "vo": settings["vo"],
        "site": settings["site"],
        "ce": settings["ce"],
        "queue": settings["queue"],
        "pilot_stamp": settings["pilot_stamp"],
        "processors": processors,
        "max_ram_mb": settings["max_ram_mb"] or memory_share(node, processors),
        "tags": settings["tags"],
        "platform": settings["platform"] or node["platform"],
        "max_cycles": settings["max_cycles"],
        "idle_limit_seconds": settings["idle_limit_seconds"],
        "workdir": workdir,
        "token": token,
    }
    if settings["cpu_time_left"] is not None:
        content["cpu_time_left"] = settings["cpu_time_left"]
    return content


def memory_share(node, processors):
    """Return the memory to offer in MB: the limit set on us, else the share of the node that is ours."""
    total, limit = node["memory_total_mb"], node["memory_limit_mb"]
    if limit is not None and (total is None or limit < total):
        return limit
    if total is None:
        return 0
    return total * min(processors, node["processors_online"]) // node["processors_online"]


def run_agent(content, environ, settings, signals, workdir, started):
    """Run the agent until it ends and return its exit code, 128 + n if signal n ended it.

    Args:
        content: Its settings.
        environ: Its environment, in which it is looked for.
        settings: Those of the pilot.
        signals: To be told about the child.
        workdir: Where it runs.
        started: Called with the path of the program and its process id once it runs.
    """
    program = find_program(AGENT, environ.get("PATH", ""))
    if program is None:
        raise PilotError("%s is not in the PATH of the environment: %s" % (AGENT, environ.get("PATH", "")))
    path = os.path.join(workdir, SETTINGS_FILE)
    write_private(path, json.dumps(content, indent=1, sort_keys=True))
    signals.hold()
    try:
        with open(os.devnull, "rb") as nothing:
            child = subprocess.Popen(
                [program, path],
                stdin=nothing,
                env=environ,
                cwd=workdir,
                close_fds=CLOSE_FDS,
                preexec_fn=prepare_child(new_session=False),
            )
    except OSError as error:
        raise PilotError("cannot run %s: %s" % (program, error.strerror))
    signals.watch(child, settings["grace_seconds"], settings["agent_seconds"])
    started(program, child.pid)
    return exit_code_of(child.wait())
