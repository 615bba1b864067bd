"""Programs in containers: what apptainer is told so that a payload runs in an image as it would without one.

The job's directory is there under its own name, is the home and the working directory, and holds all that
comes back. Of the node the program sees the kernel, /cvmfs, and graphics processors if the job asks for them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from dirac.core.errors import UnavailableError
from dirac.core.trust import TRUST_VARIABLES

NAMES: Final = ("apptainer", "singularity")
# Where nodes without an installation of their own have it.
_ELSEWHERE: Final = ("/cvmfs/oasis.opensciencegrid.org/mis/apptainer/bin/apptainer",)
_NVIDIA = Path("/dev/nvidiactl")
_AMD = Path("/dev/kfd")
_CVMFS = Path("/cvmfs")
# The image has its own programs; the directories of the node's are not there.
_OF_THE_NODE: Final = frozenset({"PATH", "LD_LIBRARY_PATH", "DIRACOS", "HOME"})


def find_runtime(search_path: str | None = None) -> str:
    """Return the program that runs containers on this node.

    Args:
        search_path: Directories with colons between them; those of ``PATH`` if not given.

    Raises:
        UnavailableError: There is none.
    """
    for name in NAMES:
        if found := shutil.which(name, path=search_path):
            return found
    for place in _ELSEWHERE:
        if os.access(place, os.X_OK):
            return place
    raise UnavailableError(
        f"this node has neither {' nor '.join(NAMES)}, and the job is to run in a container",
        hint="Ask for a tag of queues that have it, or leave the image out",
    )


def command_line(
    runtime: str, image: str, program: Sequence[str], *, directory: Path, gpus: int, trust: Mapping[str, str]
) -> list[str]:
    """Return the command that runs a program in an image.

    Args:
        runtime: The program that runs containers.
        image: An address, a path, or a .sif file in the job's directory.
        program: The program and its arguments.
        directory: The job's directory.
        gpus: How many graphics processors the job has asked for.
        trust: Variables that name files of authorities; the files are made visible.
    """
    local = directory / image
    shown = str(local) if "/" not in image and local.is_file() else image
    # --no-eval: values of variables are texts, not programs of a shell.
    command = [runtime, "exec", "--cleanenv", "--contain", "--no-eval"]
    command += ["--home", str(directory), "--pwd", str(directory)]
    if gpus and _NVIDIA.exists():
        command.append("--nv")
    if gpus and _AMD.exists():
        command.append("--rocm")
    seen = [str(_CVMFS)] if _CVMFS.is_dir() else []
    seen += [path for path in trust.values() if path not in seen and _can_be_bound(path)]
    for path in seen:
        command += ["--bind", f"{path}:{path}:ro"]
    return [*command, shown, *program]


def _can_be_bound(path: str) -> bool:
    """Tell whether a path can be written in the option for binds, and is not of the image anyway."""
    return Path(path).is_absolute() and Path(path).exists() and not set(path) & set(":,")


def environment(variables: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the runtime: its own, and the payload's in the form that it hands on.

    Args:
        variables: The payload's, as it would have them without a container.
        own: What the job itself has set; it goes into the container whatever its name.
    """
    inside = {name: value for name, value in variables.items() if name not in _OF_THE_NODE or name in own}
    return dict(variables) | {
        prefix + name: value
        for prefix in ("APPTAINERENV_", "SINGULARITYENV_")
        for name, value in inside.items()
    }


def trust_of(variables: Mapping[str, str]) -> dict[str, str]:
    """Return those variables that name files of authorities."""
    return {name: variables[name] for name in TRUST_VARIABLES if name in variables}
