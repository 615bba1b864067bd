"""Facts about the worker node, read from the kernel's files: no other program is run."""

from __future__ import absolute_import, division, print_function

import os
import socket
import sys

MB = 1024 * 1024


def node_facts(workdir, environ):
    """Return what the node offers: system, processors, memory and disk."""
    uname = os.uname()
    processors = len(parse_cpu_list(status_field("Cpus_allowed_list"))) or online_processors()
    cpu_limit, memory_limit = cgroup_limits()
    disk = os.statvfs(workdir)
    return {
        "system": uname[0],
        "kernel": uname[2],
        "machine": uname[4],
        "hostname": socket.gethostname(),
        "platform": platform_name(uname),
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "user_id": os.geteuid(),
        "processors_online": online_processors(),
        "processors_usable": max(1, min(processors, int(cpu_limit or processors))),
        "processors_allocated": allocated_processors(environ),
        "memory_total_mb": memory_total_mb(),
        "memory_limit_mb": None if memory_limit is None else memory_limit // MB,
        "disk_free_mb": disk.f_bavail * disk.f_frsize // MB,
    }


def platform_name(uname):
    """Return the platform in the form that jobs ask for, for instance Linux_x86_64_glibc-2.36."""
    try:
        # Python 2 does not know the name, but takes the number it has in the GNU library.
        library = os.confstr(os.confstr_names.get("CS_GNU_LIBC_VERSION", 2)) or ""
    except (AttributeError, ValueError, OSError):
        library = ""
    names = [uname[0], uname[4]]
    if library.startswith("glibc "):
        names.append(library.replace(" ", "-"))
    return "_".join(names)


def online_processors():
    """Return the number of processors of the node, 1 if it does not say."""
    try:
        return max(1, os.sysconf("SC_NPROCESSORS_ONLN"))
    except (AttributeError, ValueError, OSError):
        return 1


def allocated_processors(environ):
    """Return what the batch system granted according to Machine/Job Features (HSF-TN-2016-02), or None."""
    content = read(os.path.join(environ.get("JOBFEATURES", "/nonexistent"), "allocated_cpu")).strip()
    return int(content) if content.isdigit() and int(content) > 0 else None


def memory_total_mb(meminfo=None):
    """Return the memory of the node in MB, None if it does not say."""
    for line in (read("/proc/meminfo") if meminfo is None else meminfo).splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return None


def parse_cpu_list(text):
    """Return the processors in a list of the kernel: "0-2,7" gives [0, 1, 2, 7]."""
    numbers = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def status_field(name):
    """Return a field of /proc/self/status, empty if it is not there."""
    for line in read("/proc/self/status").splitlines():
        if line.startswith(name + ":"):
            return line.partition(":")[2].strip()
    return ""


def cgroup_limits(membership=None, root="/sys/fs/cgroup"):
    """Return the limits that control groups set on this process: processors (may be a fraction) and bytes.

    Each is None where there is no limit. Groups are nested and every level counts; version 1 and 2 of the
    interface are read, also side by side.
    """
    processors, memory = [], []
    for line in (read("/proc/self/cgroup") if membership is None else membership).splitlines():
        _, controllers, group = (line.split(":", 2) + ["", ""])[:3]
        names = controllers.split(",")
        for folder in levels(root if not controllers else os.path.join(root, controllers), group):
            if not controllers:
                quota, _, period = read(os.path.join(folder, "cpu.max")).partition(" ")
                processors.append(ratio(quota, period))
                memory.append(number(read(os.path.join(folder, "memory.max"))))
            if "cpu" in names:
                quota, period = (read(os.path.join(folder, "cpu.cfs_%s_us" % what)) for what in ("quota", "period"))
                processors.append(ratio(quota, period))
            if "memory" in names:
                limit = number(read(os.path.join(folder, "memory.limit_in_bytes")))
                # Version 1 has no word for "none" but a number near 2^63.
                memory.append(limit if limit is not None and limit < 1 << 60 else None)
    return least(processors), least(memory)


def levels(root, group):
    """Return the directories of a group and of all groups around it."""
    folder = os.path.normpath(os.path.join(root, group.strip("/")))
    found = [folder]
    while len(folder) > len(root):
        folder = os.path.dirname(folder)
        found.append(folder)
    return found


def least(values):
    """Return the smallest of the values that are there, None if none is."""
    present = [value for value in values if value is not None]
    return min(present) if present else None


def number(text):
    """Return a number of the kernel's, None for "max" and for nothing."""
    text = text.strip()
    return int(text) if text.isdigit() else None


def ratio(quota, period):
    """Return quota / period, None where there is no quota."""
    quota, period = number(quota), number(period)
    return quota / period if quota and period else None


def read(path):
    """Return the content of a small file, empty if it cannot be read."""
    try:
        with open(path) as source:
            return source.read()
    except (IOError, OSError):
        return ""
