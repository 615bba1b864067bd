"""The environment that a release provides: finding it, checking it, taking it over."""

from __future__ import absolute_import, division, print_function

import errno
import hashlib
import os
import select
import signal
import subprocess

from .compat import PY2, monotonic
from .deadline import call_with_deadline
from .errors import PilotError, TimedOut
from .process import CLOSE_FDS, exit_code_of, prepare_child

SOURCE_FILE = "diracosrc"
SUMS_FILE = "sha256sums"
# What the node's own Python needs would break that of the release.
NOT_INHERITED = ("PYTHONPATH", "PYTHONHOME")
# Its output is kept apart from that of the sourced file; `exec` spares a process.
CAPTURE = 'source "$1" 1>&2 || exit $?; exec env -0'


def find_environment(settings, say):
    """Return the path of the first usable `diracosrc` and a list of why earlier ones were not.

    Raises:
        PilotError: With every path that was tried and what was wrong with it.
    """
    uname = os.uname()
    project = settings["project"].lower()
    release = os.path.join(
        ("" if project == "dirac" else project) + "dirac", settings["release"] or "pro", "%s-%s" % (uname[0], uname[4])
    )
    passed_over = []
    for location in settings["cvmfs_locations"]:
        directory = os.path.join(location, release)
        path = os.path.join(directory, SOURCE_FILE)
        try:
            call_with_deadline(
                lambda directory=directory: check_directory(directory), settings["lookup_seconds"], "the lookup"
            )
            return path, passed_over
        except (PilotError, EnvironmentError) as error:
            words = getattr(error, "strerror", None) or str(error)
            passed_over.append("%s (%s)" % (path, words))
            say("not usable: " + passed_over[-1])
    raise PilotError(
        "no environment found; tried: %s. Check --CVMFS_locations, --release and the mounts of this node"
        % (", ".join(passed_over) or "nothing, the list of locations is empty")
    )


def check_directory(directory):
    """Check that a directory holds an environment, whole if it comes with check sums.

    The directory is listed first: that is what makes an automounter mount it.
    """
    names = os.listdir(directory)
    if SOURCE_FILE not in names:
        raise PilotError("not in the directory")
    if SUMS_FILE in names:
        check_sums(directory)
    if not os.access(os.path.join(directory, SOURCE_FILE), os.R_OK):
        raise PilotError("not readable")


def check_sums(directory):
    """Compare files with `sha256sums` (lines of hash, two blanks, name relative to the directory)."""
    with open(os.path.join(directory, SUMS_FILE)) as source:
        lines = [line.split(None, 1) for line in source.read().splitlines() if line.strip()]
    checked = set()
    for line in lines:
        name = line[1].lstrip("*").strip() if len(line) == 2 else ""
        if not name or os.path.isabs(name) or ".." in name.split("/"):
            raise PilotError("%s has a line that is not 'hash  name'" % SUMS_FILE)
        digest = hashlib.sha256()
        with open(os.path.join(directory, name), "rb") as content:
            for block in iter(lambda content=content: content.read(1 << 20), b""):
                digest.update(block)
        if digest.hexdigest() != line[0].lower():
            raise PilotError("%s does not match %s" % (name, SUMS_FILE))
        checked.add(name)
    if SOURCE_FILE not in checked:
        raise PilotError("%s does not list %s" % (SUMS_FILE, SOURCE_FILE))


def capture_environment(path, environ, seconds):
    """Return the environment after sourcing a bash file.

    Everything comes through whole: values with line breaks, exported functions, bytes that are no text.

    Args:
        path: The file to source.
        environ: The environment to start from.
        seconds: Time limit.
    """
    start = dict((name, value) for name, value in environ.items() if name not in NOT_INHERITED)
    for name in NOT_INHERITED:
        if environ.get(name):
            start[name + "_SAVE"] = environ[name]
    try:
        with open(os.devnull, "rb") as nothing:
            child = subprocess.Popen(
                ["bash", "--noprofile", "--norc", "-c", CAPTURE, "bash", path],
                stdin=nothing,
                stdout=subprocess.PIPE,
                env=start,
                close_fds=CLOSE_FDS,
                preexec_fn=prepare_child(new_session=True),
            )
    except OSError as error:
        raise PilotError("cannot run bash: %s" % error)
    try:
        output = read_all(child.stdout, monotonic() + seconds, "sourcing %s did not end within %g s" % (path, seconds))
        code = exit_code_of(child.wait())
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)  # with whatever it had started
            child.wait()
        child.stdout.close()
    if code != 0:
        raise PilotError("sourcing %s failed with exit code %d; its own messages are above" % (path, code))
    return parse_environment(output)


def read_all(pipe, end, message):
    """Return all that comes out of a pipe until it is closed; TimedOut with `message` at the moment `end`."""
    pieces = []
    while True:
        left = end - monotonic()
        try:
            ready = left > 0 and select.select([pipe], [], [], left)[0]
        except select.error as error:  # Python 2: a signal came in between
            if error.args[0] != errno.EINTR:
                raise
            continue
        if not ready:
            raise TimedOut(message)
        piece = os.read(pipe.fileno(), 65536)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def parse_environment(output):
    """Return the output of `env -0` as a dictionary in this Python's `str`."""
    environ = {}
    for entry in output.split(b"\0"):
        name, separator, value = entry.partition(b"=")
        if separator and name and name != b"_":
            if not PY2:
                name, value = os.fsdecode(name), os.fsdecode(value)
            environ[name] = value
    return environ
