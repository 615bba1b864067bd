"""Settings: from the command line, then `pilot.json`, then the environment, then defaults."""

from __future__ import absolute_import, division, print_function

import collections
import getopt
import json
import os

from .compat import INTEGER_TYPES, TEXT_TYPES, native, urlsplit
from .errors import UsageError

Option = collections.namedtuple("Option", "key short long kind default help")
# short and long are the command-line names; without any the option is for pilot.json only.
# key is its name in pilot.json, where the long name is understood as well.
OPTIONS = (
    Option("site", "n", "name", "text", None, "site this node belongs to (required)"),
    Option("ce", "N", "Name", "text", None, "computing element that started the pilot (required)"),
    Option("queue", "Q", "Queue", "text", "", "queue of the computing element"),
    Option("vo", "", "wnVO", "text", None, "virtual organisation served (required; or $DIRAC_PILOT_VO)"),
    Option("pilot_stamp", "", "pilotUUID", "text", None, "identity of this pilot (required; or $DIRAC_PILOT_STAMP)"),
    Option("url", "u", "url", "text", None, "base URL of the DIRAC server (required)"),
    Option(
        "cvmfs_locations",
        "",
        "CVMFS_locations",
        "list",
        ["/cvmfs/grid.cern.ch", "/cvmfs/dirac.egi.eu"],
        "directories to look for a release in, comma separated",
    ),
    Option("release", "r", "release", "text", "pro", "version of the release to use"),
    Option("project", "l", "project", "text", "", "project whose release to use; empty for plain DIRAC"),
    Option(
        "processors", "P", "pilotProcessors", "int", None, "processors to use; else $JOBFEATURES/allocated_cpu, else 1"
    ),
    Option("tags", "t", "tag", "list", [], "tags to offer, comma separated"),
    Option("max_cycles", "M", "MaxCycles", "int", 10, "how many times the agent asks for work"),
    Option("idle_limit_seconds", "", "idleLimit", "int", 300, "seconds without work after which the agent ends"),
    Option("cpu_time_left", "T", "CPUTime", "int", None, "CPU work left in this slot"),
    Option("min_disk_mb", "D", "disk", "int", 2560, "free disk space needed, in MB"),
    Option("ca_file", "", "ca-file", "text", None, "authorities of the server's certificate (or $DIRAC_CA_FILE)"),
    Option("settings_file", "F", "pilotCFGFile", "text", None, "settings file (pilot.json)"),
    Option("debug", "d", "debug", "flag", False, "say more"),
    Option("allow_http", "", "", "flag", False, "allow a server without TLS"),
    Option("platform", "", "", "text", None, "platform to offer, instead of the one found"),
    Option("max_ram_mb", "", "", "int", None, "memory to offer in MB, instead of the amount found"),
    Option("check_seconds", "", "", "seconds", 30, "time limit of CheckWorkerNode"),
    Option("lookup_seconds", "", "", "seconds", 60, "time limit of FindEnvironment, for each location"),
    Option("exchange_seconds", "", "", "seconds", 300, "time limit of ExchangeSecret"),
    Option("capture_seconds", "", "", "seconds", 120, "time limit of CaptureEnvironment"),
    Option("agent_seconds", "", "", "seconds", 0, "time after which the agent is asked to stop; 0 for none"),
    Option("grace_seconds", "", "", "seconds", 60, "time the agent has to stop once asked"),
)
REQUIRED = ("site", "ce", "vo", "pilot_stamp", "url")
FROM_ENVIRONMENT = {"vo": "DIRAC_PILOT_VO", "pilot_stamp": "DIRAC_PILOT_STAMP", "ca_file": "DIRAC_CA_FILE"}
LOOPBACK = ("localhost", "::1")


def read_settings(arguments, directory, environ):
    """Return the settings as a dictionary by key, and a list of warnings.

    Args:
        arguments: The command line without the program name.
        directory: Where to look for `pilot.json`.
        environ: The environment.

    Raises:
        UsageError: Listing all that is wrong, so that one run is enough to find it.
    """
    given = read_command_line(arguments)
    if given.get("help"):
        return {"help": True}, []
    stored, warnings = read_file(given.get("settings_file"), directory)
    settings = dict((option.key, option.default) for option in OPTIONS)
    for key, variable in FROM_ENVIRONMENT.items():
        settings[key] = environ.get(variable) or None
    settings.update(stored)
    settings.update(given)
    problems = ["%s is missing: %s" % (key, hint_for(key)) for key in REQUIRED if not settings[key]]
    if settings["url"]:
        settings["url"] = settings["url"].rstrip("/")
        problems.extend(url_problems(settings["url"], settings["allow_http"]))
    if settings["processors"] == 0:
        problems.append("processors is 0: at least 1 is needed")
    for key in ("release", "project"):
        if "/" in settings[key] or settings[key].startswith("."):
            problems.append("%s is %r: it names a directory and cannot hold a path" % (key, settings[key]))
    if problems:
        raise UsageError("; ".join(problems))
    return settings, warnings


def read_command_line(arguments):
    """Return what the command line sets, by key, and `help` if help is asked for."""
    short, long_names, by_flag = "h", ["help"], {"-h": None, "--help": None}
    for option in OPTIONS:
        takes_value = option.kind != "flag"
        if option.short:
            short += option.short + (":" if takes_value else "")
            by_flag["-" + option.short] = option
        if option.long:
            long_names.append(option.long + ("=" if takes_value else ""))
            by_flag["--" + option.long] = option
    try:
        pairs, rest = getopt.getopt(arguments, short, long_names)
    except getopt.GetoptError as error:
        raise UsageError("%s; -h lists the options" % error)
    if rest:
        raise UsageError("unexpected argument %r; -h lists the options" % rest[0])
    given = {}
    for flag, text in pairs:
        option = by_flag[flag]
        if option is None:
            given["help"] = True
        elif option.kind == "list":  # may be repeated
            given[option.key] = given.get(option.key, []) + convert(option, text, flag)
        else:
            given[option.key] = True if option.kind == "flag" else convert(option, text, flag)
    return given


def read_file(name, directory):
    """Return what the settings file sets, by key, and warnings about keys that mean nothing here."""
    path = os.path.join(directory, name or "pilot.json")
    try:
        with open(path) as source:
            content = native(json.load(source))
    except (IOError, OSError) as error:
        if name is None and not os.path.lexists(path):
            return {}, []
        raise UsageError("cannot read the settings file %s: %s" % (path, error.strerror or error))
    except ValueError as error:
        raise UsageError("the settings file %s is not JSON: %s" % (path, error))
    if not isinstance(content, dict):
        raise UsageError("the settings file %s must hold a JSON object" % path)
    options = {}
    for option in OPTIONS:
        options[option.key] = option
        if option.long:
            options[option.long] = option
    stored, warnings = {}, []
    for key in sorted(content):
        if key not in options:
            # A release may carry settings for newer pilots: an old one must not die of them.
            warnings.append("%s: %r means nothing to this pilot and is ignored" % (path, key))
        elif options[key].key in stored:
            raise UsageError("%s: %r sets %s a second time" % (path, key, options[key].key))
        else:
            stored[options[key].key] = convert(options[key], content[key], "%s: %s" % (path, key))
    return stored, warnings


def convert(option, value, where):
    """Return `value` in the type of `option`; `where` says in a message where it came from."""
    is_text = isinstance(value, TEXT_TYPES)
    if option.kind == "text" and is_text:
        return value
    if option.kind == "flag" and isinstance(value, bool):
        return value
    if option.kind == "int":
        if is_text and value.isdigit():
            return int(value)
        if isinstance(value, INTEGER_TYPES) and not isinstance(value, bool) and value >= 0:
            return value
    if option.kind == "seconds" and isinstance(value, (float,) + INTEGER_TYPES) and not isinstance(value, bool):
        if 0 <= value < float("inf"):
            return value
    if option.kind == "list":
        items = value.split(",") if is_text else value
        if isinstance(items, list) and all(isinstance(item, TEXT_TYPES) for item in items):
            return [item.strip() for item in items if item.strip()]
    wanted = {
        "text": "a text",
        "flag": "true or false",
        "int": "a whole number, 0 or more",
        "seconds": "a number, 0 or more",
        "list": "a list of texts, or one text with commas",
    }[option.kind]
    raise UsageError("%s: %r is not %s" % (where, value, wanted))


def url_problems(url, allow_http):
    """Return what is wrong with the server's URL, as a list of messages."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        parts.port  # noqa: B018 - raises if it is not a number
    except ValueError as error:
        return ["url is %r: %s" % (url, error)]
    if parts.scheme not in ("https", "http") or not host:
        return ["url is %r: it must look like https://dirac.example.org" % url]
    if parts.username or parts.query or parts.fragment:
        return ["url is %r: it cannot hold a user name, a query or a fragment" % url]
    if parts.scheme == "http" and not allow_http and not is_loopback(host):
        return ["url is %r: the secret would travel in the clear; use https, or set allow_http" % url]
    return []


def is_loopback(host):
    """Return whether a host name means this machine, without asking a name server."""
    numbers = host.split(".")
    dotted = len(numbers) == 4 and all(number.isdigit() for number in numbers)
    return host in LOOPBACK or (dotted and numbers[0] == "127")


def hint_for(key):
    """Return how to set a key."""
    option = [option for option in OPTIONS if option.key == key][0]
    ways = ["-" + option.short] if option.short else []
    ways.append("--" + option.long)
    ways.append("%r in pilot.json" % option.key)
    if key in FROM_ENVIRONMENT:
        ways.append("$" + FROM_ENVIRONMENT[key])
    return "set it with " + ", ".join(ways[:-1]) + " or " + ways[-1]


def help_text():
    """Return the text of `--help`."""
    lines = ["usage: python dirac-pilot.py [options]", "", "options (the key in pilot.json in brackets):"]
    only_file = ["", "in pilot.json only:"]
    for option in OPTIONS:
        names = ["-" + option.short] if option.short else []
        value = "" if option.kind == "flag" else "=" + option.kind.upper()
        if option.long:
            names.append("--" + option.long + value)
            lines.append("  %-32s %s [%s]" % (", ".join(names), option.help, option.key))
        else:
            only_file.append("  %-32s %s (%s)" % (option.key, option.help, json.dumps(option.default)))
    lines.append("  %-32s show this text" % "-h, --help")
    return "\n".join(lines + only_file)
