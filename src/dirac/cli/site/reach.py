"""Asking whether hosts can be reached by ssh."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from dirac.cli.site.layout import Host

_PATIENCE = 10
_AT_ONCE = 16


def unreachable(hosts: Sequence[Host], *, user: str, port: int) -> dict[str, str]:
    """Return for each host that cannot be reached what ssh says of it.

    A host that is met for the first time is believed: its key is remembered, as ssh does after a yes.
    """
    remote = [host for host in hosts if host.name != "localhost"]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        said = pool.map(lambda host: _ask(host, user, port), remote)
        return {host.name: answer for host, answer in zip(remote, said, strict=True) if answer}


def _ask(host: Host, user: str, port: int) -> str:
    words = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_PATIENCE}"]
    words += ["-o", "StrictHostKeyChecking=accept-new", "-p", str(port), "-l", user]
    words += ["--", host.address or host.name, "true" if user == "root" else "sudo -n true"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=3 * _PATIENCE, check=False)
    except FileNotFoundError:
        return "there is no ssh on this machine: apt install openssh-client"
    except subprocess.TimeoutExpired:
        return "it does not answer"
    lines = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"ssh ended with code {done.returncode}")
