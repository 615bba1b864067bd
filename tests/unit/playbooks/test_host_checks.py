"""What the module host_checks finds on a host, and what it says of it."""

from __future__ import annotations

import collections
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.loading import load

module = load("playbooks/library/host_checks.py")
Usage = collections.namedtuple("Usage", "total used free")


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets programs print something, and end with a status."""

    def programs(status: int = 0, **texts: str) -> None:
        def run(*command: str) -> subprocess.CompletedProcess[str]:
            return subprocess.CompletedProcess(command, status, texts.get(command[0], ""), "")

        monkeypatch.setattr(module, "run", run)
        monkeypatch.setattr(module.shutil, "which", lambda name: f"/usr/bin/{name}")

    return programs


@pytest.mark.parametrize(("offset", "said"), [(60, "60 s ahead of"), (-60, "60 s behind")])
def test_clock_is_compared_with_the_controllers(offset: float, said: str) -> None:
    assert "controller" in module.check_clock({"now": time.time()})
    # The way to the host takes some seconds on a busy machine.
    assert "controller" in module.check_clock({"now": time.time() - 10})
    with pytest.raises(module.FaultError, match=f"^{said} the controller") as caught:
        module.check_clock({"now": time.time() - offset})
    assert "chronyc" in caught.value.mend


def test_unknown_and_wrong_names_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"a.test": "192.0.2.1", "b.test": "192.0.2.2", "me.test": "127.0.1.1"}

    def resolve(name: str, _: None) -> list[tuple[Any, ...]]:
        if name not in known:
            raise OSError("unknown")
        return [(0, 0, 0, "", (known[name], 0))]

    monkeypatch.setattr(module.socket, "getaddrinfo", resolve)
    sound = {"a.test": "192.0.2.1", "b.test": "", "me.test": "192.0.2.3"}
    assert module.check_names({"names": sound}) == "3 resolve"
    with pytest.raises(
        module.FaultError, match=r"^not known: x\.test; a\.test is 192\.0\.2\.1, which should be"
    ):
        module.check_names({"names": {"x.test": "", "a.test": "192.0.2.9"}})


def test_full_file_system_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"/opt": 5 << 20}
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, free.get(place, 100 << 30)))
    with pytest.raises(module.FaultError, match="5 MB are free in /opt"):
        module.check_disk({})
    free.clear()
    assert "2 GB" in module.check_disk({})


def test_memory_is_compared_with_what_the_groups_need() -> None:
    assert module.check_memory({"memory": 1}).endswith(" MB")
    with pytest.raises(module.FaultError, match="its services need 999999999 MB"):
        module.check_memory({"memory": 999_999_999})


def test_interrupted_installation_is_found(says: Callable[..., None]) -> None:
    says(dpkg="")
    assert module.check_packages({}) == "dpkg is in order"
    says(dpkg="The following packages are only half configured:\n x")
    with pytest.raises(module.FaultError, match="half configured") as caught:
        module.check_packages({})
    assert caught.value.mend.startswith("dpkg --configure -a")


def test_units_that_do_not_run_are_listed_with_what_they_said(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {
        "a.service": "loaded active success",
        "b.service": "loaded inactive success",
        "none.service": "not-found inactive x",
    }
    failed = ["c.service loaded failed failed C"]

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        said = "Out of cheese\n" if command[0] == "journalctl" else "\n".join(failed)
        return subprocess.CompletedProcess(command, 0, said, "")

    def show(unit: Any, *wanted: str) -> dict[str, str]:
        return dict(zip(wanted, states[unit.name].split(), strict=True))

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module.Unit, "show", show)
    with pytest.raises(module.FaultError, match=r"^b\.service \(stopped\), c\.service \(failed\)$") as caught:
        module.check_units({"units": list(states)})
    assert caught.value.cause == "its journal ends: Out of cheese"
    assert caught.value.mend.startswith("systemctl restart b.service c.service")
    failed.clear()
    assert module.check_units({"units": ["a.service", "none.service"]}) == "a; no other has failed"


def test_port_that_refuses_and_name_that_is_unknown_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
        port = {"name": "mariadb", "host": "127.0.0.1", "port": number}
        assert module.check_ports({"ports": [port], "site": "x"}) == "1 answer"
    with pytest.raises(module.FaultError, match=rf"mariadb at 127\.0\.0\.1:{number} refuses") as caught:
        module.check_ports({"ports": [port], "site": "x"})
    assert caught.value.cause == "nobody listens there"
    with pytest.raises(module.FaultError, match=r"a\.invalid:1: ") as caught:
        module.check_ports({"ports": [{**port, "host": "a.invalid", "port": 1}], "site": "x"})
    assert "name" in caught.value.cause


def test_certificate_that_ends_soon_is_found(says: Callable[..., None], tmp_path: Path) -> None:
    there = tmp_path / "host.pem"
    there.touch()
    given = {"certificates": [str(there), str(tmp_path / "none.pem")], "certificate_days": 14, "site": "x"}
    says(0)
    assert module.check_certificates(given) == "1 valid for 14 days"
    says(1, openssl="notAfter=Jan  1 00:00:00 2030 GMT\n")
    with pytest.raises(module.FaultError, match=r"host\.pem is valid until Jan  1 00:00:00 2030 GMT"):
        module.check_certificates(given)


def test_check_that_breaks_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(_: dict[str, Any]) -> str:
        raise module.FaultError("seen", "cause", "mend")

    def broken(_: dict[str, Any]) -> str:
        raise subprocess.TimeoutExpired("x", 30)

    monkeypatch.setattr(module, "CHECKS", {"a": fault, "b": broken, "c": lambda _: "well"})
    found = module.examine({})
    assert found[0] == {"check": "a", "ok": False, "detail": "seen", "cause": "cause", "mend": "mend"}
    assert (found[1]["ok"], found[1]["cause"]) == (False, "the check broke")
    assert found[2] == {"check": "c", "ok": True, "detail": "well", "cause": "", "mend": ""}
