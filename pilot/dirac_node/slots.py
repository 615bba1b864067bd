"""Slots: where pilots run, as whom, and how nothing of theirs is left behind."""

from __future__ import absolute_import, division, print_function

import collections
import errno
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time

from dirac_pilot.compat import write_private
from dirac_pilot.errors import PilotError
from dirac_pilot.process import CLOSE_FDS, exit_code_of, prepare_child

from .log import warning

MARK = "DIRAC_NODE_SLOT"
SHEPHERD = "--shepherd"
OUTPUT_TAIL = 65536
PRIVATE = ("/tmp", "/var/tmp")  # noqa: S108 - each pilot gets its own
_PATIENCE = 10.0
_STARTING = ("secret", "settings", "arguments")  # what only the start of a pilot needs
_HANDED_DOWN = ("X509_CERT_DIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY")


User = collections.namedtuple("User", "pw_name pw_uid pw_gid")


class Slot(object):
    """A place for one pilot at a time.

    Args:
        settings: Those of the launcher.
        number: From 1.
        groups: The control groups.
        isolated: Whether pilots get namespaces of their own.

    Attributes:
        pilot: What the server said of the pilot that is here; None if none is.
        began: When it was started, in seconds since 1970.
        number: From 1.
    """

    def __init__(self, settings, number, groups, isolated):
        self.number, self.name = number, "slot-%02d" % number
        self._settings = settings
        self._groups = groups
        self._isolated = isolated
        self._root = os.path.join(settings["work_dir"], self.name)
        self._process = None
        self.pilot = None
        self.began = 0.0
        self.user = slot_user(settings, number)

    def start(self, pilot):
        """Start a pilot here.

        Raises:
            PilotError: It cannot be started.
        """
        self.pilot, self.began = pilot, time.time()
        try:
            self._prepare(pilot)
            command = [sys.executable, os.path.abspath(sys.argv[0]), SHEPHERD, self._at("shepherd.json")]
            with open(self._at("output"), "wb") as output, open(os.devnull, "rb") as nothing:
                self._process = subprocess.Popen(
                    command,
                    stdin=nothing,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    close_fds=CLOSE_FDS,
                    cwd=self._root,
                    preexec_fn=prepare_child(new_session=True),
                )
        except (IOError, OSError, PilotError) as error:
            self.clear()
            raise PilotError("cannot start the pilot: %s" % error)

    def adopt(self, process, pilot, began):
        """Go on with a pilot that runs here already."""
        self._process, self.pilot, self.began = process, pilot, began

    def facts(self):
        """Return what another program has to know to go on with the pilot."""
        pilot = dict((key, value) for key, value in self.pilot.items() if key not in _STARTING)
        return {"number": self.number, "pid": self._process.pid, "pilot": pilot, "began": self.began}

    def ended(self):
        """Return how the pilot has ended, as exit code and reason; None if it has not."""
        returncode = self._process.poll()
        if returncode is None:
            return None
        code = exit_code_of(returncode)
        if self._groups.killed_for_memory(self.name):
            return code, "used more than the %d MB of its slot" % self._memory()
        return code, ""

    def signal(self, signum):
        """Send a signal to the shepherd, which hands TERM on and takes everything along when it is killed."""
        try:
            os.kill(self._process.pid, signum)
        except OSError:
            pass  # it has just ended

    def clear(self):
        """Kill whatever is left here, keep the end of the output, and remove all files."""
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGKILL)
            self._process.wait()
        self._process = None
        self._groups.remove(self.name)
        kill_marked(self._root, None if self.user is None else self.user.pw_uid)
        self._keep_output()
        remove_tree(self._root)
        self.pilot = None

    def leftovers(self):
        """Return the stamps of pilots that a launcher which was killed has left here."""
        try:
            with open(self._at("stamp")) as source:
                return [source.read().strip()]
        except (IOError, OSError):
            return []

    def _at(self, name):
        return os.path.join(self._root, name)

    def _memory(self):
        return self.pilot["max_ram_mb"] or self._settings["memory_mb"]

    def _prepare(self, pilot):
        settings = self._settings
        if os.path.lexists(self._root):
            remove_tree(self._root)
        os.mkdir(self._root, 0o711)
        os.chmod(self._root, 0o711)  # whatever the umask
        write_private(self._at("stamp"), pilot["stamp"])
        work, tmp = self._at("work"), self._at("tmp")
        for folder in (work, tmp):
            os.mkdir(folder, 0o700)
        told = dict(pilot["settings"])
        told.setdefault("max_ram_mb", self._memory() * pilot["processors"] // max(1, settings["processors"]))
        told["agent_seconds"] = pilot["wall_seconds"]
        told["grace_seconds"] = max(1, settings["grace_seconds"] - 20)
        if settings["cvmfs_locations"]:
            told["cvmfs_locations"] = settings["cvmfs_locations"]
        if settings["allow_http"]:
            told["allow_http"] = True
        write_private(os.path.join(work, "pilot.json"), json.dumps(told, indent=1, sort_keys=True))
        write_private(os.path.join(work, "pilot.secret"), pilot["secret"])
        if self.user is not None:
            names = [work, tmp] + [os.path.join(work, name) for name in ("pilot.json", "pilot.secret")]
            for name in names:
                os.chown(name, self.user.pw_uid, self.user.pw_gid)
        write_private(self._at("shepherd.json"), json.dumps(self._specification(pilot, work, tmp)))

    def _specification(self, pilot, work, tmp):
        settings, memory = self._settings, pilot["max_ram_mb"]
        groups = self._groups.prepare(self.name, memory, pilot["processors"], settings["processes"])
        limits, private = {}, []
        if self._isolated:
            # Not where it would hide the pilot itself.
            private = [name for name in PRIVATE if not work.startswith(name + "/")]
        if not groups:
            if self.user is not None and settings["processes"]:
                limits["RLIMIT_NPROC"] = settings["processes"]
            if memory:
                limits["RLIMIT_DATA"] = memory << 20
        environment = {
            "PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
            "HOME": work,
            "TMPDIR": private[0] if private else tmp,
            "LANG": "C.UTF-8",
            "DIRAC_PILOT_STAMP": pilot["stamp"],
            MARK: self._root,
        }
        environment.update((name, os.environ[name]) for name in _HANDED_DOWN if name in os.environ)
        if settings["ca_file"]:
            environment["DIRAC_CA_FILE"] = settings["ca_file"]
        return {
            "command": [settings["python"], settings["pilot_program"]] + pilot["arguments"],
            "environment": environment,
            "directory": work,
            "tmp": tmp,
            "groups": groups,
            "limits": limits,
            "isolated": self._isolated,
            "private": private,
            "uid": None if self.user is None else self.user.pw_uid,
            "gid": None if self.user is None else self.user.pw_gid,
        }

    def _keep_output(self):
        """Keep the end of what the pilot printed, for whoever wants to know why it failed."""
        stamp = (self.leftovers() or [""])[0]
        if not stamp:
            return
        folder = os.path.join(self._settings["state_dir"], "output")
        try:
            with open(self._at("output"), "rb") as source:
                source.seek(max(0, os.fstat(source.fileno()).st_size - OUTPUT_TAIL))
                tail = source.read()
            write_private(
                os.path.join(folder, stamp + ".log"),
                tail.decode("ascii", "replace").encode("ascii", "replace").decode("ascii"),
            )
        except (IOError, OSError) as error:
            warning("the output of a pilot is lost", pilot=stamp, reason=str(error))


def slot_user(settings, number):
    """Return the account of a slot, None if the launcher is not root's.

    Raises:
        PilotError: There is no such user, or it is root.
    """
    if os.geteuid() != 0 or settings["allow_root"]:
        return None
    name = settings["slot_users"] % number
    try:
        if name.startswith("#") and name[1:].isdigit():  # as in containers, where users need no names
            user = User(name, int(name[1:]), int(name[1:]))
        else:
            known = pwd.getpwnam(name)
            user = User(name, known.pw_uid, known.pw_gid)
    except KeyError:
        raise PilotError("there is no user %r for slot %d: make it, or set slot_users or slots" % (name, number))
    if user.pw_uid == 0:
        raise PilotError("pilots are not run as root: set slot_users")
    return user


def kill_marked(mark, uid):
    """Kill all processes of a slot: those of its user, or else those that carry its mark."""
    end = time.time() + _PATIENCE
    while time.time() < end:
        found = [pid for pid in _pids() if _is_of(pid, mark, uid)]
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(0.02)
    warning("processes of a slot cannot be killed", slot=mark, processes=found)


def _pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]


def _is_of(pid, mark, uid):
    try:
        if uid is not None:
            if os.stat("/proc/%d" % pid).st_uid != uid:
                return False
        else:
            with open("/proc/%d/environ" % pid, "rb") as source:
                if ("%s=%s" % (MARK, mark)).encode("ascii") not in source.read().split(b"\0"):
                    return False
        with open("/proc/%d/stat" % pid) as source:
            return source.read().rpartition(")")[2].split()[0] not in "ZX"
    except (IOError, OSError):
        return False  # it has ended, or is not ours


def remove_tree(path):
    """Remove a directory with all that is in it, whatever its modes; follows no links."""

    def mend(function, name, _error):
        try:
            os.chmod(os.path.dirname(name), stat.S_IRWXU)
            if os.path.isdir(name) and not os.path.islink(name):
                os.chmod(name, stat.S_IRWXU)
                shutil.rmtree(name, ignore_errors=True)
            else:
                function(name)
        except OSError as error:
            if error.errno != errno.ENOENT:
                warning("a file cannot be removed", path=name, reason=str(error))

    if os.path.lexists(path):
        shutil.rmtree(path, onerror=mend)
