"""Programs that the distribution has no package of: made once from what their registries hold.

They are kept outside the checkout (``~/.cache/dirac-tests/services``), as they are the same for all.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from dirac.core.errors import UnavailableError

_PATIENCE = 1200.0  # seconds; a cold cache of modules and a slow line


def place() -> Path:
    """Return the directory of what was made."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "dirac-tests" / "services"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def make_once(name: str, make: Callable[[Path], Path]) -> Path:
    """Return what has that name, made now if it is not there yet.

    Args:
        name: File or directory below `place`; holds the version.
        make: Makes it somewhere in an empty directory and returns where.

    Raises:
        UnavailableError: It cannot be made.
    """
    final = place() / name
    if final.exists():
        return final
    with (place() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not final.exists():
            work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=place()))
            try:
                make(work).rename(final)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return final


def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a program that makes something, and return what it printed.

    Raises:
        UnavailableError: It is not there, or failed.
    """
    program = str(command[0])
    try:
        done = subprocess.run(
            command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True,
            timeout=_PATIENCE, check=False,
        )  # fmt: skip
    except OSError as error:
        raise UnavailableError(
            f"{program} cannot be run: {error.strerror}", hint=f"Install {program}"
        ) from None
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{program} took more than {_PATIENCE:.0f} s") from None
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise UnavailableError(f"{program} failed and said:\n{said}")
    return done.stdout
