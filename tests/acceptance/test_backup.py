"""An operator makes a backup of a running site, and restores it somewhere else."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from dirac.server import control
from dirac.server.settings import load
from tests.acceptance.installation import BIN, Installation, eventually

ROOT = Path(__file__).parents[2]
JDL = """\
Executable = "/bin/sh";
Arguments = "-c 'echo kept'";
StdOutput = "std.out";
OutputSandbox = { "std.out" };
CPUTime = 300;
"""


def _play(
    playbook: str, site: Installation, backups: Path, *words: str, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a playbook for an installation, with an inventory in which it is the one server."""
    values = {
        "site_name": "shop",
        "site_address": "127.0.0.1",
        "site_report": {},
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "dirac_process_supervisor": "none",
        "dirac_process_metrics_host": "",
        "dirac_process_directory": str(site.state),
        "dirac_process_state": str(site.state),
        "dirac_process_log_dir": f"{site.state}/log",
        "dirac_process_environment": str(BIN.parent),
        "dirac_process_url": site.url,
        "dirac_process_port": site.port,
        "dirac_process_pilot_program": f"{site.directory}/cvmfs/dirac/pilot/dirac-pilot.py",
        "dirac_process_pilot_dir": f"{site.directory}/pilots",
        "dirac_server_backup_dir": str(backups),
    }
    inventory = site.directory / "hosts.json"
    groups = {"dirac_server": {"hosts": {"localhost": values}}}
    inventory.write_text(json.dumps({"all": {"children": groups}}))
    done = subprocess.run(
        [
            BIN / "ansible-playbook",
            *("-i", ROOT / "inventories/common", "-i", inventory),
            *(f"playbooks/{playbook}.yml", *words),
        ],
        cwd=ROOT,
        env=os.environ
        | {"LC_ALL": "C.UTF-8", "ANSIBLE_HOME": str(site.directory / "ansible"), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, f"{playbook}: {done.stdout}{done.stderr}"
    return done


def test_backup_of_a_running_site_is_restored_elsewhere(installation: Installation, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    (jobs / "job.jdl").write_text(JDL)
    number = json.loads(installation.run("job", "submit", str(jobs / "job.jdl"), "--json"))[0]["JobID"]

    eventually(lambda: "Done" in installation.run("job", "status", str(number)), "the job has ended")
    # Elsewhere nobody knows the pilots of this host: those of the backup should have ended.
    alive = "SELECT 1 FROM workload_pilot WHERE status NOT IN ('Done', 'Failed', 'Aborted', 'Deleted')"
    eventually(lambda: not installation.rows(alive), "its pilot has ended, and that is known")
    backups = tmp_path / "backups"
    process = installation.pid()
    _play("backup", installation, backups)
    assert installation.pid() == process, "a backup does not stop the server"
    (made,) = backups.iterdir()

    # Over a site that has data, only if it is named.
    refused = _play("restore", installation, backups, "-e", f"dirac_server_restore_from={made}", code=2)
    assert "already" in refused.stdout + refused.stderr
    assert installation.pid() == process

    with contextlib.ExitStack() as stack:
        other = Installation(tmp_path / "other")
        stack.callback(other.close)
        _play("restore", other, backups, "-e", f"dirac_server_restore_from={made}")
        running = control.running(load(other.settings_file))
        assert running is not None
        other.run("login", "astro", "--demo-user", "alice")
        assert "Done" in other.run("job", "status", str(number))
        other.run("job", "output", str(number), "--dir", str(jobs))
        assert [path.read_text() for path in jobs.rglob("std.out")] == ["kept\n"]
        # The restored site lives: it takes and runs jobs.
        again = json.loads(other.run("job", "submit", str(jobs / "job.jdl"), "--json"))[0]["JobID"]
        assert again > number
        eventually(lambda: "Done" in other.run("job", "status", str(again)), "the new job has ended")
        # Restored once more over itself, it forgets that job, and what it was is kept aside.
        _play("restore", other, backups, "-e", f"dirac_server_restore_from={made}", "-e", "confirm=shop")
        other.run("login", "astro", "--demo-user", "alice")
        assert "Done" in other.run("job", "status", str(number))
        other.run("job", "status", str(again), code=3)
        assert len(list(other.directory.glob("server.before-*"))) == 2
