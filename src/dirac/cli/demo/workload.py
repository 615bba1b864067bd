"""The demo's jobs, and the check of what they computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from dirac.core.errors import DiracError

GROUP = "demo"
TASKS = 20
# The result is a sum of independent trials: it is further from the truth than this once in two million demos.
SIGMAS = 5.0

_SCRIPT = '''\
#!/usr/bin/env python3
"""Estimates pi: the share of random points of a square that are inside the circle in it."""

import json
import random
import sys

seed = int(sys.argv[1])
with open("region.json") as file:
    region = json.load(file)
draw = random.Random(seed).random
half = region["side"] / 2
square = region["radius"] ** 2
hits = 0
for _ in range(region["points"]):
    x = draw() * region["side"] - half
    y = draw() * region["side"] - half
    hits += x * x + y * y <= square
with open("result.json", "w") as file:
    json.dump({"seed": seed, "points": region["points"], "hits": hits}, file)
print(f"seed {seed}: {hits} of {region['points']} points are inside")
'''
_REGION = {"points": 300_000, "side": 2.0, "radius": 1.0}
_FAILING = '''\
#!/usr/bin/env python3
"""Fails, as programs do."""

import sys

print("reading the calibration of detector 7", flush=True)
print("calibration.db: no entry for detector 7 (run 4711)", file=sys.stderr)
print("giving up: without a calibration the results would be wrong", file=sys.stderr)
sys.exit(3)
'''
_SEQUENCE = '''\
#!/usr/bin/env python3
"""Counts the bases of a sequence."""

import collections

with open("sequence.txt") as file:
    counts = collections.Counter(file.read().strip())
for base, count in sorted(counts.items()):
    print(base, count)
'''

PI_JDL = f"""\
// {TASKS} jobs from one description: each gets a seed of its own.
JobName        = "pi_%n";
JobGroup       = "{GROUP}";
Parameters     = {TASKS};
ParameterStart = 1001;
ParameterStep  = 1;
Executable     = "simulate.py";
Arguments      = "%s";
InputSandbox   = {{ "simulate.py", "region.json" }};
StdOutput      = "std.out";
StdError       = "std.err";
OutputSandbox  = {{ "result.json", "std.out", "std.err" }};
CPUTime        = 300;
"""
FAILING_JDL = f"""\
// This one fails: its program ends with code 3.
JobName       = "uncalibrated";
JobGroup      = "{GROUP}";
Executable    = "reconstruct.py";
InputSandbox  = {{ "reconstruct.py" }};
StdOutput     = "std.out";
StdError      = "std.err";
OutputSandbox = {{ "std.out", "std.err" }};
CPUTime       = 300;
"""
IMPOSSIBLE_JDL = f"""\
// No computing element here offers this: the job waits until one does.
JobName    = "supercomputer";
JobGroup   = "{GROUP}";
Executable = "/bin/hostname";
Tags       = {{ "GPU", "Cray" }};
CPUTime    = 345600;
"""
BIO_JDL = f"""\
JobName       = "bases";
JobGroup      = "{GROUP}";
Executable    = "count.py";
InputSandbox  = {{ "count.py", "sequence.txt" }};
StdOutput     = "std.out";
StdError      = "std.err";
OutputSandbox = {{ "std.out", "std.err" }};
CPUTime       = 300;
"""


class Result(msgspec.Struct, frozen=True):
    """What one task found."""

    seed: int
    points: int
    hits: int


class Estimate(msgspec.Struct, frozen=True):
    """What all tasks found together.

    Attributes:
        value: The estimate of pi.
        error: Its standard error.
        points: Random points in all.
    """

    value: float
    error: float
    points: int

    def deviation(self) -> float:
        """Return how many standard errors the estimate is off."""
        return abs(self.value - math.pi) / self.error


def write(directory: Path) -> None:
    """Write programs, data and descriptions; the same content again changes nothing."""
    directory.mkdir(parents=True, exist_ok=True)
    files = {
        "simulate.py": _SCRIPT,
        "region.json": msgspec.json.encode(_REGION).decode() + "\n",
        "pi.jdl": PI_JDL,
        "reconstruct.py": _FAILING,
        "failing.jdl": FAILING_JDL,
        "impossible.jdl": IMPOSSIBLE_JDL,
        "count.py": _SEQUENCE,
        "sequence.txt": "GATTACA" * 1000 + "\n",
        "bases.jdl": BIO_JDL,
    }
    for name, content in files.items():
        path = directory / name
        path.write_text(content)
        if name.endswith(".py"):
            path.chmod(0o755)


def read_results(job_ids: Sequence[int], files: Mapping[int, Sequence[Path]]) -> list[Result]:
    """Read what the tasks have left.

    Raises:
        DiracError: A task has no result, or one that cannot be read.
    """
    found = []
    for job_id in job_ids:
        path = next((path for path in files.get(job_id, ()) if path.name == "result.json"), None)
        if path is None:
            raise DiracError(
                f"job {job_id} has left no result.json", hint=f"Look at it: dirac job describe {job_id}"
            )
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Result))
        except (OSError, msgspec.DecodeError) as error:
            raise DiracError(f"{path} cannot be read: {error}") from None
    return found


def merge(results: Sequence[Result], *, tasks: int = TASKS) -> Estimate:
    """Merge what the tasks found, and check it.

    Raises:
        DiracError: A task is missing or counted twice, or the value is further from pi than `SIGMAS` errors.
    """
    seeds = {result.seed for result in results}
    if len(results) != tasks or len(seeds) != tasks:
        raise DiracError(
            f"there are {len(results)} results of {len(seeds)} different tasks instead of {tasks}"
        )
    points, hits = sum(result.points for result in results), sum(result.hits for result in results)
    if not 0 < hits < points:
        raise DiracError(f"{hits} of {points} points are inside the circle, which cannot be")
    share = hits / points
    estimate = Estimate(value=4 * share, error=4 * math.sqrt(share * (1 - share) / points), points=points)
    if estimate.deviation() > SIGMAS:
        raise DiracError(
            f"the merged value is {estimate.value:.5f} +- {estimate.error:.5f}, "
            f"{estimate.deviation():.1f} standard errors away from pi"
        )
    return estimate
