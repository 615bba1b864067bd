"""The roles put the embedded profile in place and take it away again: the molecule scenario `embedded`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.acceptance.installation import BIN, free_port

ROOT = Path(__file__).parents[2]


def test_roles_deploy_reconfigure_and_remove_the_embedded_profile(tmp_path: Path) -> None:
    environment = os.environ | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(tmp_path / "molecule"),
        "DIRAC_MOLECULE_PORT": str(free_port()),
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        [BIN / "molecule", "test", "-s", "embedded"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    for step in ("check", "converge", "idempotence", "verify", "side_effect"):
        assert f"{step}: Executed: Successful" in done.stdout, step
    assert not list((tmp_path / "molecule").rglob("dirac.toml"))
