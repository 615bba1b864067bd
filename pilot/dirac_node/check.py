"""Is this node ready for pilots: one line for each thing, with its cause and what mends it."""

from __future__ import absolute_import, division, print_function

import json
import os
import subprocess
import sys
import tempfile

from dirac_pilot.errors import PilotError
from dirac_pilot.node import read

from .cgroups import Groups
from .server import Server, read_credential
from .slots import SHEPHERD, slot_user


def can_isolate():
    """Try to start a program in namespaces of its own; return why that fails, None if it works."""
    folder = tempfile.mkdtemp(prefix="dirac-node-")
    path = os.path.join(folder, "shepherd.json")
    specification = {
        "command": ["/bin/true"],
        "environment": {},
        "directory": "/",
        "tmp": folder,
        "groups": [],
        "limits": {},
        "isolated": True,
        "private": ["/tmp"],  # noqa: S108
        "uid": None,
        "gid": None,
    }
    try:
        with open(path, "w") as out:
            json.dump(specification, out)
        child = subprocess.Popen(
            [sys.executable, os.path.abspath(sys.argv[0]), SHEPHERD, path],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        words = child.communicate()[0].decode("ascii", "replace").strip()
        if child.returncode == 0:
            return None
        return words.splitlines()[-1] if words else "exit code %d" % child.returncode
    finally:
        if os.path.exists(path):
            os.unlink(path)
        os.rmdir(folder)


def checks(settings):
    """Return the results, in order, as dictionaries: check, ok, detail, and where not ok cause and mend."""
    found = []

    def check(name, function, mend, needed=True):
        try:
            result = {"check": name, "ok": True, "detail": function()}
        except (PilotError, EnvironmentError) as error:
            result = {"check": name, "ok": not needed, "detail": "", "cause": str(error), "mend": mend}
        found.append(result)
        return result["ok"] and "cause" not in result

    place = {}

    def server():
        place.update(Server(settings).place())
        return "%s of %s, VOs: %s" % (place["ce"], place["site"], ", ".join(place["virtual_organisations"]))

    good = check(
        "credential",
        lambda: read_credential(settings["credential_file"]) and settings["credential_file"],
        "dirac-server node-token --site SITE --ce CE --out FILE on a server; copy FILE here, mode 0600",
    )
    if good:
        check("server", server, "look at the network, the certificate (ca_file) and the credential")
    check("python", lambda: _python(settings), "install Python 2.7 or 3, or set python in the settings")
    check("pilot", lambda: _readable(settings["pilot_program"]), "lay out the release: dirac-pilot.py, readable by all")
    check("environment", lambda: _environment(settings), "mount /cvmfs, or run role diracos on this node")
    check("users", lambda: _users(settings), "run role pilot_node again; it makes the users of the slots")
    check("disk", lambda: _disk(settings, place), "make room in work_dir, or give it a file system of its own")
    if settings["ca_file"]:
        check("ca", lambda: _readable(settings["ca_file"]), "chmod a+r the file: pilots read it, too")
    check(
        "namespaces",
        _namespaces,
        "sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000; in a container: allow CAP_SYS_ADMIN",
        needed=settings["isolation"] == "require",
    )
    check(
        "cgroups",
        _cgroups,
        "start the launcher as root, with /sys/fs/cgroup writable; else limits are those of each process",
        needed=False,
    )
    return found


def _python(settings):
    try:
        child = subprocess.Popen(
            [settings["python"], settings["pilot_program"], "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        raise PilotError("cannot run %s: %s" % (settings["python"], error.strerror))
    words = child.communicate()[0].decode("ascii", "replace")
    if child.returncode != 0:
        raise PilotError("the pilot does not run with %s: %s" % (settings["python"], words.strip()[-200:]))
    return settings["python"]


def _readable(path):
    """Return a path that everybody may read."""
    mode = os.stat(path).st_mode
    if not mode & 0o004 and os.geteuid() == 0:
        raise PilotError("%s cannot be read by the users of the slots (mode %04o)" % (path, mode & 0o7777))
    return path


def _environment(settings):
    uname = os.uname()
    named = settings["cvmfs_locations"]
    for root in named or ["/cvmfs/grid.cern.ch", "/cvmfs/dirac.egi.eu"]:
        path = os.path.join(root, "dirac", "pro", "%s-%s" % (uname[0], uname[4]), "diracosrc")
        if os.path.exists(path):
            return path
    raise PilotError("no release in %s" % ", ".join(named or ["/cvmfs"]))


def _users(settings):
    if os.geteuid() != 0 or settings["allow_root"]:
        return "one user for all slots: %d" % os.geteuid()
    names = [slot_user(settings, 1 + number).pw_name for number in range(settings["slots"])]
    return "%s ... %s" % (names[0], names[-1]) if names else "no slots"


def _disk(settings, place):
    folder = settings["work_dir"]
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize // (1 << 20)
    wanted = place.get("min_disk_mb", 0) * max(1, settings["slots"])
    if free < wanted:
        raise PilotError("%d MB are free in %s, %d are wanted for %d slots" % (free, folder, wanted, settings["slots"]))
    return "%d MB free in %s" % (free, folder)


def _namespaces():
    problem = can_isolate()
    if problem:
        raise PilotError(problem)
    limit = read("/proc/sys/user/max_user_namespaces").strip()
    return "mount and process namespaces; user namespaces for containers: %s" % (limit or "unknown")


def _cgroups():
    groups = Groups()
    if groups.kind is None:
        raise PilotError(groups.reason)
    return groups.kind
