"""The host: room on its disks, enough file descriptors, the pilot's program."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from dirac.server.doctor.model import Ailment, Check, Patient, in_thread

_LEAST_BYTES = 1 << 30
_LEAST_SHARE = 0.05
_LEAST_FILES = 4096
_LOG = Path("/var/log/dirac")


def checks(patient: Patient) -> list[Check]:
    """Return the checks of the host."""
    found = [
        Check("machine.state", in_thread(lambda patient: room(Path(patient.settings.state)))),
        Check("machine.files", in_thread(_descriptors)),
        Check("pilots.program", in_thread(_program)),
    ]
    log = _LOG if _LOG.is_dir() else patient.settings.path("log")
    if log.is_dir():
        found.append(Check("machine.log", in_thread(lambda _: room(log))))
    return found


def room(place: Path, least_bytes: int = _LEAST_BYTES, least_share: float = _LEAST_SHARE) -> str:
    """Say how much room there is below a directory.

    Args:
        place: The directory.
        least_bytes: That have to be free.
        least_share: Of the inodes that has to be free.

    Raises:
        Ailment: It is too little.
    """
    try:
        status = os.statvfs(place)
    except OSError as error:
        raise Ailment(
            f"{place}: {error.strerror}",
            cause="The directory is missing or not accessible to this user",
            mend=f"Run this as the user of the services; install -d -o dirac -g dirac -m 750 {place}",
        ) from None
    free = status.f_bavail * status.f_frsize
    if free < least_bytes:
        raise Ailment(
            f"{place} has {free >> 20} MB free",
            cause=f"Less than {least_bytes >> 20} MB",
            mend=f"du -xh --max-depth=2 {place} | sort -h; remove or move something, or enlarge the disk",
        )
    if status.f_files and status.f_favail < least_share * status.f_files:
        raise Ailment(
            f"{place} has {status.f_favail} inodes free",
            cause=f"Less than {least_share:.0%} of {status.f_files}",
            mend=f"du -x --inodes --max-depth=2 {place} | sort -n; remove files, or enlarge the file system",
        )
    return f"{place}: {free >> 30} GB and {status.f_favail} inodes free"


def _descriptors(_patient: Patient) -> str:
    # The hard limit: servers raise their own soft one, and this command may come from a login shell.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit != resource.RLIM_INFINITY and limit < _LEAST_FILES:
        raise Ailment(
            f"a process may open {limit} files",
            cause="Every waiting pilot holds a connection",
            mend=f"Put `dirac hard nofile {_LEAST_FILES * 4}` into /etc/security/limits.d/dirac.conf",
        )
    return "no limit" if limit == resource.RLIM_INFINITY else f"{limit} files"


def _program(patient: Patient) -> str:
    path = patient.settings.path(patient.settings.pilots.program)
    if not path.is_file():
        raise Ailment(
            f"{path} does not exist",
            cause="The release has no pilot, or `pilots.program` names another place",
            mend="Set `pilots.program` to the dirac-pilot.py of the release; the role dirac_server does",
        )
    return str(path)
