"""The launcher: asks for pilots while slots are free, starts them, follows them, says how they ended."""

from __future__ import absolute_import, division, print_function

import binascii
import fcntl
import json
import os
import random
import signal
import threading
import time

from dirac_pilot.compat import monotonic, native, write_private
from dirac_pilot.errors import PilotError, TimedOut
from dirac_pilot.http import Unreachable

from .cgroups import Groups
from .check import can_isolate
from .handover import NOW, WHEN_IDLE, Child, hand_over, take_over
from .log import info, warning
from .server import Refused, Server
from .slots import Slot

TICK = 0.1
HEARTBEAT = 60.0
KILLED = 137
_QUICK = 60.0
_FAILURES = 3
_LONGEST_PAUSE = 900.0
_OUTPUTS = 100


class Launcher(object):
    """Keeps the slots of this node busy.

    The main thread starts and follows pilots; the kernel takes them along if it ends. One thread asks for
    pilots, one reports their ends: what they know of each other is guarded by one lock.

    Args:
        settings: Settings.
        watch: Says when another version is to take over.

    Raises:
        PilotError: It cannot be run like this.
    """

    def __init__(self, settings, watch):
        self._settings = settings
        self._state = settings["state_dir"]
        for folder in (settings["work_dir"], self._state, self._at("ended"), self._at("output")):
            _make(folder, 0o711 if folder == settings["work_dir"] else 0o700)
        self._lock_file = self._hold()
        self._groups = Groups()
        self._isolated = self._isolation()
        count = settings["slots"]
        self._slots = [Slot(settings, 1 + index, self._groups, self._isolated) for index in range(count)]
        self._server = Server(settings)
        self._guard = threading.Condition()
        self._answers = []
        self._given = []
        self._terms = 0
        self._failures = 0
        self._pause_until = 0.0
        self._contact = self._trouble = None
        self._status = None
        self._watch = watch
        self._closing = False
        self._asking = None

    def run(self):
        """Run until told to stop; return the exit code."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._terminate)
        self._take_over()
        self._clean_up()
        info(
            "started",
            node=self._settings["node"],
            slots=len(self._slots),
            processors=self._settings["processors"],
            memory_mb=self._settings["memory_mb"],
            isolation="namespaces" if self._isolated else "none",
            limits="control groups " + self._groups.kind if self._groups.kind else "of each process",
            reason=self._groups.reason,
        )
        for work in (self._ask_forever, self._report_forever):
            thread = threading.Thread(target=work)
            thread.daemon = True
            thread.start()
        while not self._is_over():
            self._step()
            self._renew()
            time.sleep(TICK)
        self._step()
        info("stopped")
        return 0

    # The main thread

    def _step(self):
        with self._guard:
            answers, self._answers = self._answers, []
        for answer in answers:
            for pilot in answer["pilots"]:
                self._start(pilot)
            for stamp in answer["stop"]:
                self._stop(stamp)
        for slot in list(self._slots):
            if slot.pilot is not None:
                self._follow(slot)
        self._note()

    def _renew(self):
        """Give way to another version of the program, or to other settings; the pilots go on."""
        verdict = self._watch.verdict()
        with self._guard:
            self._closing = verdict == WHEN_IDLE
            if verdict is None or self._terms or self._answers or self._given:
                return
            busy = [slot for slot in self._slots if slot.pilot is not None]
            if verdict != NOW and (busy or (self._asking and self._asking[1])):
                return
            info("another version takes over", pilots=len(busy))
            pilots = [slot.facts() for slot in busy]
            # With the guard: an answer that comes now is lost, and asked for again under the same name.
            hand_over(self._at("handover.json"), {"pilots": pilots, "asking": self._asking, "contact": self._contact})

    def _take_over(self):
        """Go on with the pilots of the program that ran in this process before."""
        left = take_over(self._at("handover.json"))
        if left is None:
            return
        self._asking, self._contact = left["asking"], left["contact"]
        for facts in left["pilots"]:
            child = Child(facts["pid"])
            slots = [slot for slot in self._slots if slot.number == facts["number"]]
            try:
                # One beyond those that there are now goes when its pilot has ended.
                slot = slots[0] if slots else Slot(self._settings, facts["number"], self._groups, self._isolated)
            except PilotError as error:
                warning("a pilot cannot go on", pilot=facts["pilot"]["stamp"], reason=str(error))
                os.kill(child.pid, signal.SIGKILL)
                self._end(facts["pilot"], KILLED, str(error))
                continue
            slot.adopt(child, facts["pilot"], facts["began"])
            if not slots:
                self._slots.append(slot)
        info("taken over", pilots=len(left["pilots"]))

    def _start(self, pilot):
        stamp = pilot["stamp"]
        with self._guard:
            known = [slot.pilot["stamp"] for slot in self._slots if slot.pilot] + self._ends()
            free = [slot for slot in self._slots if slot.pilot is None]
            if stamp in self._given:
                self._given.remove(stamp)
            if stamp in known:
                return
            if not free or self._terms:
                self._end(pilot, 128 + signal.SIGTERM, "the launcher has no place for it")
                return
            try:
                free[0].start(pilot)
            except PilotError as error:
                self._end(pilot, 1, str(error))
                return
        info("pilot started", pilot=stamp, vo=pilot["vo"], slot=free[0].name, queue=pilot["queue"])

    def _follow(self, slot):
        pilot, ended = slot.pilot, slot.ended()
        if ended is None:
            late = time.time() - slot.began - pilot["wall_seconds"]
            if late > self._settings["grace_seconds"]:
                self._ask_to_end(slot, "its time is over")
            return
        seconds = time.time() - slot.began
        slot_name = slot.name
        with self._guard:
            self._end(pilot, *ended)
            slot.clear()
            if slot.number > self._settings["slots"]:
                self._slots.remove(slot)
            self._guard.notify_all()
        info(
            "pilot ended",
            pilot=pilot["stamp"],
            vo=pilot["vo"],
            slot=slot_name,
            exit_code=ended[0],
            reason=ended[1],
            seconds=round(seconds, 1),
        )
        self._judge(ended[0], seconds)

    def _judge(self, code, seconds):
        """Ask for no pilots for a while where one after the other fails at once: jobs are better off elsewhere."""
        if code == 0 or seconds > _QUICK or self._terms:
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= _FAILURES:
            pause = min(_LONGEST_PAUSE, 30.0 * 2 ** (self._failures - _FAILURES))
            self._pause_until = monotonic() + pause
            warning("pilots fail at once; none are asked for", pause_seconds=pause, failures=self._failures)

    def _stop(self, stamp):
        for slot in self._slots:
            if slot.pilot is not None and slot.pilot["stamp"] == stamp:
                self._ask_to_end(slot, "the server does not want it any more")

    def _ask_to_end(self, slot, why):
        """Send TERM, and KILL once the time for a good end is over."""
        asked = slot.pilot.setdefault("asked", time.time())
        if "told" not in slot.pilot:
            slot.pilot["told"] = True
            info("pilot is asked to end", pilot=slot.pilot["stamp"], reason=why)
            slot.signal(signal.SIGTERM)
        elif time.time() - asked > self._settings["grace_seconds"]:
            slot.signal(signal.SIGKILL)

    def _terminate(self, _signum, _frame):
        self._terms += 1
        if self._terms == 1:
            self._drained_by = monotonic() + self._settings["drain_seconds"]

    def _is_over(self):
        """Tell whether this launcher may end; once it was told to, see that its pilots do."""
        if not self._terms:
            return False
        if self._terms > 1 or monotonic() > self._drained_by:
            for slot in self._slots:
                if slot.pilot is not None:
                    self._ask_to_end(slot, "the launcher ends")
        if any(slot.pilot is not None for slot in self._slots):
            return False
        end = monotonic() + 5.0
        while self._ends() and monotonic() < end:
            time.sleep(TICK)
        return True

    def _clean_up(self):
        """Report and remove what a launcher that was killed has left, also in slots that there are no more."""
        for name in sorted(os.listdir(self._settings["work_dir"])):
            number = name[5:] if name.startswith("slot-") else ""
            busy = [slot.name for slot in self._slots if slot.pilot is not None]
            if not number.isdigit() or name in busy:
                continue
            try:
                slot = Slot(self._settings, int(number), self._groups, self._isolated)
            except PilotError as error:
                warning("what is left in a slot cannot be removed", slot=name, reason=str(error))
                continue
            for stamp in slot.leftovers():
                self._end({"stamp": stamp}, KILLED, "the launcher on its worker node was killed")
                info("leftover removed", pilot=stamp, slot=name)
            slot.clear()
        folder = self._at("output")
        names = sorted(os.listdir(folder), key=lambda name: os.path.getmtime(os.path.join(folder, name)))
        for name in names[:-_OUTPUTS]:
            os.unlink(os.path.join(folder, name))

    # What is on disk

    def _at(self, *names):
        return os.path.join(self._state, *names)

    def _hold(self):
        lock = open(self._at("lock"), "a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (IOError, OSError):
            raise PilotError("a launcher runs already on %s" % self._state)
        fcntl.fcntl(lock, fcntl.F_SETFD, fcntl.FD_CLOEXEC)  # Python 2 would hand it down to the pilots
        return lock

    def _isolation(self):
        wanted = self._settings["isolation"]
        if wanted == "off":
            return False
        problem = can_isolate()
        if problem and wanted == "require":
            raise PilotError("namespaces are required, and cannot be had: %s" % problem)
        if problem:
            warning("pilots run without namespaces of their own", reason=problem)
        return not problem

    def _end(self, pilot, code, reason):
        """Put a pilot's end on record; from there it is reported."""
        text = json.dumps({"exit_code": code, "reason": reason[:200]})
        write_private(self._at("ended", pilot["stamp"] + ".json"), text)

    def _ends(self):
        return [name[:-5] for name in os.listdir(self._at("ended")) if name.endswith(".json")]

    def _note(self):
        """Keep `status.json` true, for whoever asks."""
        with self._guard:
            status = {
                "pid": os.getpid(),
                "connected": self._contact is not None and self._trouble is None,
                "last_contact": self._contact,
                "trouble": self._trouble,
                "slots": len(self._slots),
                "pilots": sorted(slot.pilot["stamp"] for slot in self._slots if slot.pilot is not None),
                "draining": bool(self._terms) or self._is_drained() or self._closing,
                "identity": self._watch.running,
                "isolation": "namespaces" if self._isolated else "none",
                "limits": self._groups.kind or "rlimits",
            }
        if status != self._status:
            self._status = status
            write_private(self._at("status.json"), json.dumps(status, indent=1, sort_keys=True))

    def _is_drained(self):
        return os.path.exists(self._at("drain"))

    # The threads

    def _request(self):
        """Return what is free, as the body of a request."""
        settings = self._settings
        with self._guard:
            busy = [slot.pilot for slot in self._slots if slot.pilot is not None]
            stamps = [pilot["stamp"] for pilot in busy] + self._ends() + self._given
            free = len(self._slots) - len(busy)
            share = settings["memory_mb"] // max(1, settings["processors"])
            memory = sum(pilot["max_ram_mb"] or share * pilot["processors"] for pilot in busy)
            processors = settings["processors"] - sum(pilot["processors"] for pilot in busy)
        closed = self._terms or self._closing or self._is_drained() or monotonic() < self._pause_until
        disk = os.statvfs(settings["work_dir"])
        slots = 0 if closed else max(0, min(free, processors))
        return {
            "node": settings["node"],
            "slots": slots,
            "processors": max(0, processors),
            "memory_mb": max(1, settings["memory_mb"] - memory) if settings["memory_mb"] else 0,
            "disk_mb": disk.f_bavail * disk.f_frsize // (1 << 20) // max(1, free),
            "running": sorted(set(stamps)),
            "wait": settings["wait_seconds"] if slots else 0,
        }

    def _ask_forever(self):
        delay = 0.0
        while True:
            request = self._request()
            if self._asking is None:
                self._asking = native(binascii.hexlify(os.urandom(16)).decode("ascii")), request["slots"]
            request_id, slots = self._asking
            # A request that had no answer is sent again, with what is there by now: it gets the same pilots.
            request.update(request_id=request_id, slots=slots, wait=request["wait"] if slots else 0)
            began = monotonic()
            try:
                answer = native(self._server.ask(request))
            except (PilotError, TimedOut) as error:
                delay = self._fail(error, delay)
                if isinstance(error, Refused):
                    self._asking = None
                time.sleep(delay)
                continue
            delay = 0.0
            with self._guard:
                self._asking = None
                if self._trouble is not None or self._contact is None:
                    info("connected")
                self._contact, self._trouble = int(time.time()), None
                # Until the main thread has started them they are "there" as well.
                self._given += [pilot["stamp"] for pilot in answer["pilots"]]
                self._answers.append(answer)
            self._rest(request, answer, monotonic() - began)

    def _rest(self, request, answer, took):
        """Wait until there is a reason to ask again."""
        if answer["pilots"]:
            with self._guard:
                while self._given:  # the main thread is about to start them
                    self._guard.wait(TICK)
            return
        pause = min(HEARTBEAT, max(0.0, float(answer["ask_again"])))
        if took < 1.0:
            pause = max(pause, 1.0)  # a server that does not hold the request is not hammered
        end = monotonic() + pause
        with self._guard:
            before = self._free()
            while monotonic() < end and self._free() <= before and not self._terms:
                self._guard.wait(min(1.0, max(0.0, end - monotonic())))

    def _free(self):
        closed = self._closing or self._is_drained() or monotonic() < self._pause_until
        return 0 if closed else sum(slot.pilot is None for slot in self._slots)

    def _fail(self, error, delay):
        """Say what went wrong, once, and return how long to wait before another try."""
        with self._guard:
            if str(error) != self._trouble:
                warning("the server cannot be asked", reason=str(error))
            self._trouble = str(error)
        longest = 10.0 if isinstance(error, (Unreachable, TimedOut)) else 60.0
        delay = min(longest, max(0.5, 2 * delay))
        return random.uniform(delay / 2, delay)

    def _report_forever(self):
        delay = 0.0
        while True:
            ends = {}
            for stamp in self._ends():
                try:
                    with open(self._at("ended", stamp + ".json")) as source:
                        ends[stamp] = json.load(source)
                except (IOError, OSError, ValueError):
                    ends[stamp] = {"exit_code": KILLED, "reason": "the launcher's record of its end is damaged"}
            if not ends:
                time.sleep(TICK)
                continue
            try:
                receipt = native(self._server.report(self._settings["node"], ends))
            except (PilotError, TimedOut) as error:
                delay = self._fail(error, delay)
                time.sleep(delay)
                continue
            delay = 0.0
            for stamp in receipt["noted"] + receipt["unknown"]:
                if stamp in ends:
                    os.unlink(self._at("ended", stamp + ".json"))


def _make(folder, mode):
    if not os.path.isdir(folder):
        os.makedirs(folder)
        os.chmod(folder, mode)
