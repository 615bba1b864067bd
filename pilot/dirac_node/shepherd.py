"""The process between the launcher and a pilot: confines it, hands signals on, and leaves nothing behind.

It is a program of its own, so that nothing of the launcher's memory, where the node's credential is, is ever
in a process of a slot's user. Its only argument is a file that says what to do.
"""

from __future__ import absolute_import, division, print_function

import errno
import json
import os
import resource
import signal
import sys
import time

from dirac_pilot.compat import native
from dirac_pilot.node import read

from .linux import (
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    mount,
    prctl,
    unshare,
)

FAILED = 125
_PATIENCE = 5.0
_child = [0]


def main(path):
    """Run the program of a specification and return its exit code; FAILED if it could not be started."""
    with open(path) as source:
        spec = native(json.load(source))
    for name in spec["groups"]:
        with open(name, "w") as out:
            out.write(str(os.getpid()))
    signal.signal(signal.SIGTERM, _hand_on)
    signal.signal(signal.SIGINT, _hand_on)
    if spec["isolated"]:
        return _isolated(spec)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    return _watched(spec)


def _hand_on(signum, _frame):
    if _child[0] > 0:
        try:
            os.kill(_child[0], signum)
        except OSError:
            pass


def _isolated(spec):
    """Run the pilot in namespaces of its own: when the first process of one ends, all others do."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        unshare(CLONE_NEWNS | CLONE_NEWPID)
    else:
        unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID)
        _put("/proc/self/setgroups", "deny")
        _put("/proc/self/uid_map", "%d %d 1" % (uid, uid))
        _put("/proc/self/gid_map", "%d %d 1" % (gid, gid))
    pid = os.fork()
    if pid == 0:
        code = FAILED
        try:
            prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
            mount(None, "/", None, MS_REC | MS_PRIVATE)
            mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
            for target in spec["private"]:
                mount(spec["tmp"], target, None, MS_BIND)
            code = _watched(spec)
        except Exception as error:
            _say("cannot isolate the pilot: %s" % error)
        finally:
            os._exit(code)
    _child[0] = pid
    return _wait_for(pid)


def _put(path, text):
    with open(path, "w") as out:
        out.write(text)


def _watched(spec):
    """Run the pilot, and when it has ended everything else that it has started."""
    pid = os.fork()
    if pid == 0:
        try:
            _become(spec)
            os.execve(spec["command"][0], spec["command"], spec["environment"])
        except Exception as error:
            _say("cannot start the pilot: %s" % error)
        finally:
            os._exit(FAILED)
    _child[0] = pid
    code = _wait_for(pid)
    _child[0] = 0
    _kill_rest()
    return code


def _become(spec):
    """Turn this process into the slot's user, with the slot's limits."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
        signal.signal(signum, signal.SIG_DFL)
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, value in sorted(spec["limits"].items()):
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    if spec["uid"] is not None:
        os.setgroups([])
        os.setgid(spec["gid"])
        os.setuid(spec["uid"])
        # set-user-id programs would lead out of the slot; apptainer needs none, it has user namespaces
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    # After the change of user, which the kernel takes as a reason to forget it.
    prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    os.umask(0o077)
    os.chdir(spec["directory"])


def _wait_for(pid):
    """Wait for a child and return its exit code; others that end meanwhile are seen off."""
    while True:
        try:
            found, status = os.waitpid(-1, 0)
        except OSError as error:
            if error.errno == errno.EINTR:
                continue
            return FAILED
        if found == pid:
            return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _kill_rest():
    """Kill all that is below this process, until there is nothing."""
    end = time.time() + _PATIENCE
    while time.time() < end:
        below = [pid for pid in _processes() if pid != os.getpid()]
        for pid in below:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except OSError:
            return  # no children are left, and orphans would have become ours
        time.sleep(0.01)


def _processes():
    """Return the processes that descend from this one."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = read("/proc/%s/stat" % name).rpartition(")")[2].split()
            if len(fields) > 1:
                parents.setdefault(int(fields[1]), []).append(int(name))
    found, ahead = [], [os.getpid()]
    while ahead:
        children = parents.get(ahead.pop(), [])
        found += children
        ahead += children
    return found


def _say(text):
    sys.stderr.write("dirac-node: %s\n" % text)
    sys.stderr.flush()
