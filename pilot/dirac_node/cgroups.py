"""Control groups of the slots: memory, processors and processes, in either version of the interface."""

from __future__ import absolute_import, division, print_function

import errno
import os
import signal
import time

from dirac_pilot.node import read

ROOT = "/sys/fs/cgroup"
NAME = "dirac-node"
CONTROLLERS = ("memory", "cpu", "pids")
_PERIOD = 100000
_PATIENCE = 5.0


class Groups(object):
    """One group for each slot, if they can be made.

    Attributes:
        kind: "v2", "v1", or None where limits are set for each process instead.
        reason: Why there are none.
    """

    def __init__(self, root=ROOT):
        self._root = root
        self._bases = []
        self.kind = self.reason = None
        try:
            if os.path.exists(os.path.join(root, "cgroup.controllers")):
                self._bases, self.kind = [("", self._base_v2())], "v2"
            else:
                self._bases, self.kind = [(name, self._base_v1(name)) for name in CONTROLLERS], "v1"
        except (IOError, OSError) as error:
            self._bases, self.reason = [], str(error)

    def _base_v2(self):
        base = os.path.join(self._root, NAME)
        wanted = " ".join("+" + name for name in CONTROLLERS)
        _write(os.path.join(self._root, "cgroup.subtree_control"), wanted)
        _make(base)
        _write(os.path.join(base, "cgroup.subtree_control"), wanted)
        return base

    def _base_v1(self, controller):
        base = os.path.join(self._root, controller)
        own = [line.split(":", 2)[2] for line in read("/proc/self/cgroup").splitlines() if _has(line, controller)]
        below = os.path.join(base, own[0].lstrip("/")) if own else base
        # In a container the path is that of the host, and the mount is the container's own part.
        base = os.path.join(below if os.path.isdir(below) else base, NAME)
        if not os.path.isdir(os.path.dirname(base)):
            raise OSError(errno.ENOENT, "no control groups for %s" % controller)
        _make(base)
        return base

    def prepare(self, slot, memory_mb, processors, processes):
        """Make the group of a slot with these limits (0: none); return files that take a process into it."""
        for controller, base in self._bases:
            folder = os.path.join(base, slot)
            _make(folder)
            cpu, pids = str(int(processors * _PERIOD)), str(processes or "max")
            if self.kind == "v2":
                _write(os.path.join(folder, "memory.max"), str(memory_mb << 20) if memory_mb else "max")
                _write(os.path.join(folder, "cpu.max"), "%s %d" % (cpu, _PERIOD))
                _write(os.path.join(folder, "pids.max"), pids)
            elif controller == "memory":
                _write(os.path.join(folder, "memory.limit_in_bytes"), str(memory_mb << 20) if memory_mb else "-1")
            elif controller == "cpu":
                _write(os.path.join(folder, "cpu.cfs_period_us"), str(_PERIOD))
                _write(os.path.join(folder, "cpu.cfs_quota_us"), cpu)
            else:
                _write(os.path.join(folder, "pids.max"), pids)
        return [os.path.join(base, slot, "cgroup.procs") for _, base in self._bases]

    def killed_for_memory(self, slot):
        """Return whether the kernel has killed something in a slot for using too much memory."""
        for _, base in self._bases:
            for name in ("memory.events", "memory.oom_control"):
                for line in read(os.path.join(base, slot, name)).splitlines():
                    if line.startswith("oom_kill ") and line.split()[1] != "0":
                        return True
        return False

    def remove(self, slot):
        """Kill what is left in a slot, and remove its group."""
        end = time.time() + _PATIENCE
        for _, base in self._bases:
            folder = os.path.join(base, slot)
            while os.path.isdir(folder):
                for pid in read(os.path.join(folder, "cgroup.procs")).split():
                    _kill(int(pid))
                try:
                    os.rmdir(folder)
                except OSError:
                    if time.time() > end:
                        break
                    time.sleep(0.02)


def _has(line, controller):
    return controller in line.split(":", 2)[1].split(",")


def _make(folder):
    if not os.path.isdir(folder):
        os.mkdir(folder, 0o755)


def _write(path, text):
    with open(path, "w") as out:
        out.write(text)


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass  # it has just ended
