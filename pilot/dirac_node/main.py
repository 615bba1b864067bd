"""The entry point of `dirac-node.py`."""

from __future__ import absolute_import, division, print_function

import getopt
import json
import os
import sys
import time

from dirac_pilot.errors import PilotError
from dirac_pilot.version import VERSION

from .check import checks
from .handover import CAN_TAKE_OVER, FORMAT, Watch, identity
from .launcher import HEARTBEAT, Launcher
from .settings import DEFAULT_FILE, OPTIONS, read_settings
from .shepherd import main as shepherd
from .slots import SHEPHERD

_LONG = ["help", "settings=", "check", "status", "json", "version", CAN_TAKE_OVER[2:]]
USAGE = """usage: python dirac-node.py [--settings FILE] [--check | --status] [--json]

Asks a DIRAC server for pilots and runs them on this worker node.

  --settings FILE  settings (%s)
  --check          say what this node lacks, and what mends it; exit code 0 if nothing
  --status         say how the launcher is; exit code 0 if it is connected, and runs with this program and settings
  --json           answer in JSON
  --version        say the version

settings (keys of a JSON object):
"""


def main():
    """Do as the command line says and end the process."""
    if sys.argv[1:2] == [SHEPHERD]:
        os._exit(shepherd(sys.argv[2]))
    try:
        code = run(sys.argv[1:])
    except PilotError as error:
        sys.stderr.write("dirac-node: %s\n" % error)
        code = 2
    sys.stdout.flush()
    os._exit(code)  # the threads need no farewell


def run(arguments):
    """Return the exit code: 0 good, 1 a check has failed, 2 it cannot be run like this."""
    try:
        pairs, rest = getopt.getopt(arguments, "h", _LONG)
    except getopt.GetoptError as error:
        raise PilotError("%s; -h shows the options" % error)
    given = dict(pairs)
    if rest or "-h" in given or "--help" in given:
        print(help_text())
        return 2 if rest else 0
    if "--version" in given:
        print(VERSION)
        return 0
    settings_file = given.get("--settings", DEFAULT_FILE)
    if CAN_TAKE_OVER in given:  # asked by the launcher that runs, of the program that is to follow it
        print(FORMAT)
        sys.stdout.flush()
        read_settings(settings_file)
        return 0
    watch = Watch(settings_file)
    settings = read_settings(settings_file)
    if "--check" in given:
        return show_checks(checks(settings), "--json" in given)
    if "--status" in given:
        return show_status(settings, settings_file)
    return Launcher(settings, watch).run()


def help_text():
    """Return the text of `--help`."""
    lines = [USAGE % DEFAULT_FILE]
    lines += ["  %-18s %s (%s)" % (option.key, option.help, json.dumps(option.default)) for option in OPTIONS]
    return "\n".join(lines)


def show_checks(found, as_json):
    """Print results of checks; return the exit code."""
    if as_json:
        print(json.dumps(found, indent=1, sort_keys=True))
    else:
        for one in found:
            mark = "FAILED" if not one["ok"] else "warning" if "cause" in one else "ok"
            print("%-8s%-12s %s" % (mark, one["check"], one.get("cause") or one["detail"]))
            if "cause" in one:
                print("%20s mend: %s" % ("", one["mend"]))
    return 0 if all(one["ok"] for one in found) else 1


def show_status(settings, settings_file):
    """Print what the launcher has said last; return 0 if it runs, is up to date, and reaches the server."""
    try:
        with open(os.path.join(settings["state_dir"], "status.json")) as source:
            status = json.load(source)
    except (IOError, OSError, ValueError) as error:
        raise PilotError("no launcher has run here yet: %s" % error)
    status["running"] = os.path.isdir("/proc/%d" % status["pid"])
    recent = status["last_contact"] and time.time() - status["last_contact"] < 3 * HEARTBEAT
    status["connected"] = bool(status["running"] and status["connected"] and recent)
    status["current"] = status.get("identity") == identity((sys.argv[0], settings_file))
    print(json.dumps(status, indent=1, sort_keys=True))
    return 0 if status["connected"] and status["current"] else 1
