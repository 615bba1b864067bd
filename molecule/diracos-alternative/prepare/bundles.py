# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a bundle with all packages, and one that calls itself another version: ``bundles.py DIRECTORY``."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

PROGRAM = Path(__file__).parents[3] / "diracos/bundle.py"


def another(bundle: Path, target: Path) -> None:
    """Write what a bundle has under another version, as building it again takes long."""
    with tarfile.open(bundle) as old, tarfile.open(target, "w:gz", compresslevel=1) as new:
        for info in old:
            content = old.extractfile(info).read()  # type: ignore[union-attr]
            if info.name == "bundle.json":
                content = json.dumps(json.loads(content) | {"version": "2.0.0"}).encode()
                info.size = len(content)
            new.addfile(info, BytesIO(content))


def main() -> None:
    """Make them unless they are there."""
    place = Path(sys.argv[1])
    if (place / "two.sha256").exists():
        return
    command = [sys.executable, PROGRAM, "--out", place / "one.tar.gz", "--with-packages", "3.11"]
    subprocess.run([*command, "--uv", Path(sys.executable).with_name("uv")], check=True)
    another(place / "one.tar.gz", place / "two.tar.gz")
    for name in ("one", "two"):
        digest = hashlib.sha256((place / f"{name}.tar.gz").read_bytes()).hexdigest()
        (place / f"{name}.sha256").write_text(digest)
    sys.stdout.write("made\n")


if __name__ == "__main__":
    main()
