"""What the module host_checks finds on a host, and what it says of it."""

from __future__ import annotations

import collections
import shutil
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


@pytest.mark.parametrize(("offset", "sound"), [(0, True), (-4, True), (60, False), (-60, False)])
def test_clock_is_compared_with_the_controllers(offset: float, sound: bool) -> None:
    given = {"now": time.time() - offset}
    if sound:
        assert "within 5 s" in module.check_clock(given)
    else:
        with pytest.raises(module.FaultError, match=r"^[+-]60\.\d s from the controller") as caught:
            module.check_clock(given)
        assert "chronyc" in caught.value.mend


def test_unknown_names_are_listed() -> None:
    assert module.check_names({"names": ["localhost"]}) == "1 names resolve"
    with pytest.raises(module.FaultError, match=r"not known: a\.invalid, b\.invalid"):
        module.check_names({"names": ["a.invalid", "localhost", "b.invalid"]})


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


def test_failed_units_are_listed(says: Callable[..., None]) -> None:
    says(systemctl="")
    assert module.check_failed_units({}) == "no unit has failed"
    says(systemctl="a.service loaded failed failed A\nb.service loaded failed failed B\n")
    with pytest.raises(module.FaultError, match=r"failed: a\.service, b\.service"):
        module.check_failed_units({})


def test_certificate_that_ends_soon_is_found(says: Callable[..., None], tmp_path: Path) -> None:
    there = tmp_path / "host.pem"
    there.touch()
    given = {"certificates": [str(there), str(tmp_path / "none.pem")], "certificate_days": 14}
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
