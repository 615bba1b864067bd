"""Settings of the launcher: one JSON file, and what the node itself says where that is silent."""

from __future__ import absolute_import, division, print_function

import json
import os
import re
import socket
import sys

from dirac_pilot.compat import native
from dirac_pilot.errors import UsageError
from dirac_pilot.node import MB, cgroup_limits, memory_total_mb, online_processors, parse_cpu_list, status_field
from dirac_pilot.settings import Option, convert, url_problems

DEFAULT_FILE = "/etc/dirac/node.json"
OPTIONS = (
    Option("url", "", "", "text", None, "base URL of the DIRAC server (required)"),
    Option("credential_file", "", "", "text", "/etc/dirac/node.token", "the node's credential, mode 0600"),
    Option("node", "", "", "text", "", "name of the node; its host name if empty"),
    Option("ca_file", "", "", "text", "", "authorities of the server's certificate; pilots get it as well"),
    Option("work_dir", "", "", "text", "/var/lib/dirac/pilots", "where pilots work"),
    Option("state_dir", "", "", "text", "/var/lib/dirac/node", "where the launcher remembers"),
    Option("slots", "", "", "int", None, "pilots at a time; else one for each processor"),
    Option("processors", "", "", "int", None, "processors for all pilots; else all that can be used"),
    Option("memory_mb", "", "", "int", None, "memory for all pilots; else all that can be used"),
    Option(
        "slot_users",
        "",
        "",
        "text",
        "dirac-pilot-%02d",
        "users of the slots, when started by root; #70001 for a number",
    ),
    Option("allow_root", "", "", "flag", False, "let pilots run as root; for a throw-away machine only"),
    Option("processes", "", "", "int", 4096, "processes that one pilot may have"),
    Option("python", "", "", "text", "", "Python that runs the pilots; that of the launcher if empty"),
    Option("pilot_program", "", "", "text", "", "the pilot; dirac-pilot.py beside the launcher if empty"),
    Option("cvmfs_locations", "", "", "list", [], "where releases are on this node, in place of the server's word"),
    Option("isolation", "", "", "text", "auto", "auto: namespaces if possible; require; off"),
    Option("drain_seconds", "", "", "seconds", 600, "time that pilots have to end by themselves after SIGTERM"),
    Option("grace_seconds", "", "", "seconds", 90, "time that they have after they were asked to end"),
    Option("wait_seconds", "", "", "seconds", 20, "how long a request may be held open by the server"),
    Option("allow_http", "", "", "flag", False, "allow a server without TLS that is not on this machine"),
)


def read_settings(path):
    """Return the settings as a dictionary by key.

    Raises:
        UsageError: Listing all that is wrong.
    """
    try:
        with open(path) as source:
            content = native(json.load(source))
    except (IOError, OSError) as error:
        raise UsageError("cannot read the settings %s: %s" % (path, error.strerror or error))
    except ValueError as error:
        raise UsageError("the settings %s are not JSON: %s" % (path, error))
    if not isinstance(content, dict):
        raise UsageError("the settings %s must hold a JSON object" % path)
    options = dict((option.key, option) for option in OPTIONS)
    settings = dict((option.key, option.default) for option in OPTIONS)
    problems = []
    for key in sorted(content):
        if key not in options:
            problems.append("%s: there is no setting %r" % (path, key))
            continue
        try:
            settings[key] = convert(options[key], content[key], "%s: %s" % (path, key))
        except UsageError as error:
            problems.append(str(error))
    problems.extend(_problems(settings))
    if problems:
        raise UsageError("; ".join(problems))
    return _completed(settings)


def _problems(settings):
    problems = []
    if not settings["url"]:
        problems.append("url is missing")
    else:
        settings["url"] = settings["url"].rstrip("/")
        problems.extend(url_problems(settings["url"], settings["allow_http"]))
    for key in ("work_dir", "state_dir", "credential_file"):
        if not settings[key].startswith("/"):
            problems.append("%s is %r: an absolute path is needed" % (key, settings[key]))
    # Two slots of one user would kill each other's processes.
    if settings["slot_users"].count("%") != 1 or len({_user(settings, 1), _user(settings, 2)}) != 2:
        problems.append("slot_users is %r: it needs one place for the number, as %%02d" % settings["slot_users"])
    if settings["isolation"] not in ("auto", "require", "off"):
        problems.append("isolation is %r: it is auto, require or off" % settings["isolation"])
    if settings["wait_seconds"] > 30:
        problems.append("wait_seconds is %g: 30 at most" % settings["wait_seconds"])
    return problems


def _user(settings, number):
    try:
        return settings["slot_users"] % number
    except (TypeError, ValueError):
        return None


def _completed(settings):
    """Fill in what the node itself says."""
    cpu_limit, memory_limit = cgroup_limits()
    if settings["processors"] is None:
        usable = len(parse_cpu_list(status_field("Cpus_allowed_list"))) or online_processors()
        settings["processors"] = max(1, min(usable, int(cpu_limit or usable)))
    if settings["slots"] is None:
        settings["slots"] = settings["processors"]
    if settings["memory_mb"] is None:
        amounts = [memory_total_mb(), memory_limit and memory_limit // MB]
        settings["memory_mb"] = min([amount for amount in amounts if amount] or [0])
    name = settings["node"] or socket.gethostname()
    settings["node"] = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-")[:128] or "node"
    settings["python"] = settings["python"] or sys.executable
    if not settings["pilot_program"]:
        beside = os.path.dirname(os.path.abspath(sys.argv[0]))
        settings["pilot_program"] = os.path.join(beside, "dirac-pilot.py")
    return settings
