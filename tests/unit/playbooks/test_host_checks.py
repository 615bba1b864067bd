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


@pytest.mark.parametrize(("offset", "said"), [(0, ""), (-4, ""), (60, "60 s ahead of"), (-60, "60 s behind")])
def test_clock_is_compared_with_the_controllers(
    monkeypatch: pytest.MonkeyPatch, offset: float, said: str
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0 + offset)
    if not said:
        assert module.check_clock({"now": 1000.0}) == "as the controller's"
        return
    with pytest.raises(module.FaultError, match=f"{said} the controller") as caught:
        module.check_clock({"now": 1000.0})
    assert "chronyc" in caught.value.mend


def test_names_that_are_unknown_or_others_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"a.test": "10.0.0.1", "b.test": "10.0.0.2", "self.test": "127.0.1.1"}

    def look(name: str, port: None) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        if name not in known:
            raise OSError("unknown")
        return [(2, 1, 6, "", (known[name], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look)
    sound = {"a.test": "", "b.test": "10.0.0.2", "self.test": "10.0.0.9"}
    assert module.check_names({"names": sound}) == "3 resolve"
    with pytest.raises(
        module.FaultError, match=r"not known: c\.test; b\.test is 10\.0\.0\.2, which should be 10\.0\.0\.3"
    ):
        module.check_names({"names": {"b.test": "10.0.0.3", "c.test": ""}})


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


def test_units_that_do_not_run_are_told_with_their_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {
        "a.service": "loaded active success",
        "b.service": "loaded inactive success",
        "c.service": "not-found",
    }
    failed: list[str] = []

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        said = "it had enough\n"
        if command[1] == "show":
            load, active, result = [*states[command[-1]].split(), "", ""][:3]
            said = f"LoadState={load}\nActiveState={active}\nResult={result}\n"
        elif command[1] == "--failed":
            said = "".join(f"{unit} loaded failed failed X\n" for unit in failed)
        return subprocess.CompletedProcess(command, 0, said, "")

    monkeypatch.setattr(module, "run", run)
    assert module.check_units({"units": ["a.service", "c.service"]}) == "a; no other has failed"
    failed.append("d.service")
    with pytest.raises(module.FaultError, match=r"^b\.service \(stopped\), d\.service \(failed\)$") as caught:
        module.check_units({"units": list(states)})
    assert caught.value.cause == "its journal ends: it had enough"
    assert "systemctl restart b.service d.service" in caught.value.mend


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("run: /etc/service/x: (pid 17) 42s; run: log: (pid 16) 99s", ("run", 42)),
        ("down: /etc/service/x: 3s, normally up; run: log: (pid 1) 5s", ("down", 3)),
        ("", ("not supervised", 0)),
    ],
)
def test_state_of_a_supervised_service(says: Callable[..., None], said: str, state: tuple[str, int]) -> None:
    says(sv=said)
    assert module._supervised("x") == state


def test_port_that_refuses_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = {"name": "broker", "host": "127.0.0.1", "port": server.getsockname()[1]}
        given = {"ports": [port], "site": "x"}
        assert module.check_ports(given) == "1 answer"
    with pytest.raises(module.FaultError, match=r"broker at 127\.0\.0\.1:\d+ refuses"):
        module.check_ports(given)


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
    found = module.examine({"only": []})
    assert found[0] == {"check": "a", "ok": False, "detail": "seen", "cause": "cause", "mend": "mend"}
    assert (found[1]["ok"], found[1]["cause"]) == (False, "the check broke")
    assert found[2] == {"check": "c", "ok": True, "detail": "well", "cause": "", "mend": ""}
    assert [one["check"] for one in module.examine({"only": ["c"]})] == ["c"]
